"""``sherd.Client`` with every call reported to locust: what ``HttpUser.client`` is for HTTP.

A call counts as failed when it raises or when its ``check`` finds the answer broken. Time stops before the check runs.
Failed calls raise ``Reported``, which ends the task quietly: locust has the failure already, and the user goes on.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgpack
from fault_window import FaultWindow
from locust.event import EventHook
from locust.exception import RescheduleTask
from values import BrokenAnswer

from sherd import Client, SherdError

T = TypeVar("T")
Check = Callable[[Any], object]
"""Is given a call's result and raises BrokenAnswer if it is wrong."""

DETAILED_MAX = 200
"""Broken answers told in detail; locust keeps every different message, so a broken store must not fill its memory."""


class Reported(RescheduleTask):
    """A call failed and locust was told. ``error`` is the SherdError or BrokenAnswer."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class MeasuredClient:
    """The calls of ``client``, reported to ``request_event``.

    All calls take ``name``, which locust shows beside the method (``default_name`` if not given), and ``check``. An
    error that ``faults`` says is to be expected is counted apart, as type ``expected``, and is no failure.
    """

    broken_answers = 0

    def __init__(self, client: Client, request_event: EventHook, faults: FaultWindow, default_name: str) -> None:
        self.client = client
        self._request_event = request_event
        self._faults = faults
        self._default_name = default_name

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def get(self, key: str, *, name: str | None = None, check: Check | None = None, **options: Any) -> Any:
        """``Client.get``."""
        return self.call("get", lambda: self.client.get(key, **options), name, check)

    def put(self, key: str, value: Any, *, name: str | None = None, check: Check | None = None, **options: Any) -> int:
        """``Client.put``."""
        return self.call("put", lambda: self.client.put(key, value, **options), name, check)

    def delete(self, key: str, *, name: str | None = None, check: Check | None = None, **options: Any) -> Any:
        """``Client.delete``."""
        return self.call("delete", lambda: self.client.delete(key, **options), name, check)

    def mget(
        self, keys: Iterable[str], *, name: str | None = None, check: Check | None = None, **options: Any
    ) -> list[Any]:
        """``Client.mget``."""
        return self.call("mget", lambda: self.client.mget(keys, **options), name, check)

    def batch(
        self, ops: list[Any], *, name: str | None = None, check: Check | None = None, **options: Any
    ) -> list[int | bool]:
        """``Client.batch``."""
        return self.call("batch", lambda: self.client.batch(ops, **options), name, check)

    def scan(
        self,
        start: str | None = None,
        end: str | None = None,
        *,
        name: str | None = None,
        check: Check | None = None,
        **options: Any,
    ) -> list[Any]:
        """``Client.scan``, read to its end: the rows as a list, reported as one call."""
        return self.call("scan", lambda: list(self.client.scan(start, end, **options)), name, check)

    def count(
        self,
        start: str | None = None,
        end: str | None = None,
        *,
        name: str | None = None,
        check: Check | None = None,
        **options: Any,
    ) -> int:
        """``Client.count``."""
        return self.call("count", lambda: self.client.count(start, end, **options), name, check)

    def call(self, method: str, call: Callable[[], T], name: str | None = None, check: Check | None = None) -> T:
        """Any other use of ``client``, measured and reported as one ``method``. Reported if it fails."""
        started, began = time.time(), time.perf_counter()
        result: Any = None
        error: Exception | None = None
        try:
            result = call()
        except SherdError as raised:
            error = raised
        seconds = time.perf_counter() - began
        if error is None and check is not None:
            try:
                check(result)
            except BrokenAnswer as raised:
                error = self._bounded(raised)
        report = {"request_type": method, "name": name or self._default_name, "exception": error}
        if error is not None and self._faults.expects(error, seconds):
            what = f"{report['name']}: {method} {type(error).__name__} during a fault"
            report = {"request_type": "expected", "name": what, "exception": None}
        self._request_event.fire(  # type: ignore[no-untyped-call]
            **report,
            response_time=seconds * 1000,
            response_length=0 if result is None else len(msgpack.packb(result)),
            response=result,
            start_time=started,
            context={},
        )
        if error is not None:
            raise Reported(error) from error
        return result  # type: ignore[no-any-return]

    @staticmethod
    def _bounded(error: BrokenAnswer) -> BrokenAnswer:
        MeasuredClient.broken_answers += 1
        if MeasuredClient.broken_answers <= DETAILED_MAX:
            return error
        return BrokenAnswer(f"one of those after the first {DETAILED_MAX} broken answers")
