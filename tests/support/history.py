"""What a run of writes promised, and whether what came back after a crash keeps it.

A *group* is one client call: a put, a delete or a batch. Groups take effect in order and each as a whole, so whatever
comes back must be the state after some number of groups; how many at least is the promise, how many at most is what
was started. Comparing versions too makes "nothing torn, nothing mixed, no version repeated" one comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Contents = dict[bytes, tuple[bytes, int]]
"""Live keys with their value (as encoded) and version."""

Change = tuple[bytes, bytes | None]
"""A key and its new value; None deletes."""


@dataclass(slots=True)
class Group:
    """One client call. ``versions`` of its changes and ``last_lsn`` are known once the engine has taken it."""

    changes: Sequence[Change]
    versions: Sequence[int] = ()
    last_lsn: int = 0
    answered_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Promise:
    """How many groups, counted from the first, must be there and how many may."""

    after_kill: int
    after_power_cut: int
    started: int


class History:
    """The groups of one run, on top of what was there before it."""

    def __init__(self, before: Contents | None = None) -> None:
        self.before: Contents = dict(before or {})
        self.groups: list[Group] = []
        self.answered = 0
        self._states: list[Contents] = []

    def begin(self, changes: Sequence[Change]) -> Group:
        """A call is about to be made."""
        group = Group(changes)
        self.groups.append(group)
        return group

    def answer(self, now_s: float = 0.0) -> None:
        """Every call begun so far has been answered, at ``now_s`` by the monotonic clock."""
        for group in self.groups[self.answered :]:
            group.answered_s = now_s
        self.answered = len(self.groups)

    def covered(self, lsn: int) -> int:
        """Groups, from the first, whose operations all have an LSN of at most ``lsn``."""
        count = 0
        for group in self.groups:
            if not 0 < group.last_lsn <= lsn:
                break
            count += 1
        return count

    def all_but_operations(self, count: int) -> int:
        """Answered groups, from the first, without those that hold any of the last ``count`` operations.

        Operations that changed nothing, and so took no LSN, do not count.
        """
        last_lsn = self.groups[self.answered - 1].last_lsn if self.answered else 0
        return min(self.covered(last_lsn - count), self.answered)

    def answered_by(self, time_s: float) -> int:
        """Groups, from the first, that were answered no later than ``time_s``."""
        count = 0
        for group in self.groups:
            if group.answered_s > time_s:
                break
            count += 1
        return count

    def last_version(self) -> int:
        """The largest LSN that was given out."""
        return max((group.last_lsn for group in self.groups), default=0)

    def states(self) -> list[Contents]:
        """The contents after 0, 1, 2 ... groups. Call it when the run is over."""
        if len(self._states) != len(self.groups) + 1:
            state = dict(self.before)
            self._states = [dict(state)]
            for group in self.groups:
                for (key, value), version in zip(group.changes, group.versions, strict=False):
                    if value is None:
                        state.pop(key, None)
                    else:
                        state[key] = (value, version)
                self._states.append(dict(state))
        return self._states

    def check(self, found: Contents, least: int, most: int, where: str) -> int:
        """The largest number of groups whose state is ``found``; AssertionError if none in the range fits."""
        states = self.states()
        for count in range(min(most, len(states) - 1), least - 1, -1):
            if states[count] == found:
                return count
        raise AssertionError(f"{where}: {self._explain(found, least, most)}")

    def _explain(self, found: Contents, least: int, most: int) -> str:
        states = self.states()
        for count, state in enumerate(states):
            if state == found:
                return f"{count} groups came back, at least {least} and at most {most} may"
        wanted = states[least]
        missing = sorted(key for key in wanted if key not in found)
        extra = sorted(key for key in found if key not in wanted)
        differing = sorted(key for key in wanted if key in found and found[key] != wanted[key])
        return (
            f"what came back is no state there ever was; against the state after {least} groups: "
            f"missing {missing[:5]}, extra {extra[:5]}, differing {differing[:5]}"
        )
