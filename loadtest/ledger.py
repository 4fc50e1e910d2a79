"""What one user knows of keys that it alone writes: the versions each may have.

An acknowledged write leaves one version, one refused before it was executed (Unavailable, Overloaded) leaves what was
there. After an unknown outcome (Timeout, or the user was stopped amid the call) both are possible; the key is then
retired, as a late write might still arrive after a newer one, and is only read from then on. Version 0 is: no such key.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from measured_client import Reported
from values import BrokenAnswer, version_of

from sherd import Overloaded, Unavailable

RETIRED_MAX = 500
ABSENT = 0


class Ledger:
    """The keys ``NAME:0`` to ``NAME:(keys_max - 1)`` to begin with; a retired key makes place for a new one."""

    def __init__(self, name: str, keys_max: int) -> None:
        self._name = name
        self._next_key = 0
        self._possible: dict[str, frozenset[int]] = {}
        self._retired: dict[str, frozenset[int]] = {}
        self._next_version = 1
        self.keys: list[str] = []
        """Keys that may be written."""
        for _ in range(keys_max):
            self._add_key()

    @property
    def all_keys(self) -> list[str]:
        """Every key it knows, retired ones too."""
        return [*self._possible, *self._retired]

    def new_version(self) -> int:
        """A version never used before."""
        version = self._next_version
        self._next_version += 1
        return version

    def exists(self, key: str) -> bool:
        """Whether a key that may be written has a value."""
        return self._possible[key] != {ABSENT}

    @contextmanager
    def writing(self, key: str, version: int) -> Iterator[None]:
        """Around the call that gives ``key`` its ``version``, or deletes it (ABSENT)."""
        before = self._possible[key]
        self._possible[key] = before | {version}
        try:
            yield
        except Reported as failed:
            if isinstance(failed.error, (Unavailable, Overloaded)):
                self._possible[key] = before
            else:
                self._retire(key)
            raise
        self._possible[key] = frozenset({version})

    def check(self, key: str, value: object) -> None:
        """BrokenAnswer unless ``value`` (None: no such key) is one that ``key`` may have."""
        possible = self._possible.get(key) or self._retired.get(key)
        found = ABSENT if value is None else version_of(key, value)
        if possible is not None and found not in possible:
            due = " or ".join(str(version) for version in sorted(possible))
            raise BrokenAnswer(f"{key}: version {found} where {due} was acknowledged (0: absent)")

    def check_all(self, keys: Sequence[str], values: Sequence[object]) -> None:
        """``check`` for each key."""
        if len(keys) != len(values):
            raise BrokenAnswer(f"{len(values)} values for {len(keys)} keys")
        for key, value in zip(keys, values, strict=True):
            self.check(key, value)

    def _retire(self, key: str) -> None:
        self.keys.remove(key)
        self._retired[key] = self._possible.pop(key)
        if len(self._retired) > RETIRED_MAX:
            self._retired.pop(next(iter(self._retired)))
        self._add_key()

    def _add_key(self) -> None:
        key = f"{self._name}:{self._next_key}"
        self._next_key += 1
        self.keys.append(key)
        self._possible[key] = frozenset({ABSENT})
