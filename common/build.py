"""Which build of Sherd runs: compiled, or the interpreted sources."""

from sherd.common.wire.scanner import Scanner


def is_compiled() -> bool:
    """Whether the hot modules are compiled; never a silent fallback, so status and the ready line tell."""
    return type(Scanner.feed).__name__ != "function"
