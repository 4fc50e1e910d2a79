"""What one run of the load generator is to do, checked."""

from dataclasses import dataclass

from sherd.cli.bench.key_choice import DISTRIBUTIONS
from sherd.cli.bench.value_sizes import ValueSizes, parse_value_sizes
from sherd.cli.bench.workload import mix_of
from sherd.common.errors import BadRequest
from sherd.common.limits import KEYS_PER_REQUEST_MAX
from sherd.common.net.address import Address

PROTOCOLS = ("msgpack", "resp", "iproto")
WORKLOADS = ("load", "set", "get", "mixed", "mget", "batch", "scan", "fullscan", "a", "b", "c", "d", "e", "f")
REFUSED = {
    "resp": (("scan", "fullscan", "e"), "Redis has no ordered scan"),
    "iproto": (("mget", "batch", "fullscan"), "Tarantool has no requests of many keys and no pages of a scan"),
}
"""Workloads that a protocol has no requests for, and why."""

ORDERS = ("random", "sequential")

LOAD_CONNECTIONS = 8
LOAD_PIPELINE = 1000
LOAD_BYTES_IN_FLIGHT = 16 << 20
KEYS_IN_FLIGHT_MAX = 20_000_000
UNLIMITED = 2**62
KEYS_MAX = 10**15
SPACE_DEFAULT = 512
"""The number that Tarantool gives to the first space that is made."""
SPACE_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of ``sherd bench``, by their names; ``connections``, ``pipeline`` and ``distribution`` None mean the
    workload's own; ``space`` is read with iproto only. BadRequest says what does not fit together."""

    addresses: tuple[Address, ...]
    protocol: str = "msgpack"
    workload: str = "set"
    order: str = "random"
    connections: int | None = None
    pipeline: int | None = None
    rate: float | None = None
    seconds: float = 10.0
    warmup: float = 1.0
    requests: int | None = None
    keys: int = 1_000_000
    distribution: str | None = None
    value_bytes: str = "100"
    batch_keys: int = 100
    scan_rows: int = 1000
    read_share: float = 0.5
    space: int = SPACE_DEFAULT
    seed: int = 1

    def __post_init__(self) -> None:
        for name, known in (("protocol", PROTOCOLS), ("workload", WORKLOADS), ("order", ORDERS)):
            if getattr(self, name) not in known:
                raise BadRequest(f"--{name} must be one of {', '.join(known)}")
        if self.distribution is not None and self.distribution not in DISTRIBUTIONS:
            raise BadRequest(f"--distribution must be one of {', '.join(DISTRIBUTIONS)}")
        refused, reason = REFUSED.get(self.protocol, ((), ""))
        if self.workload in refused:
            raise BadRequest(f"{reason}: --workload {self.workload} needs another protocol than {self.protocol}")
        if self.rate is not None and self.workload in ("load", "fullscan"):
            raise BadRequest(f"--workload {self.workload} runs as fast as it can; --rate is for the others")
        if not 0 <= self.space <= SPACE_MAX:
            raise BadRequest(f"--space must be 0 to {SPACE_MAX}")
        if not 1 <= self.keys <= KEYS_MAX or not 1 <= self.batch_keys <= KEYS_PER_REQUEST_MAX:
            raise BadRequest(f"--keys must be 1 to {KEYS_MAX}, --batch-keys 1 to {KEYS_PER_REQUEST_MAX}")
        if self.lanes * self.depth * self.width > KEYS_IN_FLIGHT_MAX:
            raise BadRequest(
                f"--connections x --pipeline x --batch-keys are over {KEYS_IN_FLIGHT_MAX:,} keys in flight"
            )

    @property
    def is_load(self) -> bool:
        return self.workload == "load"

    @property
    def lanes(self) -> int:
        """How many connections."""
        if self.workload == "fullscan":
            return 1
        return self.connections or (LOAD_CONNECTIONS if self.is_load else 50)

    @property
    def depth(self) -> int:
        """Requests in flight on each."""
        deep = min(LOAD_PIPELINE, max(1, LOAD_BYTES_IN_FLIGHT // max(1, self.sizes.high)))
        if self.workload == "fullscan":
            return 1
        return self.pipeline or (deep if self.is_load else 1)

    @property
    def width(self) -> int:
        """Keys of each request."""
        return self.batch_keys if self.workload in ("mget", "batch") else 1

    @property
    def sizes(self) -> ValueSizes:
        return parse_value_sizes(self.value_bytes)

    @property
    def key_distribution(self) -> str:
        """How keys are drawn; those of load and fullscan are not drawn, but come once each."""
        if self.workload in ("load", "fullscan"):
            return "each once"
        return self.distribution or mix_of(self.workload, self.read_share).distribution

    @property
    def duration(self) -> float:
        """Seconds to send for: a load has no limit."""
        return 10.0**8 if self.is_load else self.seconds

    @property
    def requests_max(self) -> int:
        """How many requests to send after the warm-up."""
        if self.is_load:
            return min(self.keys, self.requests or self.keys)
        return self.requests or UNLIMITED
