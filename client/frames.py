"""Cuts the bytes that a server sends into whole MessagePack values, without decoding them.

Splitting before decoding keeps one reply that can't be decoded from taking the connection with it. The work is linear
in the bytes however they are cut: msgpack's ``skip`` goes on where it stopped, and bytes are joined once per frame.
"""

from msgpack import Unpacker
from msgpack.exceptions import BufferFull, OutOfData

RESPONSE_BYTES_MAX = 256 * 1024 * 1024
"""Replies not yet whole that a connection keeps; a server that sends more is not believed."""

_READ_BYTES = 64 * 1024
"""What msgpack reserves for a splitter before it has seen anything."""

_KEEP_BYTES_MAX = 1024 * 1024
"""A splitter that grew beyond this for one large reply is replaced, so that its memory is given back."""


class FrameError(Exception):
    """What the server sends is not MessagePack, or is over the limit; the connection can't go on."""


class FrameSplitter:
    """The receiving side of one connection. Invariant: ``_parts`` joined is what was fed and is not part of a frame
    already given out, and starts at a frame's first byte."""

    __slots__ = ("_base", "_bytes_max", "_parts", "_seen_bytes", "_unpacker")

    def __init__(self, bytes_max: int = RESPONSE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._renew()

    def _renew(self) -> None:
        self._unpacker = Unpacker(read_size=_READ_BYTES, max_buffer_size=self._bytes_max)
        self._parts: list[bytes] = []
        self._base = 0  # the unpacker's position of the first byte in _parts
        self._seen_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes, in order; FrameError if it can't belong to any."""
        unpacker = self._unpacker
        try:
            unpacker.feed(data)
        except BufferFull:
            raise FrameError(f"a reply is over {self._bytes_max} bytes") from None
        frames: list[bytes] = []
        start = 0
        whole = b""
        try:
            while True:
                unpacker.skip()
                if not frames:
                    whole = b"".join((*self._parts, data)) if self._parts else data
                end = unpacker.tell() - self._base
                frames.append(whole[start:end])
                start = end
        except OutOfData:
            pass
        except ValueError as error:
            raise FrameError(f"a reply is not MessagePack: {error or type(error).__name__}") from None
        self._keep(data, whole, start, bool(frames))
        return frames

    def _keep(self, data: bytes, whole: bytes, start: int, any_frames: bool) -> None:
        self._seen_bytes += len(data)
        if not any_frames:
            self._parts.append(data)
        elif start < len(whole):
            self._parts = [whole[start:]]
            self._base += start
        elif self._seen_bytes > _KEEP_BYTES_MAX:
            self._renew()
        else:
            self._parts = []
            self._base += start
