"""What has become of a replica since its process started, counted over its lives: for who is on call."""

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class RoleChanges:
    """Each only grows. A rate of any but ``led`` that does not come to rest says that something is wrong."""

    led: int = 0
    """Terms led."""
    handed_over: int = 0
    """Terms ended because somebody asked for it."""
    stepped_down: int = 0
    """Terms ended because another led, or the lease was over."""
    cut: int = 0
    """Tails of the log that were not the leader's, moved to quarantine."""
    copied: int = 0
    """Times that the leader's tables were copied."""
    began_anew: int = 0
    """Times that a damaged store was set aside."""

    def describe(self) -> dict[str, int]:
        """MessagePack-able."""
        return asdict(self)
