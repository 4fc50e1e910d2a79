"""Hosts that exist for the time of a test: network namespaces on one switch, whose paths can be cut and narrowed.

A namespace has no name that would outlive the test: a thread made it, this process holds it open by a descriptor, and
when the process ends, however it ends, the kernel removes it with its links. Commands enter it by ``nsenter`` and die
with this process. There is no way out of the switch, and none to the network of this machine.

Every host knows the hardware addresses of all others from the start. A path that is cut has a wrong one, so what is
sent on it is lost without a word, as behind a dead switch: established connections hang, new ones are not answered.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from support.debian import debian_program

CLONE_NEWNET = 0x40000000
COMMAND_SECONDS = 30
NOWHERE = "02:00:00:00:ff:ff"
"""A hardware address that nobody has."""
LIBC = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


class Namespace:
    """A network namespace, and a thread that is in it. Threads of the test itself may ``enter`` it too."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._fd = self._thread.submit(self._make).result()
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.ip("link set lo up")

    @staticmethod
    def _make() -> int:
        _checked(LIBC.unshare(CLONE_NEWNET), "unshare")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """From here on the calling thread opens its sockets in this namespace."""
        _checked(LIBC.setns(self._fd, CLONE_NEWNET), "setns")

    def run(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of ``work``, called in the namespace."""
        return self._thread.submit(work, *arguments).result()

    @property
    def under(self) -> list[str]:
        """The command that runs another one in here, for no longer than this process lives."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.path}"]

    def ip(self, *lines: str) -> None:
        """Commands of ``ip``."""
        self._command(["ip", "-batch", "-"], "\n".join(lines) + "\n")

    def tc(self, line: str) -> None:
        """One command of ``tc``."""
        self._command(["tc", *line.split()], "")

    def _command(self, command: Sequence[str], text: str) -> None:
        done = subprocess.run(
            [*self.under, *command], input=text, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
        )
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)} has failed: {done.stderr.strip()}\n{text}")

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self._fd)


class Host(Namespace):
    """One host: ``name``, for its address of the switch's network ``number``."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__()
        self.name = name
        self.number = number
        self.address = f"10.77.0.{number}"
        self.hardware = f"02:00:00:00:00:{number:02x}"

    def start(self, command: Sequence[str], log: Path) -> "HostProcess":
        return HostProcess([*self.under, *command], log)


class HostProcess:
    """A process on a host; what it says goes to the end of ``log``."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It does nothing in the meantime, though the kernel keeps its connections."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


class Network:
    """The switch with its ``hosts``, by name; all paths are whole at first."""

    def __init__(self, names: Sequence[str]) -> None:
        self._switch = Namespace()
        self.hosts = {name: Host(name, number) for number, name in enumerate(names, 1)}
        self._switch.ip("link add switch type bridge stp_state 0", "link set switch up")
        for host in self.hosts.values():
            port = f"port{host.number}"
            host.ip(
                f"link add eth0 address {host.hardware} type veth peer name {port} netns {self._switch.path}",
                f"addr add {host.address}/24 dev eth0",
                "link set eth0 up",
                *(self._path(other, other.hardware) for other in self.hosts.values() if other is not host),
            )
            self._switch.ip(f"link set {port} master switch up")

    @staticmethod
    def _path(there: Host, hardware: str) -> str:
        return f"neigh replace {there.address} lladdr {hardware} dev eth0 nud permanent"

    def cut(self, here: str, there: str, *, one_way: bool = False) -> None:
        """Lose what ``here`` sends to ``there``; unless ``one_way``, also the other way round."""
        self.hosts[here].ip(self._path(self.hosts[there], NOWHERE))
        if not one_way:
            self.cut(there, here, one_way=True)

    def isolate(self, name: str) -> None:
        """Cut a host from all others."""
        others = [other for other in self.hosts if other != name]
        self.hosts[name].ip(*(self._path(self.hosts[other], NOWHERE) for other in others))
        for other in others:
            self.cut(other, name, one_way=True)

    def heal(self) -> None:
        """All paths are whole again."""
        for host in self.hosts.values():
            host.ip(*(self._path(other, other.hardware) for other in self.hosts.values() if other is not host))

    @contextlib.contextmanager
    def throttled(self, name: str, rate: str) -> Iterator[None]:
        """Of what a host sends, and of what is sent to it, no more gets through than ``rate``, as in ``1mbit``."""
        host = self.hosts[name]
        ends = [(host, "eth0"), (self._switch, f"port{host.number}")]
        for where, device in ends:
            where.tc(f"qdisc add dev {device} root tbf rate {rate} burst 32kb latency 400ms")
        try:
            yield
        finally:
            for where, device in ends:
                where.tc(f"qdisc del dev {device} root")

    def close(self) -> None:
        for namespace in (*self.hosts.values(), self._switch):
            namespace.close()


@contextlib.contextmanager
def network_of(*names: str) -> Iterator[Network]:
    """Hosts of these names. The test fails where the machine lets it make none."""
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux")):
        debian_program(tool, package)
    try:
        network = Network(names)
    except OSError as error:
        pytest.fail(f"hosts in network namespaces are needed for this test and could not be made: {error}")
    with contextlib.closing(network):
        yield network
