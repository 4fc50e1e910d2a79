"""One key as it has to behave: what an operation may answer in a state, and the state after it.

Every write that changes something takes a version above all before it; other keys take versions too, so gaps mean
nothing. Of a write whose outcome is unknown the version is unknown, until a reader or a condition tells it; what is
known is that it is at least ``floor``.
"""

from typing import NamedTuple

from sim.history import Operation, Outcome


class State(NamedTuple):
    """``value`` None and ``version`` 0: absent. ``version`` None: not known. No version below ``floor`` is possible."""

    value: bytes | None
    version: int | None
    floor: int


ABSENT = State(None, 0, 0)


def step(state: State, op: Operation) -> State | None:
    """The state after ``op`` took effect with the answer it gave; None if it can't have given it in this state."""
    if op.outcome is Outcome.CONFLICT:
        return _conflict(state, op)
    if op.kind == "get":
        if op.found != state.value:
            return None
        return state if op.version is None or state.value is None else _learn(state, op.version)
    if op.if_version is not None:
        if (op.if_version == 0) != (state.value is None):
            return None
        if op.if_version:
            learned = _learn(state, op.if_version)
            if learned is None:
                return None
            state = learned
    if op.kind == "put":
        if op.version is None:
            return State(op.value, None, state.floor + 1)
        return State(op.value, op.version, op.version) if op.version > state.floor else None
    present = state.value is not None
    if op.existed is not None and op.existed != present:
        return None
    return State(None, 0, state.floor + 1) if present else state


def _conflict(state: State, op: Operation) -> State | None:
    """The operation did nothing, since the version is another one."""
    if state.value is None:
        return state if op.if_version != 0 and op.version in (0, None) else None
    if op.version is None:
        return state if state.version is None or state.version != op.if_version else None
    return _learn(state, op.version) if op.version != op.if_version else None


def _learn(state: State, version: int) -> State | None:
    """The state, now that the version of the value is told."""
    if state.version is not None:
        return state if version == state.version else None
    return State(state.value, version, version) if version >= state.floor else None


def describe(state: State) -> str:
    """For people."""
    if state.value is None:
        return f"absent, versions so far up to {state.floor}"
    if state.version is None:
        return f"{state.value!r} at a version not known, {state.floor} or more"
    return f"{state.value!r} at version {state.version}"
