"""How a block lies in the file: compressed, then sealed with a checksum. Layout: FORMAT.md, "Stored block".

The checksum covers the stored bytes and the compression byte, and is seeded with the file's salt and the block's
offset, so a block that is read at another place, or from another file, does not verify.
"""

import lz4.block
import zstandard
from xxhash import xxh3_64_intdigest

from sherd.common.errors import ConfigError, Corruption
from sherd.shard.lsm.format import BLOCK_TRAILER_BYTES, COMPRESSION_LZ4, COMPRESSION_NONE, COMPRESSION_ZSTD

_ZSTD_LEVEL_DEFAULT = 3
_WORTHWHILE = 8  # a block is stored compressed if that saves at least one part in so many
_PASSED_MAX = 8  # blocks stored as they are, untried, after blocks that were not worth it


class BlockEncoder:
    """Compresses and seals blocks; ``compression`` is ``none``, ``lz4``, ``zstd`` or ``zstd:LEVEL``.

    Where compression does not pay, it is tried ever more rarely, up to every ninth block, until it pays again.
    """

    __slots__ = ("_kind", "_pass", "_passed_next", "_zstd")

    def __init__(self, compression: str) -> None:
        name, _, level = compression.partition(":")
        self._zstd: zstandard.ZstdCompressor | None = None
        self._pass = 0
        self._passed_next = 1
        if name == "none":
            self._kind = COMPRESSION_NONE
        elif name == "lz4":
            self._kind = COMPRESSION_LZ4
        elif name == "zstd":
            self._kind = COMPRESSION_ZSTD
            self._zstd = zstandard.ZstdCompressor(level=int(level) if level else _ZSTD_LEVEL_DEFAULT)
        else:
            raise ConfigError(f"compression must be none, lz4, zstd or zstd:LEVEL, not {compression!r}")

    def encode(self, raw: bytes, salt: int, offset: int) -> bytes:
        """What to write at ``offset`` of the file, trailer included."""
        kind = self._kind
        stored = raw
        if self._pass > 0:
            self._pass -= 1
            kind = COMPRESSION_NONE
        elif kind != COMPRESSION_NONE:
            if self._zstd is not None:
                stored = self._zstd.compress(raw)
            else:
                stored = lz4.block.compress(raw, store_size=False)
            if len(stored) > len(raw) - len(raw) // _WORTHWHILE:
                kind = COMPRESSION_NONE
                stored = raw
                self._pass = self._passed_next
                self._passed_next = min(2 * self._passed_next, _PASSED_MAX)
            else:
                self._passed_next = 1
        checked = stored + bytes((kind,))
        return checked + xxh3_64_intdigest(checked, salt ^ offset).to_bytes(8, "little")


class BlockDecoder:
    """Verifies and decompresses blocks. Holds decompression state; for one thread."""

    __slots__ = ("_zstd",)

    def __init__(self) -> None:
        self._zstd: zstandard.ZstdDecompressor | None = None

    def decode(self, data: bytes, raw_bytes: int, salt: int, offset: int, path: str) -> bytes:
        """The ``raw_bytes`` bytes of the block stored as ``data`` at ``offset`` of the file at ``path``.

        Corruption, naming file and offset, if they are not what was written there. No more than ``raw_bytes`` of
        memory is taken, whatever the data says.
        """
        checked = memoryview(data)[:-8]
        if len(data) < BLOCK_TRAILER_BYTES or xxh3_64_intdigest(checked, salt ^ offset) != int.from_bytes(
            data[-8:], "little"
        ):
            raise Corruption(f"{path}: checksum of the block at byte {offset} does not match")
        kind = data[-9]
        stored = checked[:-1]
        try:
            if kind == COMPRESSION_NONE:
                raw = bytes(stored)
            elif kind == COMPRESSION_LZ4:
                raw = lz4.block.decompress(stored, uncompressed_size=raw_bytes)
            elif kind == COMPRESSION_ZSTD:
                raw = self._decompress_zstd(stored, raw_bytes)
            else:
                raise ValueError(f"unknown compression {kind}")
        except (lz4.block.LZ4BlockError, zstandard.ZstdError, ValueError) as error:
            raise Corruption(f"{path}: the block at byte {offset} does not decompress: {error}") from error
        if len(raw) != raw_bytes:
            raise Corruption(f"{path}: the block at byte {offset} has {len(raw)} bytes, not {raw_bytes}")
        return raw

    def _decompress_zstd(self, stored: memoryview, raw_bytes: int) -> bytes:
        if zstandard.frame_content_size(stored) != raw_bytes:  # the library would trust it for the allocation
            raise ValueError("its frame says another size")
        if self._zstd is None:
            self._zstd = zstandard.ZstdDecompressor()
        return self._zstd.decompress(stored)
