"""Decoded table blocks kept in memory, bounded in bytes, replaced by CLOCK.

Each table has a shelf: a list with a place for each of its blocks, None where the block is not held. So a hit costs a
look into a list and a flag. Invariants: a block is on a shelf exactly while it is in the ring; ``bytes_held`` is the
sum of the costs of the blocks in the ring, overhead included, and is at most ``bytes_max``. CLOCK: the hand goes round
the ring, spares (once) what was touched since it last came by, and puts a new block where it found a victim, so a scan
that touches each block once does not push out what is used again and again (Corbato, "A Paging Experiment", 1968).
"""

import cython

from sherd.shard.lsm.block_frame import BlockDecoder

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.block import Block
else:
    from sherd.shard.lsm.block import Block

BLOCK_OVERHEAD_BYTES: int = 280
"""Memory of one held block beside its bytes: three objects, allocator slack, its places on shelf and ring."""
ENTRY_OVERHEAD_BYTES: int = 8
"""Memory of each of its entries beside its bytes: the head of its key."""
_OVERHEAD = cython.declare(cython.Py_ssize_t, BLOCK_OVERHEAD_BYTES)
_ENTRY_OVERHEAD = cython.declare(cython.Py_ssize_t, ENTRY_OVERHEAD_BYTES)


@cython.final
@cython.cclass
class BlockCache:
    """Holds at most ``bytes_max`` bytes; 0 holds nothing. ``blocks`` counts what it holds, ``bytes_held`` their memory.

    ``decoder`` is the decompression state that all tables of this cache share.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self.blocks = 0
        self.decoder = BlockDecoder()
        self._shelves: dict[int, list[Block | None]] = {}
        self._ring: list[Block | None] = []
        self._holes: list[int] = []
        self._hand = 0

    @cython.ccall
    def shelf(self, table: cython.ulonglong, block_count: cython.Py_ssize_t) -> list:  # type: ignore[type-arg]
        """The places of the blocks of table ``table``, made at its first call: blocks or None, by block number.

        The reader of the table looks here; a hit must set the block's ``touched``.
        """
        found = self._shelves.get(table)
        if found is None or len(found) != block_count:
            self.drop(table)
            found = self._shelves[table] = [None] * block_count
        return found

    @cython.ccall
    def put(self, shelf: list, place: cython.Py_ssize_t, block: Block) -> cython.bint:  # type: ignore[type-arg]
        """Hold ``block`` at an empty place of ``shelf``; False if it is too large a part of the cache to be held."""
        cost: cython.Py_ssize_t = len(block.data) + _OVERHEAD + _ENTRY_OVERHEAD * block.count
        if cost > self.bytes_max >> 3:
            return False
        while self.bytes_held + cost > self.bytes_max:
            self._evict_one()
        block.shelf = shelf
        block.shelf_at = place
        block.cost_bytes = cost
        block.touched = False
        if self._holes:
            block.ring_at = self._holes.pop()
            self._ring[block.ring_at] = block
        else:
            block.ring_at = len(self._ring)
            self._ring.append(block)
        shelf[place] = block
        self.bytes_held += cost
        self.blocks += 1
        return True

    @cython.ccall
    def drop(self, table: cython.ulonglong) -> None:
        """Forget all blocks of a table that is no longer read."""
        shelf = self._shelves.pop(table, None)
        if shelf is None:
            return
        for block in shelf:
            if block is not None:
                self._take_off(block)

    @cython.cfunc
    def _take_off(self, block: Block) -> None:
        shelf: list[Block | None] | None = block.shelf
        if shelf is None:
            return
        shelf[block.shelf_at] = None
        block.shelf = None
        self._ring[block.ring_at] = None
        self._holes.append(block.ring_at)
        self.bytes_held -= block.cost_bytes
        self.blocks -= 1

    @cython.cfunc
    def _evict_one(self) -> None:
        """Turn the hand to the first block that was not touched since it last came by, and take that off."""
        while self.blocks > 0:
            if self._hand >= len(self._ring):
                self._hand = 0
            block: Block | None = self._ring[self._hand]
            self._hand += 1
            if block is None:
                continue
            if not block.touched:
                self._take_off(block)
                return
            block.touched = False
