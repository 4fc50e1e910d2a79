"""The block cache: bounded, forgetful in the right order, and exact about what it holds."""

import random

import pytest
from support.crash_disk import CrashDisk
from support.table_run import SMALL, open_table, walk, write_table

from sherd.shard.lsm.block import Block
from sherd.shard.lsm.block_builder import BlockBuilder
from sherd.shard.lsm.cache import BLOCK_OVERHEAD_BYTES, ENTRY_OVERHEAD_BYTES, BlockCache
from sherd.shard.lsm.entry import Entry
from sherd.shard.lsm.format import KIND_PUT

pytestmark = pytest.mark.core


def block(size: int = 100) -> Block:
    builder = BlockBuilder()
    builder.add(b"k", 1, KIND_PUT, 0, bytes(size))
    return Block(builder.finish())


def cost(held: Block) -> int:
    return len(held.data) + BLOCK_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES * held.count


def test_it_never_holds_more_than_its_bound() -> None:
    rng = random.Random(1)
    cache = BlockCache(50_000)
    shelves = [cache.shelf(number, 200) for number in range(5)]
    for step in range(5000):
        number, place = rng.randrange(5), rng.randrange(200)
        if shelves[number][place] is None:
            cache.put(shelves[number], place, block(rng.randrange(2000)))
        if step % 500 == 499:
            cache.drop(number)
            shelves[number] = cache.shelf(number, 200)
        held = [found for shelf in shelves for found in shelf if found is not None]
        assert cache.blocks == len(held)
        assert cache.bytes_held == sum(map(cost, held)) <= cache.bytes_max
    assert cache.blocks > 10


def test_a_block_too_large_a_part_of_the_cache_is_not_held() -> None:
    cache = BlockCache(8 * cost(block(100)))
    shelf = cache.shelf(1, 3)
    assert cache.put(shelf, 0, block(100))
    assert not cache.put(shelf, 1, block(101))
    assert shelf[1] is None
    nothing = BlockCache(0)
    assert not nothing.put(nothing.shelf(1, 1), 0, block(1))


def test_what_is_used_again_outlives_a_scan() -> None:
    disk = CrashDisk()
    contents = {b"%05d" % i: Entry(i + 1, KIND_PUT, 0, bytes(100)) for i in range(2000)}
    write_table(disk, "/hot", dict(list(contents.items())[:40]))
    write_table(disk, "/cold", contents)
    cache = BlockCache(40_000)
    hot = open_table(disk, "/hot", 1, cache)
    cold = open_table(disk, "/cold", 2, cache)
    shelf = cache.shelf(1, hot.properties.blocks)
    walk(hot.cursor())
    assert None not in shelf
    cursor = cold.cursor()
    cursor.seek_first()
    steps = 0
    while cursor.valid:
        if steps % 20 == 0:
            walk(hot.cursor())
        assert None not in shelf, "a block in use was pushed out by a scan"
        cursor.next()
        steps += 1


def test_dropping_a_table_forgets_its_blocks_only() -> None:
    cache = BlockCache(1 << 20)
    first, second = cache.shelf(1, 4), cache.shelf(2, 4)
    for place in range(4):
        cache.put(first, place, block())
        cache.put(second, place, block())
    cache.drop(1)
    cache.drop(1)
    assert first == [None] * 4
    assert cache.blocks == 4
    assert None not in second
    assert cache.shelf(1, 4) is not first
    assert cache.shelf(2, 4) is second


def test_a_cursor_can_leave_the_cache_alone() -> None:
    disk = CrashDisk()
    write_table(disk, "/t", {b"%03d" % i: Entry(i + 1, KIND_PUT, 0, b"v") for i in range(100)}, SMALL)
    cache = BlockCache(1 << 20)
    table = open_table(disk, "/t", 1, cache)
    assert len(walk(table.cursor(fill_cache=False))) == 100
    assert cache.blocks == 0
    assert len(walk(table.cursor())) == 100
    assert cache.blocks == table.properties.blocks
    table.close()
    assert (cache.blocks, cache.bytes_held) == (0, 0)
