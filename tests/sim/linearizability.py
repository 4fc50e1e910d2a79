"""Whether a register could have answered as clients saw it: linearizability, key by key.

The search is that of Wing and Gong, "Testing and verifying concurrent objects" (1993), made iterative and with a memory
of configurations that led nowhere, as in Lowe, "Testing for linearizability" (2017), and in Porcupine (Athalye): of the
operations that were invoked before the first outstanding one returned, one takes effect next.

What is known of a register makes it short. An operation that fits and changes nothing takes effect at once: that can't
hinder what follows. An operation with an unknown outcome takes effect only if the next one sees it: if a put comes
next, it might as well never happen. A configuration leads nowhere if one did before in which the same operations were
done and the key was the same, no fewer of the unknown ones were left and no fewer versions were possible. And versions
never fall: nothing comes before what was told a smaller one than it would leave.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from sim.history import NEVER, Operation, Outcome
from sim.register import ABSENT, State, step

STEPS_MAX = 20_000_000
OPEN, READ = 1, 2


class Undecided(Exception):
    """The search takes too long: too much happened at once, with too many unknown outcomes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``order``: operations as they may have taken effect; all that returned, or as many as could be ordered."""

    linearizable: bool
    order: tuple[Operation, ...]
    state: State
    """After them."""
    steps: int


def by_key(operations: Iterable[Operation]) -> dict[bytes, list[Operation]]:
    """The operations of each key."""
    found: dict[bytes, list[Operation]] = {}
    for op in operations:
        found.setdefault(op.key, []).append(op)
    return found


def judge(operations: Iterable[Operation], initial: State = ABSENT, steps_max: int = STEPS_MAX) -> Verdict:
    """The verdict on the operations of one key. Undecided if it takes more than ``steps_max`` steps."""
    return _Search(operations, initial, steps_max).run()


class _Search:
    """Completed operations are entries of a list, linked both ways and in the order of time: a call and a return each.

    ``2 * i`` is the call of operation ``i``, ``2 * i + 1`` its return; ``_next`` and ``_back`` link them, and the head
    is the last index. Taken into the order, both leave the list; taken back, they return to it.
    """

    def __init__(self, operations: Iterable[Operation], initial: State, steps_max: int) -> None:
        relevant = [op for op in operations if op.outcome is not Outcome.FAILED]
        self._done = [op for op in relevant if op.returned != NEVER]
        self._open = sorted(
            (op for op in relevant if op.returned == NEVER and op.kind != "get"), key=lambda op: op.invoked
        )
        self._read = {op.found for op in self._done if op.kind == "get"}
        self._initial = initial
        self._steps_max = steps_max
        self._steps = 0
        moments = [(op.invoked, 0, 2 * i) for i, op in enumerate(self._done)]
        moments += [(op.returned, 1, 2 * i + 1) for i, op in enumerate(self._done)]
        head = 2 * len(self._done)
        order = [head, *(entry for _, _, entry in sorted(moments)), head]
        self._head = head
        self._next = [0] * (head + 1)
        self._back = [0] * (head + 1)
        for before, after in pairwise(order):
            self._next[before], self._back[after] = after, before
        bounds = ((floor_max(op), i) for i, op in enumerate(self._done))
        self._bounds = sorted((bound, i) for bound, i in bounds if bound is not None)
        self._bounds.append((NEVER, len(self._done)))  # which is never done
        self._hopeless: dict[tuple[int, bytes | None, int | None], list[tuple[int, int]]] = {}

    def run(self) -> Verdict:
        state, done, used = self._initial, 0, 0
        lowest = 0  # of ``_bounds``: all before it are done
        path: list[tuple[int, State, int, int, int, Iterator[int]]] = []  # taken, from where, and what else might be
        best: tuple[list[int], State] = ([], state)
        choices = self._choices(state, used, -1)
        while self._next[self._head] != self._head:
            taken = next(choices, -1)
            if taken >= 0:
                after = step(state, self._operation(taken))
                bit = 1 << (taken >> 2)
                now_done, now_used = (done, used | bit) if taken & OPEN else (done | bit, used)
                now_lowest = self._lowest(lowest, now_done)
                if after is None or after.floor > self._bounds[now_lowest][0]:
                    continue
                if not self._is_new(now_done, now_used, after):
                    continue
                path.append((taken, state, done, used, lowest, choices))
                self._lift(taken)
                state, done, used, lowest = after, now_done, now_used, now_lowest
                choices = self._choices(state, used, taken)
                continue
            if len(path) > len(best[0]):
                best = ([one[0] for one in path], state)
            if not path:
                return self._verdict(False, *best)
            taken, state, done, used, lowest, choices = path.pop()
            self._put_back(taken)
        return self._verdict(True, [one[0] for one in path], state)

    def _verdict(self, linearizable: bool, taken: list[int], state: State) -> Verdict:
        return Verdict(linearizable, tuple(self._operation(one) for one in taken), state, self._steps)

    def _operation(self, choice: int) -> Operation:
        return (self._open if choice & OPEN else self._done)[choice >> 2]

    def _choices(self, state: State, used: int, last: int) -> Iterator[int]:
        """What may take effect next, after ``last``: completed operations first, since the others need not.

        A choice is four times an index, and OPEN if that is of an operation with an unknown outcome; then READ, if it
        is taken only for its value to be read before it is written over.
        """
        next_entry, done = self._next, self._done
        candidates = []
        after_open = last >= 0 and last & OPEN
        entry = next_entry[self._head]
        while not entry & 1 and entry != self._head:
            op = done[entry >> 1]
            self._count()
            if step(state, op) == state:
                yield 2 * entry
                return
            if not (after_open and (_is_blind(op) or (last & READ and _is_write(op)))):
                candidates.append(2 * entry)
            entry = next_entry[entry]
        yield from candidates
        if not (after_open and last & READ):
            yield from self._open_choices(state, used, bool(after_open), done[entry >> 1].returned)

    def _open_choices(self, state: State, used: int, after_open: bool, deadline: int) -> Iterator[int]:
        """Operations with an unknown outcome that may take effect now: of several that are as good, one.

        Those whose value nobody reads are as good as each other if they come to the same state but for the value, and
        the one with a condition is better spent, since it fits more rarely. Beside such a one, another whose value
        somebody reads is taken only to be read.
        """
        fillers: dict[tuple[str, int | None], int] = {}
        others: list[tuple[tuple[str, int | None], int]] = []
        for i, op in enumerate(self._open):
            if op.invoked > deadline:
                break
            if used >> i & 1 or (after_open and (_is_blind(op) or _is_blind_delete(op))):
                continue
            self._count()
            if step(state, op) is None:
                continue
            effect = (op.kind, op.if_version if state.version is None else None)
            if op.kind == "put" and op.value in self._read:
                others.append((effect, 4 * i + OPEN))
            elif effect not in fillers or op.if_version is not None:
                fillers[effect] = 4 * i + OPEN
        for effect, choice in others:
            yield choice + READ if effect in fillers else choice
        yield from fillers.values()

    def _lowest(self, lowest: int, done: int) -> int:
        """The first of ``_bounds``, from ``lowest`` on, whose operation is not done."""
        bounds = self._bounds
        while done >> bounds[lowest][1] & 1:
            lowest += 1
        return lowest

    def _count(self) -> None:
        self._steps += 1
        if self._steps > self._steps_max:
            raise Undecided(f"no verdict on {len(self._done)} operations after {self._steps_max} steps")

    def _is_new(self, done: int, used: int, state: State) -> bool:
        """Whether no configuration was seen from which at least as much was possible. Remembers this one."""
        known = self._hopeless.setdefault((done, state.value, state.version), [])
        if any(floor <= state.floor and not other & ~used for floor, other in known):
            return False
        known[:] = [(floor, other) for floor, other in known if floor < state.floor or used & ~other]
        known.append((state.floor, used))
        return True

    def _lift(self, choice: int) -> None:
        if choice & OPEN:
            return
        for entry in (choice >> 1, (choice >> 1) + 1):
            before, after = self._back[entry], self._next[entry]
            self._next[before], self._back[after] = after, before

    def _put_back(self, choice: int) -> None:
        if choice & OPEN:
            return
        for entry in ((choice >> 1) + 1, choice >> 1):
            self._next[self._back[entry]] = self._back[self._next[entry]] = entry


def floor_max(op: Operation) -> int | None:
    """Above which floor ``op`` can't take effect any more: it was told a version, and versions never fall."""
    told = [op.if_version] if op.if_version and op.outcome is Outcome.OK else []
    if op.version and not (op.kind == "get" and op.found is None):
        told.append(op.version - 1 if op.kind == "put" and op.outcome is Outcome.OK else op.version)
    return min(told, default=None)


def _is_write(op: Operation) -> bool:
    """Something that leaves another value, or none."""
    return op.kind != "get" and op.outcome is not Outcome.CONFLICT


def _is_blind(op: Operation) -> bool:
    """A put that sees nothing of what was there."""
    return op.kind == "put" and op.if_version is None


def _is_blind_delete(op: Operation) -> bool:
    """A delete that nobody knows the answer of, and that has no condition."""
    return op.kind == "delete" and op.if_version is None and op.existed is None
