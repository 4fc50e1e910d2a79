"""How fast bytes travel, and how long TCP puts up with a path that carries none. Seconds and bytes."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """May be changed while the simulation runs."""

    near_seconds: float = 30e-6
    """One way within a host; between hosts ``far_seconds``. As much again comes on top by chance, on average."""
    far_seconds: float = 250e-6
    straggle_chance: float = 0.002
    straggle_seconds_max: float = 0.02
    """A packet in 500 is late by up to that: it was lost and sent again, or a switch was busy."""
    split_chance: float = 0.2
    """That what was written at once arrives in pieces."""
    window_bytes: int = 256 << 10
    """What may be under way and unread; the rest waits at the writer."""
    resend_seconds_max: float = 3.0
    """How long after a path has healed TCP may take to notice."""
    give_up_seconds_min: float = 15.0
    give_up_seconds_max: float = 120.0
    """How long what was sent may stay unacknowledged until the connection is given up."""
    probe_seconds_min: float = 30.0
    probe_seconds_max: float = 60.0
    """After how long an idle connection's keepalive finds that the path is cut, or that the peer is gone."""
    syn_seconds_max: float = 127.0
    """How long a connection may take to be opened."""
