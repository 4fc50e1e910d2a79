"""The clock of the load generator: nanoseconds that never go back."""

import time

import cython

if cython.compiled:
    from cython.cimports.posix.time import CLOCK_MONOTONIC, clock_gettime, timespec


@cython.cfunc
def now_ns() -> cython.ulonglong:
    """Nanoseconds since some moment in the past."""
    if cython.compiled:
        at = cython.declare(timespec)
        clock_gettime(CLOCK_MONOTONIC, cython.address(at))
        return cython.cast(cython.ulonglong, at.tv_sec) * 1000000000 + cython.cast(cython.ulonglong, at.tv_nsec)
    else:
        return time.monotonic_ns()
