"""What etcd keeps, and what it does with it: keys with revisions, transactions, leases, the history that watches read.

As of etcd 3.5, as far as ``cluster/etcd/api.py`` can tell. Every transaction that changes anything is one revision. A
lease that is due is over at once for who wants to renew it; its keys go when etcd comes to it, together. A new leader
counts every lease anew from its full time, also one that was due.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sherd.cluster.etcd.api import Absent, Change, Delete, EtcdRefused, Holds, KeyValue, Lease, Put, WatchLost

TTL_SECONDS_MIN = 2
"""Half as much again as an election takes (1 s), in whole seconds."""
OPERATIONS_MAX = 128
REQUEST_BYTES_MAX = 1536 << 10


@dataclass(slots=True)
class Granted:
    """A lease as etcd keeps it; ``deadline`` by etcd's clock."""

    ttl_seconds: int
    deadline: float
    keys: dict[str, None] = field(default_factory=dict)


class EtcdStore:
    """The state machine. ``now`` is etcd's own clock, in seconds."""

    def __init__(self) -> None:
        self.revision = 1
        self.leases: dict[int, Granted] = {}
        self._keys: dict[str, KeyValue] = {}
        self._history: list[tuple[Change, ...]] = []  # of each revision from ``_history_first`` on
        self._history_first = 2
        self._compacted = 0
        self._last_lease = 0

    def read_prefix(self, prefix: str) -> tuple[int, list[KeyValue]]:
        return self.revision, [self._keys[key] for key in sorted(self._keys) if key.startswith(prefix)]

    def transact(self, conditions: Sequence[Absent | Holds], changes: Sequence[Put | Delete]) -> bool:
        """EtcdRefused for what etcd does not take."""
        self._check(conditions, changes)
        if not all(self._is_true(condition) for condition in conditions):
            return False
        self._change(changes)
        return True

    def _check(self, conditions: Sequence[Absent | Holds], changes: Sequence[Put | Delete]) -> None:
        if len(conditions) > OPERATIONS_MAX or len(changes) > OPERATIONS_MAX:
            raise EtcdRefused("etcdserver: too many operations in txn request")
        if len({change.key for change in changes}) < len(changes):
            raise EtcdRefused("etcdserver: duplicate key given in txn request")
        size = sum(len(change.key) + len(change.value) for change in changes if isinstance(change, Put))
        if size > REQUEST_BYTES_MAX:
            raise EtcdRefused("etcdserver: request is too large")
        if any(not change.key for change in changes):
            raise EtcdRefused("etcdserver: key is not provided")

    def _is_true(self, condition: Absent | Holds) -> bool:
        present = self._keys.get(condition.key)
        if isinstance(condition, Absent):
            return present is None
        return present is not None and present.value == condition.value

    def _change(self, changes: Sequence[Put | Delete]) -> None:
        revision = self.revision + 1
        if any(isinstance(change, Put) and change.lease and change.lease not in self.leases for change in changes):
            raise EtcdRefused("etcdserver: requested lease not found")
        made = []
        for change in changes:
            present = self._keys.pop(change.key, None)
            if present is not None and present.lease:
                self.leases[present.lease].keys.pop(change.key, None)
            if isinstance(change, Put):
                self._keys[change.key] = KeyValue(change.key, change.value, revision, change.lease)
                if change.lease:
                    self.leases[change.lease].keys[change.key] = None
                made.append(Change(change.key, change.value, revision))
            elif present is not None:
                made.append(Change(change.key, None, revision))
        if made:
            self.revision = revision
            self._history.append(tuple(made))

    def grant(self, ttl_seconds: int, now: float) -> Lease:
        if ttl_seconds <= 0:
            raise EtcdRefused("etcdserver: lease TTL must be positive")
        self._last_lease += 1
        granted = max(ttl_seconds, TTL_SECONDS_MIN)
        self.leases[self._last_lease] = Granted(granted, now + granted)
        return Lease(self._last_lease, granted)

    def keep_alive(self, lease: int, now: float) -> int:
        found = self.leases.get(lease)
        if found is None or found.deadline <= now:
            return 0
        found.deadline = now + found.ttl_seconds
        return found.ttl_seconds

    def revoke(self, lease: int) -> None:
        found = self.leases.get(lease)
        if found is not None:
            self._change([Delete(key) for key in sorted(found.keys)])
            del self.leases[lease]

    def expire(self, now: float) -> None:
        """End the leases that are due."""
        for lease in [number for number, granted in self.leases.items() if granted.deadline <= now]:
            self.revoke(lease)

    def change_leader(self, now: float) -> None:
        """Another member leads: it knows the leases, and not how long they have run."""
        for granted in self.leases.values():
            granted.deadline = now + granted.ttl_seconds

    def next_deadline(self) -> float:
        """Of the lease that is due first; infinity if there is none."""
        return min((granted.deadline for granted in self.leases.values()), default=math.inf)

    def compact(self) -> None:
        """Forget the history before the present revision."""
        self._history = self._history[-1:]
        self._history_first = self.revision + 1 - len(self._history)
        self._compacted = self.revision

    def changes(self, prefix: str, revision: int) -> list[Change]:
        """Of keys that begin with ``prefix``, from ``revision`` on; WatchLost if that was compacted."""
        if revision < self._compacted:
            raise WatchLost(f"revision {revision} has been compacted, up to {self._compacted}")
        kept = self._history[max(0, revision - self._history_first) :]
        return [change for changes in kept for change in changes if change.key.startswith(prefix)]
