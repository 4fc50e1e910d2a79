"""What a run counted: answers, errors, rows, latencies, gaps."""

import cython

if cython.compiled:
    from cython.cimports.sherd.cli.bench.dialect import Dialect
    from cython.cimports.sherd.cli.bench.histogram import Histogram
else:
    from sherd.cli.bench.dialect import Dialect
    from sherd.cli.bench.histogram import Histogram


@cython.final
@cython.cclass
class Tally:
    """Counts from the end of the warm-up on. Times are nanoseconds of ``ticks.now_ns``."""

    def __init__(self) -> None:
        self.requests = self.errors = self.missing = self.rows = self.keys = 0
        self.first_error = ""
        self.histogram = Histogram()
        self.began = self.last_reply = 0
        self.longest_gap = self.behind_max = 0

    @cython.cfunc
    def begin(self, now: cython.ulonglong) -> None:
        """Counting starts."""
        self.began = self.last_reply = now

    @cython.cfunc
    def arrive(self, now: cython.ulonglong) -> None:
        """A reply arrived."""
        if now - self.last_reply > self.longest_gap:
            self.longest_gap = now - self.last_reply
        self.last_reply = now

    @cython.cfunc
    def absorb(self, dialect: Dialect) -> None:
        """Take over what a reply held."""
        self.rows += dialect.rows
        self.keys += dialect.keys
        self.missing += dialect.missing

    def note_page(self, rows: int, now: int, latency_ns: int) -> None:
        """A page of a scan of everything arrived."""
        self.requests += 1
        self.rows += rows
        self.histogram.record(latency_ns)
        if self.last_reply == 0:
            self.last_reply = now - latency_ns
        self.arrive(now)

    @cython.ccall
    def fail(self, problem: str, times: cython.ulonglong = 1) -> None:
        """A request had no right answer."""
        if self.errors == 0:
            self.first_error = problem
        self.errors += times
