"""A B B A: every subject once a round, so that drift of the machine falls on all of them alike."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from peers.rows import Row, Sample

Subject = TypeVar("Subject")


def in_turns(rounds: int, subjects: Sequence[Subject]) -> Iterator[Subject]:
    """All subjects once a round, every other round backwards."""
    for number in range(rounds):
        yield from subjects if number % 2 == 0 else subjects[::-1]


def alternate(
    row: Row, rounds: int, subjects: Sequence[tuple[str, Subject]], measure: Callable[[Subject], Sample]
) -> None:
    """Add ``rounds`` samples of each named subject to ``row``."""
    for name, subject in in_turns(rounds, subjects):
        row.add(name, measure(subject))
    tell([row])


def tell(rows: Iterable[Row]) -> None:
    """Print the medians of rows that are done, one row a line."""
    for row in rows:
        medians = (f"{subject} {row.median(subject):,.4g}" for subject in row.samples)
        print(f"  {row.name}, {row.unit}: {', '.join(medians) or 'nobody could take part'}", flush=True)
