"""Histories for the checker's own tests: of a real register under random clients, and such with a lie in them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim.history import History, Operation, Outcome

KEY = b"k"


@dataclass(slots=True)
class Register:
    """One key as it really is, among others that take versions too."""

    dice: random.Random
    value: bytes | None = None
    version: int = 0
    last_version: int = 0

    def next_version(self) -> int:
        self.last_version += self.dice.choice((1, 1, 1, 2, 7))
        return self.last_version

    def apply(self, op: Operation) -> Operation:
        """Carry ``op`` out; with its answer."""
        if op.kind == "get":
            return replace(op, outcome=Outcome.OK, found=self.value, version=self._shown())
        if op.if_version not in (None, self.version):
            return replace(op, outcome=Outcome.CONFLICT, version=self.version)
        existed = self.value is not None
        if op.kind == "put":
            self.value, self.version = op.value, self.next_version()
            return replace(op, outcome=Outcome.OK, version=self.version)
        if existed:
            self.next_version()
        self.value, self.version = None, 0
        return replace(op, outcome=Outcome.OK, existed=existed)

    def _shown(self) -> int | None:
        return self.version if self.value is not None and self.dice.random() < 0.7 else None


def random_history(
    dice: random.Random, count: int, clients: int = 4, unknown_chance: float = 0.1, values: int = 1 << 30
) -> list[Operation]:
    """``count`` operations on a register, each taking effect at a random moment of its time, or of the time after its
    client has given it up, or never.
    """
    history, register = History(), Register(dice)
    idle = [f"client {i}" for i in range(clients)]
    called: dict[int, str] = {}  # not carried out yet, by its client
    answered: dict[int, tuple[str, Operation]] = {}
    abandoned: list[int] = []
    made = 0
    while made < count or called or answered:
        move = dice.choice(("begin", "apply", "answer", "abandon", "late"))
        if move == "begin" and idle and made < count:
            client = idle.pop(dice.randrange(len(idle)))
            kind = dice.choice(("get", "get", "put", "put", "delete"))
            value = b"%d" % (dice.randrange(values) if values < count else made) if kind == "put" else None
            condition = dice.choice((0, register.version, register.version, 3)) if dice.random() < 0.3 else None
            called[history.begin(client, kind, KEY, value, None if kind == "get" else condition)] = client  # type: ignore[arg-type]
            made += 1
        elif move == "apply" and called:
            number = dice.choice(list(called))
            answered[number] = (called.pop(number), register.apply(history.operations[number]))
        elif move == "answer" and answered:
            number = dice.choice(list(answered))
            client, op = answered.pop(number)
            history.end(number, op.outcome, op.found, op.version, op.existed)
            idle.append(client)
        elif move == "abandon" and dice.random() < unknown_chance:
            pending = [*called, *answered]
            if pending:
                number = dice.choice(pending)
                if number in called:
                    abandoned.append(number)
                idle.append(called.pop(number, None) or answered.pop(number)[0])
        elif move == "late" and abandoned and dice.random() < 0.3:
            register.apply(history.operations[abandoned.pop(dice.randrange(len(abandoned)))])
    return history.operations


def with_a_lie(dice: random.Random, operations: Sequence[Operation]) -> list[Operation]:
    """The same with one answer changed."""
    told = [i for i, op in enumerate(operations) if op.outcome in (Outcome.OK, Outcome.CONFLICT)]
    if not told:
        return list(operations)
    i = dice.choice(told)
    op = operations[i]
    if op.kind == "delete" and op.outcome is Outcome.OK:
        lie = replace(op, existed=not op.existed)
    elif op.kind == "get" and dice.random() < 0.7:
        others = [other.value for other in operations if other.value not in (None, op.found)]
        lie = replace(op, found=dice.choice([*others, None]), version=None)
    else:
        lie = replace(op, version=max(0, (op.version or 0) + dice.choice((-3, -1, 1, 3))))
    return [*operations[:i], lie, *operations[i + 1 :]]
