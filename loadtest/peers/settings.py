"""What a run is asked to do; one object that all sections read."""

from dataclasses import dataclass, field
from pathlib import Path

SECTIONS = ("generator", "servers", "always", "ranges", "latency", "engines", "client", "amplification", "sizes")


@dataclass(frozen=True, slots=True)
class Settings:
    """``seconds`` is the length of one measurement of a server or client; the rest are counts.

    ``steady_seconds``: length of the row of sets that goes on through flushes and compactions; 0 leaves it out.
    """

    work: Path
    rounds: int = 3
    seconds: float = 4.0
    sections: tuple[str, ...] = SECTIONS
    keys: int = 1_000_000
    large_keys: int = 200_000
    engine_keys: int = 1_000_000
    amplification_keys: int = 1_000_000
    size_keys: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    steady_seconds: float = 0.0
    peers: bool = True
    offered_rates: tuple[int, ...] = field(default=(5_000, 10_000, 20_000, 40_000, 60_000, 80_000))
