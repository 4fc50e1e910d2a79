"""The clusters that are simulated."""

from sim.cluster import Shape

SHAPES = {
    "always": Shape(),
    "interval": Shape(fsync="interval:100ms"),
    "two followers": Shape(followers=2, proxies=2, fsync="interval:100ms"),
    "two shards": Shape(shards=2),
    "asynchronous": Shape(acks="leader", fsync="interval:100ms"),
}
