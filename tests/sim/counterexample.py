"""A history that no register can have given, made small and told to people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sim.history import NEVER, Operation, Outcome
from sim.linearizability import Verdict, by_key, floor_max, judge
from sim.register import ABSENT, State, describe, step

ORDER_SHOWN = 12
DROPS_MAX = 400
"""Attempts to do without a read, each of them a search of its own."""


class NotLinearizable(AssertionError):
    """Clients have seen what no register answers."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """``operations`` of one key that can't be brought in order, and how far that goes."""

    operations: tuple[Operation, ...]
    verdict: Verdict

    def __str__(self) -> str:
        order = self.verdict.order
        taken = {id(op) for op in order}
        left = [op for op in self.operations if id(op) not in taken]
        bound = min((op.returned for op in left), default=NEVER)
        lines = [f"not linearizable: {len(self.operations)} operations on {self.operations[0].key!r}"]
        lines.append(f"in order, {'the last ' if len(order) > ORDER_SHOWN else ''}{min(len(order), ORDER_SHOWN)}:")
        lines += [f"    {op}" for op in order[-ORDER_SHOWN:]]
        lines.append(f"so far: {describe(self.verdict.state)}. Of these one has to be next, and none can be:")
        for op in left:
            if op.invoked <= bound and op.returned != NEVER:
                lines.append(f"    {op}{self._why_not(op, left)}")
        unknown = [op for op in left if op.returned == NEVER and op.kind != "get" and op.invoked <= bound]
        if unknown:
            lines.append("nor does it help that any of these may have happened, or not:")
            lines += [f"    {op}" for op in unknown[-ORDER_SHOWN:]]
        return "\n".join(lines)

    def _why_not(self, op: Operation, left: list[Operation]) -> str:
        """If ``op`` could be next: what then can't come any more."""
        after = step(self.verdict.state, op)
        if after is None:
            return ""
        for other in left:
            floor = floor_max(other)
            if other is not op and other.returned != NEVER and floor is not None and floor < after.floor:
                return f"\n        fits, but then this comes too late: {other}"
        return " (fits, and then nothing does)"


def find(operations: Sequence[Operation], initial: State = ABSENT) -> Counterexample | None:
    """A small counterexample among the operations of one key, or None if they are linearizable."""
    verdict = judge(operations, initial)
    if verdict.linearizable:
        return None
    shorter = _without_reads(_shortest_prefix(operations, initial), initial)
    return Counterexample(tuple(shorter), judge(shorter, initial))


def check(operations: Iterable[Operation]) -> int:
    """The number of operations checked; NotLinearizable with a counterexample for each key that has one."""
    keys = by_key(operations)
    found = [one for one in (find(ops) for ops in keys.values()) if one is not None]
    if found:
        raise NotLinearizable("\n\n".join(map(str, found)))
    return sum(len(ops) for ops in keys.values())


def _shortest_prefix(operations: Sequence[Operation], initial: State) -> list[Operation]:
    """What had been seen when it became impossible; every prefix of a linearizable history is one."""
    ends = sorted(op.returned for op in operations if op.returned != NEVER)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if judge(_until(operations, ends[middle]), initial).linearizable:
            low = middle + 1
        else:
            high = middle
    return _until(operations, ends[high])


def _until(operations: Sequence[Operation], moment: int) -> list[Operation]:
    """What was known at ``moment``: of what was under way, nothing but that it had been begun."""
    return [
        op if op.returned <= moment else _unfinished(op)
        for op in operations
        if op.outcome is not Outcome.FAILED
        and op.invoked <= moment
        and (op.returned <= moment or op.outcome in (Outcome.OK, Outcome.UNKNOWN))
    ]


def _unfinished(op: Operation) -> Operation:
    return replace(op, returned=NEVER, outcome=Outcome.UNKNOWN, found=None, version=None, existed=None)


def _without_reads(operations: list[Operation], initial: State) -> list[Operation]:
    """Leave out reads, many at a time and then fewer, as long as it stays impossible."""
    reads = [op for op in operations if op.kind == "get"]
    size, attempts = len(reads), 0
    while size and attempts < DROPS_MAX:
        for start in range(0, len(reads), size):
            dropped = {id(op) for op in reads[start : start + size]}
            fewer = [op for op in operations if id(op) not in dropped]
            attempts += 1
            if fewer and not judge(fewer, initial).linearizable:
                operations = fewer
        present = {id(op) for op in operations}
        reads = [op for op in reads if id(op) in present]
        size //= 2
    return operations
