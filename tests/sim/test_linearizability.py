"""The checker is right: on histories known to be good or bad, on random ones, and against trying everything."""

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from sim.counterexample import NotLinearizable, check, find
from sim.history import NEVER, History, Operation, Outcome
from sim.linearizability import Undecided, judge
from sim.random_history import KEY, random_history, with_a_lie
from sim.register import ABSENT, State, step

C = Outcome.CONFLICT
AGREEMENTS = int(os.environ.get("SHERD_SIM_AGREEMENTS", "300"))


def get(invoked: int, returned: int, found: bytes | None, version: int | None = None) -> Operation:
    return Operation("r", "get", KEY, invoked, None, None, returned, Outcome.OK, found, version)


def put(
    invoked: int, returned: int, value: bytes, version: int | None, if_version: int | None = None, **more: Any
) -> Operation:
    outcome = more.get("outcome", Outcome.OK if returned != NEVER else Outcome.UNKNOWN)
    return Operation("w", "put", KEY, invoked, value, if_version, returned, outcome, None, version)


def delete(invoked: int, returned: int, existed: bool | None, if_version: int | None = None) -> Operation:
    outcome = Outcome.OK if returned != NEVER else Outcome.UNKNOWN
    return Operation("d", "delete", KEY, invoked, None, if_version, returned, outcome, None, None, existed)


GOOD: dict[str, list[Operation]] = {
    "nothing": [],
    "write then read": [put(1, 2, b"a", 5), get(3, 4, b"a", 5)],
    "read of a write under way": [put(1, 9, b"a", 5), get(2, 3, None), get(4, 5, b"a")],
    "overlapping writes in either order": [put(1, 9, b"a", 6), put(2, 8, b"b", 5), get(10, 11, b"a", 6)],
    "unknown write that happened": [put(1, NEVER, b"a", None), get(3, 4, None), get(5, 6, b"a", 9)],
    "unknown write that never did": [put(1, NEVER, b"a", None), get(3, 4, None), get(5, 6, None)],
    "unknown write that happened late": [
        put(1, NEVER, b"a", None), put(2, 3, b"b", 7), get(4, 5, b"b"), get(6, 7, b"a"),
    ],
    "unknown delete": [put(1, 2, b"a", 1), delete(3, NEVER, None), get(4, 5, b"a"), get(6, 7, None)],
    "delete and put again": [put(1, 2, b"a", 1), delete(3, 4, True), delete(5, 6, False), put(7, 8, b"a", 3)],
    "swap": [put(1, 2, b"a", 4), put(3, 4, b"b", 6, 4), put(5, 6, b"c", 6, 4, outcome=C), get(7, 8, b"b", 6)],
    "conflict tells the version": [put(1, 2, b"a", 4), put(3, 4, b"b", 4, 3, outcome=C)],
    "create once": [put(1, 2, b"a", 4, 0), put(3, 4, b"b", 4, 0, outcome=C)],
    "unknown swap that won": [put(1, 2, b"a", 4), put(3, NEVER, b"b", None, 4), put(5, 6, b"c", 9, 4, outcome=C)],
    "condition on an unknown write": [put(1, NEVER, b"a", None), put(2, 3, b"b", 9, 5), get(4, 5, b"b", 9)],
    "failed is not executed": [put(1, 2, b"a", None, outcome=Outcome.FAILED), get(3, 4, None)],
    "three unknown in a row": [
        put(1, NEVER, b"a", None), put(2, NEVER, b"b", None), put(3, NEVER, b"c", None), get(4, 5, b"c", 3),
        get(6, 7, b"a", 4), get(8, 9, b"b", 5),
    ],
}  # fmt: skip

BAD: dict[str, list[Operation]] = {
    "read of what nobody wrote": [get(1, 2, b"a")],
    "stale read": [put(1, 2, b"a", 1), put(3, 4, b"b", 2), get(5, 6, b"a", 1)],
    "read of a lost write": [put(1, 2, b"a", 1), get(3, 4, None)],
    "reads go back": [put(1, 2, b"a", 1), put(3, 20, b"b", 2), get(4, 5, b"b"), get(6, 7, b"a")],
    "lost update": [put(1, 2, b"a", 1), put(3, 4, b"b", 2, 1), put(5, 6, b"c", 3, 1)],
    "both create": [put(1, 9, b"a", 1, 0), put(2, 8, b"b", 2, 0)],
    "resurrected delete": [put(1, 2, b"a", 1), delete(3, 4, True), get(5, 6, b"a")],
    "delete told twice": [put(1, 2, b"a", 1), delete(3, 9, True), delete(4, 8, True)],
    "delete of nothing": [delete(1, 2, True)],
    "delete missed what was there": [put(1, 2, b"a", 1), delete(3, 4, False)],
    "version falls": [put(1, 2, b"a", 5), put(3, 4, b"b", 4)],
    "version twice": [put(1, 9, b"a", 5), put(2, 8, b"b", 5)],
    "version falls behind a delete": [put(1, 2, b"a", 5), delete(3, 4, True), put(5, 6, b"b", 6)],
    "reordered writes": [put(1, 2, b"a", 5), put(3, 4, b"b", 3), get(5, 6, b"b", 3)],
    "wrong version read": [put(1, 2, b"a", 5), get(3, 4, b"a", 6)],
    "double apply": [
        put(1, NEVER, b"a", None), get(2, 3, b"a"), put(4, 5, b"b", 9), get(6, 7, b"b"), get(8, 9, b"a"),
    ],
    "applied before it was asked": [get(1, 2, b"a"), put(3, NEVER, b"a", None)],
    "conflict without a cause": [put(1, 2, b"a", 4), put(3, 4, b"b", 4, 4, outcome=C)],
    "conflict with what was": [put(1, 2, b"a", 4), put(3, 4, b"b", 5), put(5, 6, b"c", 4, 3, outcome=C)],
    "failed beside a lie": [put(1, 2, b"a", None, outcome=Outcome.FAILED), get(3, 4, b"a")],
    "swap of what was not there": [put(1, 2, b"a", 4), put(3, 4, b"b", 6, 5)],
    "unknown write read at two versions": [put(1, NEVER, b"a", None), get(2, 3, b"a", 4), get(4, 5, b"a", 5)],
    "unknown write at a version that was taken": [
        put(1, 2, b"a", 4), put(3, NEVER, b"b", None), get(4, 5, b"b", 4),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    assert find(GOOD[name]) is None
    assert brute_force(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_found(name: str) -> None:
    found = find(BAD[name])
    assert found is not None
    assert not brute_force(BAD[name])
    assert "not linearizable" in str(found)
    assert "failed" not in str(found)


def brute_force(operations: Sequence[Operation]) -> bool:
    """Try every order and every version that was not told, knowing nothing but what a register does."""
    relevant = [op for op in operations if op.outcome is not Outcome.FAILED]
    told = [version for op in relevant for version in (op.version, op.if_version) if version]
    highest = max(told, default=0) + len(relevant)
    return _tries(tuple(relevant), None, 0, 0, highest)


def _tries(left: tuple[Operation, ...], value: bytes | None, version: int, last: int, highest: int) -> bool:
    waiting = [op.returned for op in left if op.returned != NEVER]
    if not waiting:
        return True
    for i, op in enumerate(left):
        if op.invoked > min(waiting):
            continue
        rest = left[:i] + left[i + 1 :]
        for after in _effects(op, value, version, last, highest):
            if _tries(rest, *after, highest):
                return True
    return False


def _effects(
    op: Operation, value: bytes | None, version: int, last: int, highest: int
) -> list[tuple[bytes | None, int, int]]:
    """Value, version and last version after ``op``, if it can have answered as it did."""
    nothing = [(value, version, last)]
    if op.kind == "get":
        right = op.returned == NEVER or (op.found == value and (value is None or op.version in (None, version)))
        return nothing if right else []
    holds = op.if_version in (None, version)
    if op.outcome is Outcome.CONFLICT:
        return nothing if not holds and op.version in (None, version) else []
    if not holds:
        return []
    later = range(last + 1, highest + 1)
    if op.kind == "put":
        return [(op.value, new, new) for new in later if op.version in (None, new)]
    if op.existed not in (None, value is not None):
        return []
    return nothing if value is None else [(None, 0, new) for new in later]


def test_it_agrees_with_trying_everything() -> None:
    dice, verdicts = random.Random(1), [0, 0]
    for round_ in range(5 * AGREEMENTS):
        ops = random_history(dice, dice.randint(2, 5), clients=3, unknown_chance=0.5, values=2)
        for _ in range(round_ % 3):
            ops = with_a_lie(dice, ops)
        verdict = judge(ops).linearizable
        assert verdict == brute_force(ops), "\n".join(map(str, ops))
        verdicts[verdict] += 1
    assert min(verdicts) > AGREEMENTS, verdicts


def plain_search(operations: Sequence[Operation]) -> bool:
    """The search without what makes it short: every choice, and a memory of exactly what was seen."""
    relevant = [op for op in operations if op.outcome is not Outcome.FAILED]
    seen: set[tuple[frozenset[int], State]] = set()
    stack = [(frozenset(range(len(relevant))), ABSENT)]
    while stack:
        left, state = stack.pop()
        deadline = min((relevant[i].returned for i in left), default=NEVER)
        if deadline == NEVER:
            return True
        for i in left:
            op = relevant[i]
            unread = op.kind == "get" and op.returned == NEVER
            after = None if unread or op.invoked > deadline else step(state, op)
            if after is not None and (left - {i}, after) not in seen:
                seen.add((left - {i}, after))
                stack.append((left - {i}, after))
    return False


def test_it_agrees_with_a_search_that_omits_nothing() -> None:
    dice, verdicts = random.Random(8), [0, 0]
    for round_ in range(AGREEMENTS):
        unknown, values = dice.choice((0.1, 0.4)), dice.choice((2, 1000))
        ops = random_history(
            dice, dice.randint(8, 14), clients=dice.randint(2, 4), unknown_chance=unknown, values=values
        )
        for _ in range(round_ % 3):
            ops = with_a_lie(dice, ops)
        verdict = judge(ops).linearizable
        assert verdict == plain_search(ops), "\n".join(map(str, ops))
        verdicts[verdict] += 1
    assert min(verdicts) > AGREEMENTS / 5, verdicts


def test_what_a_register_did_passes() -> None:
    dice = random.Random(2)
    for count in (10, 100, 1000):
        for _ in range(20 if count < 1000 else 4):
            ops = random_history(dice, count, clients=dice.randint(1, 12), unknown_chance=dice.choice((0.0, 0.1, 0.4)))
            assert judge(ops).linearizable


def test_what_a_register_did_with_few_values_passes() -> None:
    dice = random.Random(3)
    for _ in range(60):
        assert judge(random_history(dice, 60, clients=5, unknown_chance=0.3, values=2)).linearizable


def test_a_lie_is_found() -> None:
    dice, found, count = random.Random(4), 0, 150
    for _ in range(count):
        ops = with_a_lie(dice, random_history(dice, 80, clients=4, unknown_chance=0.05))
        found += not judge(ops).linearizable
    assert found > 0.7 * count, found  # some lies are as good as the truth: a version that nobody reads


def test_thousands_of_operations_on_one_key() -> None:
    dice = random.Random(5)
    ops = random_history(dice, 5000, clients=10, unknown_chance=0.05)
    assert judge(ops).steps < 100_000
    begun = ops[:1500]
    assert not judge([*begun, get(NEVER - 2, NEVER - 1, b"nobody wrote this")]).linearizable


def test_a_counterexample_is_small_and_readable() -> None:
    dice = random.Random(6)
    ops = random_history(dice, 400, clients=4, unknown_chance=0.0)
    last = max(op.returned for op in ops)
    stale = [put(last + 1, last + 2, b"x", 100_000), put(last + 3, last + 4, b"y", 100_001)]
    stale += [get(last + 5, last + 6, b"y"), get(last + 7, last + 8, b"x", 100_000), get(last + 9, last + 10, b"y")]
    found = find([*ops, *stale])
    assert found is not None
    text = str(found)
    assert "so far: b'x' at version 100000" in text
    assert f"fits, but then this comes too late: r [{last + 7}, {last + 8}] get b'k' -> b'x' version 100000" in text
    assert f"[{last + 9}" not in text
    assert sum(op.kind == "get" for op in found.operations) == 1
    assert len(text.splitlines()) < 20


def test_keys_are_checked_by_themselves() -> None:
    history = History()
    for key in (b"a", b"b"):
        number = history.begin("c", "put", key, b"1")
        history.end(number, version=1)
        history.end(history.begin("c", "get", key), found=b"1", version=1)
    assert check(history.operations) == 4
    history.end(history.begin("c", "get", b"b"), found=None)
    with pytest.raises(NotLinearizable, match=r"operations on b'b'"):
        check(history.operations)


def test_a_search_that_takes_too_long_says_so() -> None:
    ops = random_history(random.Random(7), 100)
    with pytest.raises(Undecided):
        judge(ops, steps_max=10)


def test_it_may_begin_with_something_there() -> None:
    assert judge([get(1, 2, b"a", 3)], State(b"a", 3, 3)).linearizable
    assert not judge([get(1, 2, b"a", 3)], ABSENT).linearizable
