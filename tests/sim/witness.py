"""Watches who answers as a leader: at most one replica in each term, and none of an earlier term after a later one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sherd.shard.worker import Worker

if TYPE_CHECKING:
    from sim.cluster import Cluster


class Witness:
    """Sees every release of replies by a shard that leads."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._leaders: dict[tuple[int, int], str] = {}
        self._latest: dict[int, int] = {}
        self._violations: list[str] = []
        cluster.on_born = self._watch

    @property
    def terms(self) -> int:
        """In which somebody has answered."""
        return len(self._leaders)

    def check(self) -> None:
        """AssertionError if anything was seen that must not be."""
        if self._violations:
            raise AssertionError("\n".join(self._violations))

    def _watch(self, name: str, shard: int, worker: Worker) -> None:
        turn = worker.turn
        before: Callable[[], bool] = turn.may_answer

        def may_answer() -> bool:
            may = before()
            if may and not worker.engine.following:
                self._note(name, shard, worker.engine.term)
            return may

        turn.may_answer = may_answer

    def _note(self, name: str, shard: int, term: int) -> None:
        leader = self._leaders.setdefault((shard, term), name)
        when = f"at {self._cluster.sim.now:.6f} s"
        if leader != name:
            self._violations.append(f"{when} {name} answers in term {term} of shard {shard}, in which {leader} led")
        if term < self._latest.get(shard, 0):
            latest = self._latest[shard]
            self._violations.append(f"{when} {name} answers in term {term} of shard {shard} after term {latest}")
        self._latest[shard] = max(term, self._latest.get(shard, 0))
