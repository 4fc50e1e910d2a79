"""Which event loop a process runs: uvloop where it exists, else asyncio's own."""

import asyncio
from collections.abc import Callable

try:
    import uvloop
except ImportError:  # a platform without it: asyncio's loop has the same interface
    uvloop = None  # type: ignore[assignment]


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What ``asyncio.Runner`` takes to make a loop."""
    return asyncio.new_event_loop if uvloop is None else uvloop.new_event_loop


def loop_name() -> str:
    """``uvloop`` or ``asyncio``; for logs and status."""
    return "asyncio" if uvloop is None else "uvloop"
