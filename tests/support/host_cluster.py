"""A cluster on nine hosts: three members of etcd, two coordinators, a shard's two replicas, a proxy, and a client.

Real processes in real namespaces, with short leases. What the cluster is asked goes from the client's host, through the
proxy or to a replica itself.
"""

import contextlib
import itertools
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sherd.client.sync import Client
from sherd.common.errors import SherdError
from support.etcd_process import EtcdMember
from support.hosts import Host, HostProcess, Network, network_of
from support.shard_peer import LeaderWatch, ShardPeer
from support.told import Traffic

LEASE_SECONDS = 2
REQUEST_SECONDS = 1.0
SILENCE_SECONDS = 3.0
PATIENCE_SECONDS = 20.0
ETCDS = ("etcd1", "etcd2", "etcd3")
COORDINATORS = ("coordinator1", "coordinator2")
REPLICAS = ("replica1", "replica2")
NAMES = (*ETCDS, *COORDINATORS, *REPLICAS, "proxy", "client")
QUICK = {"heartbeat-interval": 50, "election-timeout": 500}
PORT = 7700
MEMTABLE_BYTES = 1 << 20
RETAIN_LOG_BYTES = 4 << 20
FIRST = "first"
"""A key that is always there."""

T = TypeVar("T")


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when it holds; the test fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come about in {seconds} s: {what}"
        time.sleep(0.02)


class HostCluster:
    """``acks`` is the shard's; ``flags`` are those of its replicas, whose directories are ``replica1`` and so on."""

    def __init__(self, network: Network, directory: Path, acks: str, flags: Sequence[str] = ()) -> None:
        self.network = network
        self.directory = directory
        self._acks = acks
        self._flags = flags
        self._etcd_options = self._members_options()
        self.etcd = {
            name: EtcdMember(directory / name, options, self._url(name), self.host(name).under)
            for name, options in self._etcd_options.items()
        }
        self.processes: dict[str, HostProcess] = {}
        self._marks: dict[str, int] = {}
        self._runs = 0
        self._db: Client | None = None

    def host(self, name: str) -> Host:
        return self.network.hosts[name]

    def address(self, name: str) -> str:
        return f"{self.host(name).address}:{PORT}"

    @property
    def db(self) -> Client:
        """Only for what is run on the client's host: see ``ask``."""
        assert self._db is not None, "not started"
        return self._db

    def ask(self, work: Callable[[Client], T]) -> T:
        """The result of ``work`` with a client of the proxy, on the client's host."""
        return self.host("client").run(work, self.db)

    # Processes

    def start(self) -> None:
        for member in self.etcd.values():
            member.launch()
        for member in self.etcd.values():
            member.await_ready()
        for name in (*COORDINATORS, *REPLICAS, "proxy"):
            self.launch(name)
        self._db = Client(self.address("proxy"), timeout=20.0)
        until(lambda: self._answers(), "the proxy answers")
        self.await_in_sync()

    def launch(self, name: str) -> None:
        """Start the process of a host that is not one of etcd's."""
        log = self.directory / f"{name}.log"
        command = [sys.executable, "-P", "-m", "sherd.cli.main", *self._command(name)]
        endpoints = ",".join(self._url(other) for other in ETCDS)
        common = [f"--listen={self.address(name)}", f"--etcd-endpoints={endpoints}"]
        common += [f"--etcd-lease-seconds={LEASE_SECONDS}", "--etcd-request-seconds=0.9"]
        self.processes[name] = self.host(name).start([*command, *common], log)

    def _command(self, name: str) -> list[str]:
        if name in COORDINATORS:
            return ["coordinator", f"--name={name}", "--shards=1", "--followers=1"]
        if name in REPLICAS:
            place = [f"--data={self.directory / name}", "--id=1", f"--replica={replica_of(name)}"]
            return ["shard", *place, f"--acks={self._acks}", *self._flags]
        return ["proxy", f"--request-timeout-s={REQUEST_SECONDS}", f"--silence-s={SILENCE_SECONDS}"]

    def close(self) -> None:
        if self._db is not None:
            self.host("client").run(self._db.close)
        for process in self.processes.values():
            process.kill()
        for member in self.etcd.values():
            member.close()

    def _url(self, name: str) -> str:
        return f"http://{self.host(name).address}:2379"

    def _members_options(self) -> dict[str, dict[str, object]]:
        peers = {name: f"http://{self.host(name).address}:2380" for name in ETCDS}
        cluster = ",".join(f"{name}={peer}" for name, peer in peers.items())
        return {
            name: {
                "name": name,
                "listen-client-urls": self._url(name),
                "advertise-client-urls": self._url(name),
                "listen-peer-urls": peers[name],
                "initial-advertise-peer-urls": peers[name],
                "initial-cluster": cluster,
                **QUICK,
            }
            for name in ETCDS
        }

    # The shard

    def state(self) -> dict[str, Any]:
        """Of the shard, in the topology, as the proxy knows it."""
        found: dict[str, Any] = self.ask(lambda db: db.topology())["shards"]["1"]
        return found

    def leader(self) -> str:
        """The host of the replica that is to lead."""
        return f"replica{self.state()['leader']}"

    def follower(self) -> str:
        return other_replica(self.leader())

    def status(self) -> dict[str, Any]:
        return self.ask(lambda db: db.status())

    def in_sync(self) -> bool:
        """Whether both replicas are in sync, and the follower has everything, by what the leader and etcd say."""
        try:
            state, (shard,) = self.state(), self.status()["shards"]
        except SherdError:
            return False
        (follower,) = shard["followers"]
        return len(state["in_sync"]) == 2 and follower["in_sync"] and follower["lag_records"] == 0

    def await_in_sync(self) -> None:
        until(self.in_sync, "both replicas are in sync")

    def check_equal(self) -> None:
        """Leader and follower, asked themselves, have the same entries with the same versions. Nobody may write."""
        self.await_in_sync()
        leader, follower = self.leader(), self.follower()
        assert self.contents(leader) == self.contents(follower), "leader and follower differ"

    def contents(self, name: str) -> list[object]:
        """All that a replica has, in the order of keys: key, value, version, seconds left."""
        return self.host("client").run(self._contents, self.host(name).address)

    @staticmethod
    def _contents(host: str) -> list[object]:
        with ShardPeer(host, PORT) as peer:
            return peer.scan()

    def _answers(self) -> bool:
        try:
            return bool(self.ask(lambda db: db.put(FIRST, 1)))
        except SherdError:
            return False

    # What tests do with it

    def begin(self) -> None:
        """A test begins: all is whole, and ``said`` looks at what is logged from here on."""
        self.network.heal()
        for name, process in self.processes.items():
            if not process.runs:  # the test before has failed
                self.launch(name)
        self.await_in_sync()
        self._marks = {name: len(process.log) for name, process in self.processes.items()}

    def traffic(self, name: str, **options: Any) -> Traffic:
        """Clients of the proxy."""
        self._runs += 1
        return Traffic(self.host("client").enter, self.address("proxy"), f"{name}-{self._runs}", **options)

    def watch(self, name: str) -> LeaderWatch:
        """Of a replica, from its own host."""
        host = self.host(name)
        return LeaderWatch(host.enter, host.address, PORT, FIRST)

    def active_coordinator(self) -> str:
        """The one whose last word on it was that it coordinates."""

        def is_active(name: str) -> bool:
            words = re.findall(r" (coordinator runs|coordinating|coordinates no more) name=", self.processes[name].log)
            return self.processes[name].runs and words[-1:] == ["coordinating"]

        until(lambda: any(map(is_active, COORDINATORS)), "a coordinator is active")
        (active,) = filter(is_active, COORDINATORS)
        return active

    def said(self, name: str, text: str) -> bool:
        return text in self.processes[name].log[self._marks.get(name, 0) :]

    def count_said(self, name: str, text: str) -> int:
        return self.processes[name].log[self._marks.get(name, 0) :].count(text)

    def await_said(self, name: str, *texts: str) -> None:
        for text in texts:
            until(lambda text=text: self.said(name, text), f"{name} says {text!r}")

    def said_by(self, names: Sequence[str], text: str) -> list[str]:
        return [name for name in names if self.said(name, text)]


def replica_of(name: str) -> str:
    """The name in the topology of the replica on a host."""
    return name.removeprefix("replica")


def other_replica(name: str) -> str:
    return next(other for other in REPLICAS if other != name)


@contextlib.contextmanager
def host_cluster(directory: Path, acks: str, flags: Sequence[str] = ()) -> Iterator[HostCluster]:
    """It serves, with both replicas in sync."""
    with network_of(*NAMES) as network:
        cluster = HostCluster(network, directory, acks, flags)
        with contextlib.closing(cluster):
            cluster.start()
            yield cluster


@contextlib.contextmanager
def cut(cluster: HostCluster, pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
    """What the first of a pair sends to the second is lost in the meantime."""
    try:
        for here, there in pairs:
            cluster.network.cut(here, there, one_way=True)
        yield
    finally:
        cluster.network.heal()


@contextlib.contextmanager
def isolated(cluster: HostCluster, name: str) -> Iterator[None]:
    """A host is cut from all others in the meantime."""
    try:
        cluster.network.isolate(name)
        yield
    finally:
        cluster.network.heal()


def paths(heres: Sequence[str], theres: Sequence[str]) -> list[tuple[str, str]]:
    """From each of the first to each of the second, one way."""
    return list(itertools.product(heres, theres))
