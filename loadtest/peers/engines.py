"""Engines inside a Python process under one face: Sherd's ``Store``, RocksDB, LevelDB and LMDB by their bindings.

All get the same memtable, cache and filter sizes, LZ4 (LevelDB's only compression is Snappy), and leave syncing to the
kernel unless asked otherwise; LMDB has none of these but its map. ``put`` and ``get`` are the bindings' own methods
where that is possible, so that nothing of ours is timed with them.
"""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, cast

from peers.rows import SHERD
from peers.targets import LEVELDB, LMDB, ROCKSDB

BLOOM_BITS = 10
LMDB_MAP_BYTES = 64 << 30

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Sizes in bytes. ``synced``: every put and batch returns after its fsync. ``background``: flush and compact beside
    the writer, which RocksDB and LevelDB always do.
    """

    memtable_bytes: int = 64 << 20
    cache_bytes: int = 512 << 20
    synced: bool = False
    background: bool = True


class Engine(ABC):
    """An open store in a directory of its own."""

    module: ClassVar[str]
    put: Callable[[bytes, bytes], Any]
    get: Callable[[bytes], Any]

    @classmethod
    def absent(cls) -> str | None:
        """Why it cannot take part, or None."""
        return None if importlib.util.find_spec(cls.module) else f"Python module {cls.module} not installed"

    @abstractmethod
    def __init__(self, directory: Path, settings: EngineSettings) -> None:
        """Open, and make if it is not there."""

    @abstractmethod
    def put_many(self, pairs: Iterable[Pair]) -> None:
        """One batch: all or nothing."""

    @abstractmethod
    def rows(self, start: bytes = b"") -> Iterator[Pair]:
        """In order of the keys."""

    def some_rows(self, start: bytes, count: int) -> Iterator[Pair]:
        """``count`` rows from ``start``."""
        return islice(self.rows(start), count)

    @abstractmethod
    def compact(self) -> None:
        """Bring everything to the bottom level, as far as the engine has levels."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the directory."""


class SherdEngine(Engine):
    """The public face, MessagePack of the values included."""

    module = "sherd"

    def __init__(self, directory: Path, settings: EngineSettings) -> None:
        from sherd import Store

        self._store = Store.open(
            directory,
            fsync="always" if settings.synced else "os",
            memtable_bytes=settings.memtable_bytes,
            cache_bytes=settings.cache_bytes,
            janitor=settings.background,
        )
        self.put = self._store.put
        self.get = self._store.get

    def put_many(self, pairs: Iterable[Pair]) -> None:
        self._store.batch([("put", key, value) for key, value in pairs])

    def rows(self, start: bytes = b"") -> Iterator[Pair]:
        return self._store.scan(start or None)

    def some_rows(self, start: bytes, count: int) -> Iterator[Pair]:
        return self._store.scan(start, limit=count)

    def compact(self) -> None:
        self._store.flush()
        self._store.compact()

    def close(self) -> None:
        self._store.close()


class RocksEngine(Engine):
    """rocksdict in raw mode. It forgets options on reopening unless they come as those of a column family, too."""

    module = "rocksdict"

    def __init__(self, directory: Path, settings: EngineSettings) -> None:
        import rocksdict

        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(rocksdict.Cache(settings.cache_bytes))
        blocks.set_bloom_filter(BLOOM_BITS, False)
        options = rocksdict.Options(raw_mode=True)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_size(settings.memtable_bytes)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        self._batch = partial(rocksdict.WriteBatch, raw_mode=True)
        self._db = rocksdict.Rdict(str(directory), options, column_families={"default": options})
        if settings.synced:
            write_options = rocksdict.WriteOptions()
            write_options.sync = True
            self._db.set_write_options(write_options)
        self.put = self._db.put
        self.get = self._db.get

    def put_many(self, pairs: Iterable[Pair]) -> None:
        batch = self._batch()
        for key, value in pairs:
            batch.put(key, value)
        self._db.write(batch)

    def rows(self, start: bytes = b"") -> Iterator[Pair]:
        rows: Any = self._db.items(from_key=start) if start else self._db.items()
        return cast(Iterator[Pair], rows)

    def compact(self) -> None:
        self._db.flush()
        self._db.compact_range(None, None)

    def close(self) -> None:
        self._db.close()


class LevelEngine(Engine):
    """plyvel."""

    module = "plyvel"

    def __init__(self, directory: Path, settings: EngineSettings) -> None:
        import plyvel  # type: ignore[import-untyped]

        self._db = plyvel.DB(
            str(directory),
            create_if_missing=True,
            write_buffer_size=settings.memtable_bytes,
            lru_cache_size=settings.cache_bytes,
            bloom_filter_bits=BLOOM_BITS,
        )
        self._synced = settings.synced
        self.put = partial(self._db.put, sync=True) if settings.synced else self._db.put
        self.get = self._db.get

    def put_many(self, pairs: Iterable[Pair]) -> None:
        with self._db.write_batch(sync=self._synced) as batch:
            for key, value in pairs:
                batch.put(key, value)

    def rows(self, start: bytes = b"") -> Iterator[Pair]:
        rows: Iterator[Pair] = self._db.iterator(start=start or None)
        return rows

    def compact(self) -> None:
        self._db.compact_range()

    def close(self) -> None:
        self._db.close()


class LmdbEngine(Engine):
    """A B+tree in a memory map: no log, no levels. Gets are of one read transaction, begun with the first of them."""

    module = "lmdb"

    def __init__(self, directory: Path, settings: EngineSettings) -> None:
        import lmdb

        self._env = lmdb.open(str(directory), map_size=LMDB_MAP_BYTES, sync=settings.synced, metasync=settings.synced)
        self.put = self._put
        self.get = self._first_get

    def _first_get(self, key: bytes) -> bytes | None:
        self.get = self._env.begin().get  # not before: a reader keeps pages from being used again
        value: bytes | None = self.get(key)
        return value

    def _put(self, key: bytes, value: bytes) -> None:
        self.put_many([(key, value)])

    def put_many(self, pairs: Iterable[Pair]) -> None:
        with self._env.begin(write=True) as transaction:
            for key, value in pairs:
                transaction.put(key, value)

    def rows(self, start: bytes = b"") -> Iterator[Pair]:
        cursor = self._env.begin().cursor()
        if not (cursor.set_range(start) if start else cursor.first()):
            return iter(())
        rows: Iterator[Pair] = cursor.iternext(keys=True, values=True)
        return rows

    def compact(self) -> None:
        self._env.sync(True)

    def close(self) -> None:
        self._env.close()


ENGINES: dict[str, type[Engine]] = {SHERD: SherdEngine, ROCKSDB: RocksEngine, LEVELDB: LevelEngine, LMDB: LmdbEngine}
LOGGED = (SHERD, ROCKSDB, LEVELDB)
"""Engines with a log and levels."""
