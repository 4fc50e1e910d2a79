"""Redis with its append-only file: bare, and four of them behind nutcracker (twemproxy), the same number as our shards.

AOF rewrites are off, since they would run on into other subjects' turns; that favours Redis.
"""

from pathlib import Path

from peers.processes import free_ports
from peers.server import Server
from peers.targets import NUTCRACKER, REDIS, REDIS_ALWAYS

SERVERS_BEHIND_PROXY = 4
NUTCRACKER_MBUF_BYTES = 16384


def redis_command(directory: Path, port: int, appendfsync: str, appendonly: str = "yes") -> list[str]:
    """A Redis on 127.0.0.1 that keeps everything in its AOF, or nothing at all."""
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "save": "",
        "appendonly": appendonly,
        "appendfsync": appendfsync,
        "auto-aof-rewrite-percentage": "0",
        "daemonize": "no",
    }
    return ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]


class RedisServer(Server):
    """One bare server: no proxy hop, no order of keys, no ranges, all in memory."""

    name = REDIS
    protocol = "resp"
    programs = ("redis-server",)
    appendfsync = "everysec"
    appendonly = "yes"

    def serve(self, directory: Path) -> None:
        (port,) = free_ports(1)
        command = redis_command(directory, port, self.appendfsync, self.appendonly)
        self.spawn(command, directory, "redis").wait_for_port(port)
        self.address = f"127.0.0.1:{port}"


class RedisAlwaysServer(RedisServer):
    """An fsync before every reply, shared by the replies of one turn of its loop."""

    name = REDIS_ALWAYS
    appendfsync = "always"


class NutcrackerServer(Server):
    """The proxy hop and hashing that Sherd has too; hashes and ring as twemproxy recommends."""

    name = NUTCRACKER
    protocol = "resp"
    programs = ("redis-server", "nutcracker")

    def serve(self, directory: Path) -> None:
        *ports, proxy_port, stats_port = free_ports(SERVERS_BEHIND_PROXY + 2)
        for number, port in enumerate(ports):
            where = directory / f"redis-{number}"
            where.mkdir(parents=True)
            self.spawn(redis_command(where, port, "everysec"), where, f"redis-{number}")
        for child, port in zip(self.children, ports, strict=True):
            child.wait_for_port(port)
        config = directory / "nutcracker.yml"
        config.write_text(pool_yaml(proxy_port, ports))
        command = ["nutcracker", "-c", str(config), "-m", str(NUTCRACKER_MBUF_BYTES)]
        command += ["-s", str(stats_port), "-a", "127.0.0.1"]
        self.spawn(command, directory, "nutcracker").wait_for_port(proxy_port)
        self.address = f"127.0.0.1:{proxy_port}"


def pool_yaml(proxy_port: int, ports: list[int]) -> str:
    """nutcracker's configuration: one pool over the given servers."""
    lines = [
        "pool:",
        f"  listen: 127.0.0.1:{proxy_port}",
        "  hash: fnv1a_64",
        "  distribution: ketama",
        "  redis: true",
        "  preconnect: true",
        "  servers:",
        *(f"    - 127.0.0.1:{port}:1" for port in ports),
    ]
    return "\n".join(lines) + "\n"
