"""etcd, the real one, as a child process of a test: on free ports of loopback, or wherever a command runs it."""

import contextlib
import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sherd.cluster.etcd.config import EtcdConfig
from support.debian import debian_program
from support.up_process import UpProcess

READY = r"ready to serve client requests"
QUICK = {"heartbeat-interval": 20, "election-timeout": 200}
"""Milliseconds. The shortest lease that etcd grants is one and a half election timeouts, in whole seconds."""


def etcd_program() -> str:
    """Where etcd is, installed if need be."""
    return debian_program("etcd", "etcd-server")


def etcdctl_program() -> str:
    """Where etcd's own client is, installed if need be."""
    return debian_program("etcdctl", "etcd-client")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority, and a pair that it signed, which serves a server and a client alike."""

    ca: Path
    cert: Path
    key: Path


def make_certificates(directory: Path) -> Certificates:
    """For 127.0.0.1, by the openssl command."""

    program = debian_program("openssl", "openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run([program, *arguments], cwd=directory, check=True, capture_output=True, timeout=60)

    directory.mkdir()
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(
        "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority"
    )
    openssl("req", *new_key, "-keyout", "etcd.key", "-out", "etcd.csr", "-subj", "/CN=etcd")
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl(
        "x509", "-req", "-in", "etcd.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names", "-out", "etcd.pem",
    )  # fmt: skip
    return Certificates(directory / "ca.pem", directory / "etcd.pem", directory / "etcd.key")


class EtcdMember:
    """One member, with its data in ``directory``. ``under`` is a command that runs it, such as ``ip netns exec NAME``.

    ``options`` are etcd's own, by name. It can be started again after it was killed.
    """

    def __init__(self, directory: Path, options: dict[str, object], url: str, under: Sequence[str] = ()) -> None:
        flags = {"data-dir": directory, **QUICK, **options}
        self.url = url
        self._command = [*under, etcd_program(), *(f"--{name}={value}" for name, value in flags.items())]
        self._process: UpProcess | None = None

    def launch(self) -> None:
        """Start it; it serves once it has found enough of the others."""
        self._process = UpProcess(self._command, {"PATH": "/usr/bin:/bin"})

    def await_ready(self) -> None:
        self._running.await_log(READY)

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def kill(self) -> None:
        self._running.signal(signal.SIGKILL)
        self._running.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does nothing in the meantime, though the kernel keeps its connections."""
        self._running.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._running.signal(signal.SIGCONT)

    def post(self, path: str, **body: object) -> dict[str, object]:
        """Ask its gateway something that Sherd itself never does."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, object] = json.load(response)
        return answer

    def config(self, **settings: object) -> EtcdConfig:
        return EtcdConfig((self.url,), **settings)

    @property
    def _running(self) -> UpProcess:
        assert self._process is not None, "not started"
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.__exit__()


@contextlib.contextmanager
def etcd_cluster(directory: Path, count: int = 1, tls: Certificates | None = None) -> Iterator[list[EtcdMember]]:
    """So many members on loopback, which serve. With ``tls`` they want a client's certificate."""
    ports = free_ports(2 * count)
    scheme = "https" if tls else "http"
    peers = [f"http://127.0.0.1:{port}" for port in ports[count:]]
    members = []
    for number, (port, peer) in enumerate(zip(ports[:count], peers, strict=True)):
        url = f"{scheme}://127.0.0.1:{port}"
        options: dict[str, object] = {
            "name": f"m{number}",
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"m{other}={url}" for other, url in enumerate(peers)),
        }
        if tls:
            options |= {
                "cert-file": tls.cert,
                "key-file": tls.key,
                "trusted-ca-file": tls.ca,
                "client-cert-auth": "true",
            }
        members.append(EtcdMember(directory / f"m{number}", options, url))
    with contextlib.ExitStack() as stack:
        for member in members:
            stack.callback(member.close)
            member.launch()
        for member in members:
            member.await_ready()
        yield members
