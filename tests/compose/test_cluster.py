"""The services of compose.yaml, run as processes of this machine: the same commands, environment, order and checks.

In a container 0.0.0.0 and 127.0.0.1 are its own, names of services are looked up, and volumes are mounted. Here every
service has a loopback address of its own for all three, and a folder in place of each volume; nothing else differs.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.compose_file import Service, services, stages
from support.etcd_process import etcd_program, etcdctl_program
from support.role_settings import etcd_of
from support.up_process import UpProcess

from sherd.client.sync import Client

HEALTHY_SECONDS_MAX = 30.0
FAILOVER_SECONDS = 2.0
"""What may be added to a lease until its shard is led anew."""
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


class Host:
    """What stands for a service's container: an address, folders for its volumes, and its process."""

    def __init__(self, service: Service, addresses: Mapping[str, str], folder: Path) -> None:
        self.service = service
        self.address = addresses[service.name]
        self._addresses = addresses
        self._folder = folder
        self._environ = {"PATH": PATH, **{name: self._here(text) for name, text in service.environ.items()}}
        for target in service.volumes:
            Path(self._here(target)).mkdir()
        self._process: UpProcess | None = None

    def start(self) -> None:
        self._process = UpProcess(self.service.command, self._environ)

    def await_healthy(self) -> None:
        """By the service's own health check, again and again as Docker does it."""
        deadline = time.monotonic() + HEALTHY_SECONDS_MAX
        while not self._is_healthy():
            assert time.monotonic() < deadline, f"{self.service.name} is not healthy:\n{self.kill()}"
            time.sleep(0.1)

    def published(self) -> str:
        """Where clients reach it."""
        ((_, _, target),) = self.service.ports
        return f"{self.address}:{target}"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.signal(number)

    def wait(self) -> int:
        """The exit code, once it has ended."""
        process, self._process = self._process, None
        assert process is not None
        return process.wait()

    def kill(self) -> str:
        """End it if it runs; its log."""
        process, self._process = self._process, None
        if process is None:
            return ""
        process.signal(signal.SIGKILL)
        process.wait()
        return process.log_text

    def _is_healthy(self) -> bool:
        done = subprocess.run(
            self.service.health_command, env=self._environ, capture_output=True, timeout=30, check=False
        )
        return done.returncode == 0

    def _here(self, text: str) -> str:
        """The text with what means something else in a container."""
        text = re.sub(r"\b(0\.0\.0\.0|127\.0\.0\.1)\b", self.address, text)
        for target in self.service.volumes:
            text = re.sub(rf"^{target}(?=/|$)", str(self._folder / self.service.name), text)
        for name, address in self._addresses.items():
            text = re.sub(rf"(?<![\w.-]){name}(?=:\d)", address, text)
        return text


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Host]]:
    """One for each service, on addresses that no other process's test has."""
    etcd_program(), etcdctl_program()
    pid = os.getpid()
    found = services()
    addresses = {name: f"127.{1 + pid // 250 % 250}.{pid % 250}.{n}" for n, name in enumerate(found, 1)}
    made = {name: Host(service, addresses, tmp_path) for name, service in found.items()}
    try:
        yield made
    finally:
        for host in made.values():
            host.kill()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def start(stage: list[Host]) -> None:
    for host in stage:
        host.start()
    for host in stage:
        host.await_healthy()


def stop(stage: list[Host]) -> None:
    """As ``docker compose down`` does. etcd ends by the signal, after it has stopped in order."""
    began = time.monotonic()
    for host in stage:
        host.signal(signal.SIGTERM)
    for host in stage:
        code = host.wait()
        assert code == 0 or (host.service.role == "etcd" and code == -signal.SIGTERM), (host.service.name, code)
        assert time.monotonic() - began < host.service.grace_seconds


def shard(db: Client, number: int) -> dict[str, Any]:
    (found,) = (one for one in db.status()["shards"] if one["id"] == number)
    return found


def all_in_sync(db: Client) -> bool:
    return all(follower["in_sync"] for one in db.status()["shards"] for follower in one["followers"])


def test_the_cluster_serves_and_survives_a_leader(hosts: dict[str, Host]) -> None:
    order = [[hosts[service.name] for service in stage] for stage in stages(services())]
    for stage in order:
        start(stage)
    proxies = [hosts["proxy-1"].published(), hosts["proxy-2"].published()]
    with Client(proxies[0], timeout=20.0) as one, Client(proxies[1], timeout=20.0) as two:
        until(lambda: all_in_sync(one))
        for number in range(100):
            (one, two)[number % 2].put(f"k{number}", number)
        keys = [f"k{number}" for number in range(100)]
        assert one.mget(keys) == two.mget(keys) == list(range(100))
        assert [proxy["name"] for proxy in one.status()["proxies"]] == ["proxy-1", "proxy-2"]

        before = shard(one, 1)
        leader = hosts[f"shard-1-{before['leader']['name']}"]
        leader.signal(signal.SIGKILL)
        began = time.monotonic()
        assert leader.wait() == -signal.SIGKILL
        for number in range(100):
            two.put(f"k{number}", -number)
        took = time.monotonic() - began
        assert took < etcd_of(leader.service.environ).lease_seconds + FAILOVER_SECONDS
        after = shard(one, 1)
        assert after["leader"]["name"] != before["leader"]["name"]
        assert after["term"] > before["term"]
        assert one.mget(keys) == [-number for number in range(100)]

        start([leader])
        until(lambda: all_in_sync(one))
    for stage in reversed(order):
        stop(stage)
