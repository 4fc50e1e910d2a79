"""A line on the terminal that shows how far a run is; nothing where there is no terminal."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm


class Progress:
    """Use as a context. The end is at ``requests`` if that is given, else after ``seconds``."""

    def __init__(self, seconds: float, requests: int | None, shown: bool | None = None) -> None:
        tqdm.monitor_interval = 0  # no thread beside the measurement
        visible = sys.stderr.isatty() if shown is None else shown
        self._by_requests = requests is not None
        self._began = time.monotonic()
        self._end = seconds if requests is None else requests
        self._bar = tqdm(
            total=self._end,
            unit=" requests" if self._by_requests else " s",
            bar_format=None if self._by_requests else "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}",
            unit_scale=self._by_requests,
            disable=not visible,
            leave=False,
        )
        self._shown = (self._began, 0)

    def show(self, requests: int) -> None:
        """So many requests were answered."""
        if self._bar.disable:
            return
        now = time.monotonic()
        then, before = self._shown
        done = requests if self._by_requests else now - self._began
        self._bar.n = min(done, self._end)
        if now > then and requests >= before:
            self._bar.set_postfix_str(f"{(requests - before) / (now - then):,.0f} requests/s", refresh=False)
        self._shown = (now, requests)
        self._bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
