"""Deciding a batch before anything of it is staged: which operations are done, and what each answers.

Conditions and deletes see the operations before them in the same batch, so a batch behaves as if its operations were
done one by one, except that one failed condition stops all of them.
"""

from collections.abc import Callable

import cython

from sherd.common.errors import Conflict

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.entry import Entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE
else:
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.lsm.format import KIND_DELETE

OP_OVERHEAD_BYTES = 24
"""At most, what one operation of a record takes beside its key and value."""

ANY_VERSION = -1


def plan_batch(
    ops: list[tuple[int, bytes, bytes | None, int, int]],
    find: Callable[[bytes], Entry | None],
    next_lsn: cython.ulonglong,
    now_ms: cython.ulonglong,
) -> tuple[list[int | bool], list[tuple[int, bytes, bytes | None, int, int]]]:
    """(the answer to each operation, the operations to stage in order: they get LSNs from ``next_lsn`` on).

    A put answers its version, a delete whether the key existed; a delete of what holds no value is not staged. Conflict
    names the operation by ``index``.
    """
    if not _looks_back(ops):
        return list(range(next_lsn, next_lsn + len(ops))), ops
    answers: list = []  # type: ignore[type-arg]
    kept: list = []  # type: ignore[type-arg]
    pending: dict = {}  # type: ignore[type-arg]  # key -> (its live version or 0, whether anything but a tombstone is stored)
    op: tuple  # type: ignore[type-arg]
    key: bytes
    live_lsn: cython.ulonglong
    stored: cython.bint
    for op in ops:
        key = op[1]
        if op[0] == KIND_DELETE or op[4] != ANY_VERSION:
            if key in pending:
                live_lsn, stored = pending[key]
            else:
                live_lsn, stored = _present(find(key), now_ms)
            if op[4] != ANY_VERSION and op[4] != live_lsn:
                raise Conflict(
                    f"operation {len(answers)}: the key is at version {live_lsn}, not {op[4]}",
                    {"version": live_lsn, "index": len(answers)},
                )
            if op[0] == KIND_DELETE:
                answers.append(live_lsn != 0)
                if stored:
                    kept.append(op)
                    next_lsn += 1
                    pending[key] = (0, False)
                continue
        answers.append(next_lsn)
        kept.append(op)
        pending[key] = (next_lsn if op[3] == 0 or op[3] > now_ms else 0, True)
        next_lsn += 1
    return answers, kept


@cython.cfunc
def _looks_back(ops: list) -> cython.bint:  # type: ignore[type-arg]
    """Whether anything depends on what is stored; puts without conditions do not."""
    op: tuple  # type: ignore[type-arg]
    for op in ops:  # noqa: SIM110 - a generator would cost as much as what is asked
        if op[0] == KIND_DELETE or op[4] != ANY_VERSION:
            return True
    return False


@cython.cfunc
def _present(entry: Entry | None, now_ms: cython.ulonglong) -> tuple:  # type: ignore[type-arg]
    """(live version or 0, whether anything but a tombstone is stored)."""
    if entry is None or entry.kind == KIND_DELETE:
        return (0, False)
    return (entry.lsn if entry.is_live(now_ms) else 0, True)
