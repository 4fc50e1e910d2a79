"""Where two logs of one shard part.

A log's history is its list of (term, first LSN), ascending. A term begins exactly ``TERM_LSN_STEP`` above the last LSN
before it, and only one process ever leads in a term: so two logs are the same up to where the first of them left the
last term that both have in common.
"""

from collections.abc import Sequence

from sherd.shard.lsm.format import TERM_LSN_STEP

History = Sequence[tuple[int, int]]


def common_lsn(ours: History, our_last_lsn: int, theirs: History, their_last_lsn: int) -> int | None:
    """The last LSN up to which both logs are the same; 0 if one of them is empty, None if they share no term."""
    if not our_last_lsn or not their_last_lsn:
        return 0
    known = dict(ours)
    shared = [(term, lsn) for term, lsn in theirs if known.get(term) == lsn]
    if not shared:
        return None
    term = shared[-1][0]
    return min(_end_of(term, ours, our_last_lsn), _end_of(term, theirs, their_last_lsn))


def _end_of(term: int, history: History, last_lsn: int) -> int:
    """The last LSN of ``term`` in a log."""
    for later, first_lsn in history:
        if later > term:
            return first_lsn - TERM_LSN_STEP
    return last_lsn


def term_of(history: History, lsn: int) -> int | None:
    """The term that ``lsn`` was written in; None if it is older than the history, or of no term in it."""
    for i in range(len(history) - 1, -1, -1):
        term, first_lsn = history[i]
        if lsn >= first_lsn:
            follows = history[i + 1][1] if i + 1 < len(history) else None
            return term if follows is None or lsn <= follows - TERM_LSN_STEP else None
    return None
