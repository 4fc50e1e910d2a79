"""The timer of a Store under ``interval:T``: syncs what was written when nobody writes again.

One daemon thread, started by the first write that leaves something unsynced. It holds no reference that keeps a store
alive: one that is dropped without ``close`` ends its timer too.
"""

import logging
import threading
from collections.abc import Callable

from sherd.common.errors import StoreError

log = logging.getLogger("lsm")


class SyncTimer:
    """Calls ``tick`` every ``seconds`` until ``stop``, or until ``tick`` returns False or raises StoreError."""

    def __init__(self, seconds: float, tick: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._tick = tick
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sherd-sync", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; not to be called with a lock that ``tick`` takes."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                if not self._tick():
                    return
            except StoreError as error:  # the store is poisoned, which the next call on it will say
                log.error("timed sync failed: %s", error)
                return
