"""``compose/compose.yaml``, read as Compose reads it: anchors and merges resolved, one value for each service."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.dockerfile import entrypoint_of

COMPOSE_DIR = Path(__file__).resolve().parent.parent.parent / "compose"


@dataclass(frozen=True, slots=True)
class Service:
    """One service. ``command`` is what its container runs, ``environ`` what it is given; ``fields`` is all of it."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    fields: Mapping[str, Any]

    @property
    def role(self) -> str:
        """``etcd``, ``coordinator``, ``shard`` or ``proxy``."""
        return str(self.fields["command"][0])

    @property
    def health_command(self) -> tuple[str, ...]:
        kind, *command = self.fields["healthcheck"]["test"]
        assert kind == "CMD", "a shell may not be there"
        return tuple(command)

    @property
    def depends_on(self) -> Mapping[str, str]:
        """What has to be true of others before it is started."""
        return {name: waits["condition"] for name, waits in self.fields.get("depends_on", {}).items()}

    @property
    def volumes(self) -> Mapping[str, str]:
        """Named volumes, by where they are mounted."""
        pairs = (text.split(":") for text in self.fields.get("volumes", ()))
        return {target: source for source, target in pairs}

    @property
    def ports(self) -> list[tuple[str, int, int]]:
        """What is published: host's address and port, container's port."""
        parts = (text.split(":") for text in self.fields.get("ports", ()))
        return [(host, int(published), int(target)) for host, published, target in parts]

    @property
    def grace_seconds(self) -> float:
        return float(self.fields["stop_grace_period"].removesuffix("s"))


def compose_file() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load((COMPOSE_DIR / "compose.yaml").read_text())
    return loaded


def services() -> dict[str, Service]:
    """By name."""
    return {name: _service(name, fields) for name, fields in compose_file()["services"].items()}


def stages(found: Mapping[str, Service]) -> list[list[Service]]:
    """The services in the order they are started in: each stage waits for those before."""
    waiting, done, order = dict(found), set[str](), []
    while waiting:
        stage = [service for service in waiting.values() if set(service.depends_on) <= done]
        assert stage, f"{sorted(waiting)} wait for each other, or for what is not there"
        for service in stage:
            del waiting[service.name]
        done |= {service.name for service in stage}
        order.append(stage)
    return order


def _service(name: str, fields: Mapping[str, Any]) -> Service:
    entrypoint = entrypoint_of(COMPOSE_DIR / "Dockerfile") if "build" in fields else []
    environ = {variable: str(value) for variable, value in fields["environment"].items()}
    return Service(name, (*entrypoint, *fields["command"]), environ, fields)
