"""Work that waits for the disk, cut into steps, so that whoever has an event loop can have a thread wait.

A ``Steps`` generator yields pieces of disk work, callables without arguments, in the order in which they must be done;
what is between them touches only memory and runs where the engine runs. An OSError of a piece is thrown back into the
generator. ``run_steps`` does all of it here and now; a shard process runs each piece in a thread instead and goes on
serving. One set of steps is carried out at a time.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

DiskWork: TypeAlias = Callable[[], None]
Steps: TypeAlias = Generator[DiskWork, None, T]


def run_steps(steps: Steps[T]) -> T:
    """Carry out all the work and return the generator's result; raises what it raises."""
    try:
        work = next(steps)
        while True:
            try:
                work()
            except OSError as error:
                work = steps.throw(error)
            else:
                work = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result


def refreshed(steps: Steps[T], refresh: Callable[[], None]) -> Steps[T]:
    """``steps``, with ``refresh`` called before each piece of disk work: so nobody reads what it is about to remove."""
    failure: OSError | None = None
    while True:
        try:
            work = next(steps) if failure is None else steps.throw(failure)
        except StopIteration as done:
            result: T = done.value
            return result
        failure = None
        refresh()
        try:
            yield work
        except OSError as error:
            failure = error
