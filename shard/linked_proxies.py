"""Which proxies are linked to this shard, by what they say of themselves in ``hello``; for the cluster's status."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Self

TEXT_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class LinkedProxy:
    """A proxy as it was at ``told_ms`` of its own monotonic clock: ``connections`` of clients at ``address``.

    Its name tells it from the others of the cluster; its pid does so on one host alone.
    """

    name: str
    pid: int
    address: str
    connections: int
    told_ms: int

    @classmethod
    def of_hello(cls, about: object) -> Self | None:
        """From the decoded map of a greeting, keys and text as bytes; None for what is none or not whole."""
        if not isinstance(about, dict):
            return None
        name, pid, address = about.get(b"name"), about.get(b"pid"), about.get(b"address")
        connections, told_ms = about.get(b"connections"), about.get(b"told_ms")
        if type(pid) is not int or type(connections) is not int or type(told_ms) is not int:
            return None
        if not isinstance(name, bytes) or not isinstance(address, bytes):
            return None
        return cls(_text(name), pid, _text(address), connections, told_ms)


def latest_of_each(found: Iterable[LinkedProxy | None]) -> list[dict[str, object]]:
    """The latest that each proxy said, by name, as MessagePack-able maps."""
    latest: dict[str, LinkedProxy] = {}
    for proxy in found:
        if proxy is not None and (proxy.name not in latest or proxy.told_ms >= latest[proxy.name].told_ms):
            latest[proxy.name] = proxy
    return [asdict(latest[name]) for name in sorted(latest)]


def _text(found: bytes) -> str:
    return found[:TEXT_BYTES_MAX].decode(errors="replace")
