"""What of the unsynced state a power cut leaves: the choices an adversary has.

A file system owes us only what was synced. Everything younger may be there or not, independently for each directory
entry and each 512-byte sector, in any order, so each ``Survival`` names one way to choose and a seed makes the random
ones repeatable.
"""

import random
from dataclasses import dataclass
from typing import Literal

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written at ``offset``. ``lost``: a sync failed over them, so no later sync covers them."""

    offset: int
    data: bytes
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """The file was given ``size`` bytes, by allocate or truncate."""

    size: int
    lost: bool = False


Change = Write | Resize


@dataclass(frozen=True, slots=True)
class Survival:
    """One way for a power cut to choose.

    ``names``: which unsynced creations, renames and unlinks survive: ``none``, ``all``, ``prefix`` (in the order they
    were made) or ``some`` (any of them). ``data``: which unsynced bytes of each file survive: ``none``, ``all``,
    ``prefix`` (cut at any byte), ``sectors`` (any of the touched sectors, the others as they were) or ``stale`` (as
    ``sectors``, but those of the others that were never written hold what an older file had there).
    """

    names: Literal["none", "all", "prefix", "some"]
    data: Literal["none", "all", "prefix", "sectors", "stale"]

    def __str__(self) -> str:
        return f"names-{self.names}-data-{self.data}"


SURVIVALS = (
    Survival("none", "none"),
    Survival("all", "all"),
    Survival("all", "none"),
    Survival("none", "all"),
    Survival("prefix", "prefix"),
    Survival("some", "prefix"),
    Survival("some", "sectors"),
    Survival("some", "stale"),
    Survival("all", "prefix"),
    Survival("all", "sectors"),
)
"""The corners first, then the mixtures that real file systems show."""


def apply(content: bytearray, change: Change) -> None:
    """Do ``change`` to ``content`` in place."""
    if isinstance(change, Resize):
        if change.size < len(content):
            del content[change.size :]
        else:
            content.extend(bytes(change.size - len(content)))
        return
    gap = change.offset - len(content)
    if gap > 0:
        content.extend(bytes(gap))
    content[change.offset : change.offset + len(change.data)] = change.data


def surviving_bytes(
    synced: bytes, pending: list[Change], survival: Survival, dice: random.Random, ghosts: list[bytes]
) -> bytes:
    """What one file holds after the cut. ``ghosts`` are contents of older files, for ``stale``."""
    content = bytearray(synced)
    if survival.data == "none" or not pending:
        return synced
    if survival.data == "all":
        for change in pending:
            apply(content, change)
    elif survival.data == "prefix":
        _apply_prefix(content, pending, dice)
    else:
        ghost = dice.choice(ghosts) if survival.data == "stale" and ghosts else b""
        _apply_sectors(content, pending, dice, ghost)
    return bytes(content)


def _apply_prefix(content: bytearray, pending: list[Change], dice: random.Random) -> None:
    whole = dice.randint(0, len(pending))
    for change in pending[:whole]:
        apply(content, change)
    if whole < len(pending):
        cut = pending[whole]
        if isinstance(cut, Write):
            apply(content, Write(cut.offset, cut.data[: dice.randint(0, len(cut.data))]))


def _apply_sectors(content: bytearray, pending: list[Change], dice: random.Random, ghost: bytes) -> None:
    for change in pending:
        if isinstance(change, Resize):
            if dice.random() < 0.5:
                apply(content, change)
            continue
        position, end = change.offset, change.offset + len(change.data)
        while position < end:
            step = min(end, position - position % SECTOR_BYTES + SECTOR_BYTES)
            if dice.random() < 0.5:
                apply(content, Write(position, change.data[position - change.offset : step - change.offset]))
            elif ghost[position:step] and not any(content[position:step]):
                apply(content, Write(position, ghost[position:step]))
            position = step
