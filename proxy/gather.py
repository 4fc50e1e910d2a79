"""``mget`` and ``batch`` over several shards: split by owner, gathered in the order asked.

The shard's part of a request holds its keys or operations in the order of the whole request, and its answer has one
item for each; so the answer of the whole is put together in one pass that takes, position by position, the next item
of the part the position went to. Items are copied as they are encoded.

A request that touches one shard is forwarded as it is, and its error comes back unchanged. Of a batch over several
shards some parts may be done when others fail: that is PARTIAL, with every position in one of ``done``, ``failed`` and
``unknown``.

Invariants: ``_waiting`` parts are not done; ``_parts[i]`` is the part that position i went to.
"""

import cython
import msgpack

from sherd.common.errors import Conflict, Internal, Overloaded, Partial, Timeout, TooLarge, WireError, from_wire
from sherd.common.wire.encode import array_header, bin_header

if cython.compiled:
    from cython.cimports.sherd.common.topology.token_map import TokenMap
    from cython.cimports.sherd.common.wire.primitives import item_count, items_start, piece, skip
    from cython.cimports.sherd.common.wire.requests import BatchOperation, RequestReader
    from cython.cimports.sherd.common.wire.scanner import Scanner
    from cython.cimports.sherd.proxy.buffer import Buffer
    from cython.cimports.sherd.proxy.follower_read import submit_read
    from cython.cimports.sherd.proxy.pending import Pending, begin_forward
    from cython.cimports.sherd.proxy.routes import Routes
    from cython.cimports.sherd.proxy.session import Session
else:
    from sherd.common.topology.token_map import TokenMap
    from sherd.common.wire.primitives import item_count, items_start, piece, skip
    from sherd.common.wire.requests import BatchOperation, RequestReader
    from sherd.common.wire.scanner import Scanner
    from sherd.proxy.buffer import Buffer
    from sherd.proxy.follower_read import submit_read
    from sherd.proxy.pending import Pending, begin_forward
    from sherd.proxy.routes import Routes
    from sherd.proxy.session import Session

_MGET = cython.declare(bytes, b"\xa4mget")
_BATCH = cython.declare(bytes, b"\xa5batch")
_ITEM_DEPTH = cython.declare(cython.int, 140)
_BIN_HEADERS = cython.declare(list, [bin_header(size) for size in range(256)])
_EMPTY = b"\x90"


@cython.cclass
class Gather:
    """One client request that is spread over several shards."""

    def __init__(self, session: Session, msgid: bytes, size: int, batch: bool, options: bytes, reply_max: int) -> None:
        self.session = session
        self.msgid = msgid
        self.size = size
        self.batch = batch
        self.options = options
        self._reply_max = reply_max
        self._reply_bytes = 0
        self._waiting = 0
        self._parts: list[Part] = []

    @cython.cfunc
    def end_part(self, part: "Part") -> None:
        """``part`` has its reply or its error.

        Values are held only while there is room for them. What a batch did is told in any case: its answers are shorter
        than its operations, which are accounted for already.
        """
        self._waiting -= 1
        if part.failure is None and not self.batch:
            self._hold(part)
        if self._waiting == 0:
            self._finish()

    @cython.cfunc
    def _hold(self, part: "Part") -> None:
        size: cython.Py_ssize_t = len(part.reply)
        self._reply_bytes += size
        if self._reply_bytes > self._reply_max:
            part.failure = TooLarge(f"the answer is over the limit of {self._reply_max} bytes; ask for fewer keys")
        elif not self.session.hold(size):
            part.failure = Overloaded("the proxy's memory for answers is used up")
        else:
            self.size += size
            return
        part.reply = b""

    @cython.cfunc
    def _finish(self) -> None:
        part: Part
        failure: WireError | None = None
        for part in self._parts:
            if part.failure is not None:
                failure = part.failure
                break
        if failure is None:
            self.session.reply(self.msgid, self._join())
        elif self.batch:
            self.session.fail(self.msgid, self._partial())
        else:
            self.session.fail(self.msgid, failure)
        self.session.finish(self.size)
        self._parts = []

    @cython.cfunc
    def _join(self) -> bytes:
        joined = Buffer()
        head: bytes = array_header(len(self._parts))
        joined.append(head, 0, len(head))
        part: Part
        end: cython.Py_ssize_t
        for part in self._parts:
            end = skip(part.reply, part.pos, len(part.reply), _ITEM_DEPTH)
            joined.append(part.reply, part.pos, end)
            part.pos = end
        return joined.take()

    def _partial(self) -> Partial:
        done: list[int] = []
        failed: list[list[object]] = []
        unknown: list[int] = []
        part: Part
        self._renumber_conflicts()
        for position, part in enumerate(self._parts):
            error = part.failure
            if error is None:
                done.append(position)
            elif error.code == Timeout.code:
                unknown.append(position)
            else:
                failed.append([position, error.code, f"{error.name} {error.message}".rstrip()])
        message = f"{len(done)} operations took effect, {len(failed)} did not, of {len(unknown)} it is not known"
        return Partial(message, {"done": done, "failed": failed, "unknown": unknown})

    def _renumber_conflicts(self) -> None:
        """A shard counts the operations of its part; have its conflict name the one by its place in the request."""
        part: Part
        positions: dict[Part, list[int]] = {}
        for position, part in enumerate(self._parts):
            if part.failure is not None and part.failure.code == Conflict.code:
                positions.setdefault(part, []).append(position)
        for part, places in positions.items():
            details = part.failure.details if part.failure is not None else None
            index = details.get("index") if isinstance(details, dict) else None
            if isinstance(details, dict) and isinstance(index, int) and 0 <= index < len(places):
                version, place = details.get("version"), places[index]
                text = f"operation {place}: the key is at version {version}; nothing of what went to its shard was done"
                part.failure = Conflict(text, {**details, "index": place})


@cython.cclass
class Part(Pending):
    """What of a request goes to one shard: ``items`` are its encoded keys or operations, ``keys`` what they touch."""

    def __init__(self, gather: Gather, deadline: float) -> None:
        self.begin(b"", b"", deadline)
        self.writes = gather.batch
        self.keys = []
        self.gather = gather
        self.items: list[bytes] = []
        self.reply = b""
        self.pos = 0
        self.failure: WireError | None = None

    @cython.cfunc
    def seal(self) -> None:
        """All items are there: make the payload."""
        options: bytes = self.gather.options
        self.key = self.keys[0]
        self.payload = b"".join(
            [
                _BATCH if self.writes else _MGET,
                b"\x92" if options else b"\x91",
                array_header(len(self.keys)),
                *self.items,
                options,
            ]
        )

    @cython.cfunc
    def answer(self, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        self.done = True
        if data[error] != 0xC0:
            self.failure = from_wire(msgpack.unpackb(data[error:result], strict_map_key=False))
        elif item_count(data, result, end) != len(self.keys):
            self.failure = Internal("a shard's answer has another number of items than its request")
        else:
            self.reply = data[items_start(data, result, end) : end]
        self.gather.end_part(self)

    @cython.ccall
    def refuse(self, error: WireError) -> None:
        self.done = True
        self.failure = error
        self.gather.end_part(self)

    @cython.ccall
    def split(self, token_map: TokenMap) -> list:  # type: ignore[type-arg]
        owner: cython.long = token_map.owner(self.key)
        i: cython.Py_ssize_t
        for i in range(1, len(self.keys)):
            if token_map.owner(self.keys[i]) != owner:
                return self._split_up(token_map)
        return [self]

    def _split_up(self, token_map: TokenMap) -> list:  # type: ignore[type-arg]
        """This part was held or refused, and its keys now belong to several shards: parts in its place."""
        gather: Gather = self.gather
        parts: dict = {}  # type: ignore[type-arg]
        part: Part
        i: cython.Py_ssize_t
        taken: cython.Py_ssize_t = 0
        self.done = True
        for i in range(len(gather._parts)):
            if gather._parts[i] is self:
                part = _part_of(gather, parts, token_map.owner(self.keys[taken]), self.deadline)
                part.hold_until = self.hold_until
                part.keys.append(self.keys[taken])
                part.items.append(self.items[taken])
                gather._parts[i] = part
                taken += 1
        gather._waiting += len(parts) - 1
        for part in parts.values():
            part.seal()
        return list(parts.values())


@cython.cfunc
@cython.inline
def _part_of(gather: Gather, parts: dict, shard: cython.long, deadline: cython.double) -> Part:  # type: ignore[type-arg]
    found = parts.get(shard)
    if found is None:
        found = parts[shard] = Part(gather, deadline)
    return cython.cast(Part, found)


@cython.cfunc
def begin_gather(
    routes: Routes,
    session: Session,
    scanner: Scanner,
    reader: RequestReader,
    deadline: cython.double,
    batch: cython.bint,
) -> None:
    """Carry out the ``mget`` or ``batch`` that ``scanner`` stands at. Raises what ``reader`` finds wrong with it."""
    data: bytes = scanner.data
    asked: list  # type: ignore[type-arg]
    if batch:
        asked = reader.read_batch(data, scanner.params_start, scanner.frame_end)
    else:
        asked = reader.read_mget(data, scanner.params_start, scanner.frame_end)
    if not asked:
        session.reply(scanner.msgid, _EMPTY)
        return
    if reader.deadline_ms > 0:
        deadline = routes.now + reader.deadline_ms / 1000.0
    options: bytes = data[reader.options_start : reader.options_end] if reader.options_start >= 0 else b""
    gather = Gather(
        session, scanner.msgid, scanner.frame_end - scanner.frame_start, batch, options, routes.reply_bytes_max
    )
    parts: dict = {}  # type: ignore[type-arg]
    part: Part
    key: bytes
    operation: BatchOperation
    item: bytes
    for found in asked:
        if batch:
            operation = cython.cast(BatchOperation, found)
            key = operation.key
            item = piece(data, operation.start, operation.end)
        else:
            key = cython.cast(bytes, found)
            item = _BIN_HEADERS[len(key)] if len(key) < 256 else bin_header(len(key))
            item = item + key
        part = _part_of(gather, parts, routes.map.owner(key), deadline)
        part.keys.append(key)
        part.items.append(item)
        gather._parts.append(part)
    if len(parts) == 1:
        forward = begin_forward(session, scanner, key, deadline, batch)
        forward.keys = part.keys
        gather._parts = []  # no cycle is left to the garbage collector
        _submit(routes, forward, reader, batch)
        return
    session.begin(gather.size)
    gather._waiting = len(parts)
    for part in parts.values():
        part.seal()
        _submit(routes, part, reader, batch)


@cython.cfunc
def _submit(routes: Routes, pending: Pending, reader: RequestReader, batch: cython.bint) -> None:
    if not batch and (reader.stale_ms > 0 or reader.at_shard > 0 or routes.stale_ms > 0):
        submit_read(routes, pending, reader)
    else:
        routes.link_of(pending.key).submit(pending, routes.now)
