"""What a shard does with a frame: check, execute on the engine, and hand the reply to the gate.

The core of a connection, without I/O: bytes go into ``feed``, replies come out of its sink at the end of the turn.
The data methods run here, on encoded values; everything rarer goes to ``ShardAdmin``. Writes are staged in the engine
and seen at once by whoever reads next; the turn commits them with one write before any reply of the turn leaves.

A connection that is owed more than ``OWED_BYTES_MAX`` is stalled: the requests that have come in wait, unexecuted,
until replies have left. So what a shard holds for one connection is bounded however fast its peer asks.
"""

import logging

import cython

from sherd.common.errors import (
    BadRequest,
    Conflict,
    Internal,
    NotLeader,
    Overloaded,
    StoreError,
    StoreFull,
    TooLarge,
    Unavailable,
    WireError,
    WrongShard,
)
from sherd.common.limits import LINK_SLACK_BYTES, Limits
from sherd.common.wire.encode import FALSE, NIL, TRUE, error_body
from sherd.common.wire.scanner import FramingError
from sherd.shard.admin import ShardAdmin, meta_value, written_value
from sherd.shard.linked_proxies import LinkedProxy

if cython.compiled:
    from cython.cimports.sherd.common.topology.token_map import TokenMap
    from cython.cimports.sherd.common.wire.encode import array_header, uint
    from cython.cimports.sherd.common.wire.primitives import piece
    from cython.cimports.sherd.common.wire.requests import BatchOperation, RequestReader
    from cython.cimports.sherd.common.wire.scanner import Scanner
    from cython.cimports.sherd.shard.lsm.engine import Engine
    from cython.cimports.sherd.shard.lsm.entry import Entry
    from cython.cimports.sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
    from cython.cimports.sherd.shard.replies import ReplyGate, ReplySink
else:
    from sherd.common.topology.token_map import TokenMap
    from sherd.common.wire.encode import array_header, uint
    from sherd.common.wire.primitives import piece
    from sherd.common.wire.requests import BatchOperation, RequestReader
    from sherd.common.wire.scanner import Scanner
    from sherd.shard.lsm.engine import Engine
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.lsm.format import KIND_DELETE, KIND_PUT
    from sherd.shard.replies import ReplyGate, ReplySink

log = logging.getLogger(__name__)

NOTIFICATION = 2
OWED_BYTES_MAX = 16 << 20
"""Replies that one connection may be owed, with what they take beside their bytes, before its requests wait."""


@cython.final
@cython.cclass
class ShardService:
    """One shard's engine, gate and ownership, shared by its connections."""

    def __init__(
        self, shard_id: int, engine: Engine, gate: ReplyGate, token_map: TokenMap, admin: ShardAdmin, limits: Limits
    ) -> None:
        self.shard_id = shard_id
        self.engine = engine
        self.gate = gate
        self.token_map = token_map
        self.admin = admin
        self.limits = limits
        self.overloaded = False
        self.following = False
        self.refusal: WireError | None = None

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def own(self, key: bytes) -> cython.int:
        """Refuse a key whose token this shard does not own."""
        if self.token_map.owner(key) != self.shard_id:
            counter = self.token_map.layout.counter
            raise WrongShard(f"shard {self.shard_id} does not own the key at layout {counter}", {"layout": counter})
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def lead_only(self) -> cython.int:
        """Refuse what only the leader may answer."""
        if self.following:
            raise NotLeader(f"this replica of shard {self.shard_id} follows; ask its leader")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def writable(self, in_sync: cython.bint) -> cython.int:
        """Shed a write before it is executed: when the engine is too far behind, or too few replicas are in sync."""
        if self.overloaded:
            raise Overloaded("compaction is too far behind; retry with backoff")
        return self.gate.admit(in_sync)

    @cython.cfunc
    @cython.exceptval(0, check=True)
    def rests_on(self, seen_lsn: cython.ulonglong, in_sync: cython.bint) -> cython.ulonglong:
        """The LSN that an answer rests on which has seen ``seen_lsn``, 0 being what is in tables, or not there at all.

        Tables are durable here, but a flush may be ahead of followers: where those count, it is all that was flushed.
        """
        if (in_sync or self.gate.in_sync) and seen_lsn < self.engine.flushed_lsn:
            return self.engine.flushed_lsn
        return seen_lsn

    def check_reader(self, stale_ms: int, at: tuple[int, int, int] | None) -> None:
        """Refuse a read that this replica can't answer: by the bound on how old its state may be (ms, 0 for none), and
        the write at ``(shard, term, LSN)`` that it has to show, if that was one of this shard.
        """
        if at is not None and at[0] != self.shard_id:
            at = None
        if not self.following:
            if at is not None and at[1] > self.engine.term:
                raise Unavailable(
                    f"shard {self.shard_id} is led here in term {self.engine.term}, at is of term {at[1]}"
                )
        elif self.admin.stale_reads is None:
            self.lead_only()
        else:
            self.admin.stale_reads.check(stale_ms, at)


@cython.final
@cython.cclass
class ServiceConnection:
    """One connection's frames in, replies out.

    ``stalled``: requests wait because too much is owed; call ``go_on`` once replies have left. ``greeted``: a whole
    frame has come in. ``peer`` is the name the other side gave itself in ``hello``, ``proxy`` what it
    says of the proxy it belongs to, None if it is none or has not said. ``stale_ms`` is its bound for reads that give
    none themselves, 0 if it has none.
    """

    def __init__(self, service: ShardService, owed_bytes_max: int = OWED_BYTES_MAX) -> None:
        self.service = service
        self.sink = ReplySink()
        self.peer = ""
        self.proxy: LinkedProxy | None = None
        self.stale_ms = 0
        self.stalled = self.greeted = False
        self._owed_bytes_max = owed_bytes_max
        self._scanner = Scanner(service.limits, False, LINK_SLACK_BYTES)
        self._reader = RequestReader(service.limits)

    def feed(self, data: bytes) -> None:
        """Execute every whole request in ``data``. After a framing error ``sink.closing`` is set: send, then close."""
        self._scanner.feed(data)
        if not self.stalled:
            self._serve()

    def go_on(self) -> None:
        """Execute the requests that wait, if little enough is owed now."""
        if self.sink.ready_bytes + self.sink.held_bytes <= self._owed_bytes_max // 2:
            self.stalled = False
            self._serve()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of requests taken in and not executed, half received ones included."""
        return self._scanner.buffered_bytes

    @cython.cfunc
    def _serve(self) -> None:
        scanner: Scanner = self._scanner
        sink: ReplySink = self.sink
        while not sink.closing:
            if sink.ready_bytes + sink.held_bytes > self._owed_bytes_max:
                self.stalled = True
                return
            try:
                if not scanner.next():
                    return
            except FramingError as error:
                sink.closing = True
                self.service.gate.touch(sink)
                if error.msgid is not None:
                    self._fail(error.msgid, error.error)
                return
            self.greeted = True
            if scanner.kind == NOTIFICATION:
                continue
            if self.service.refusal is not None:
                self._fail(scanner.msgid, self.service.refusal)
                continue
            try:
                if scanner.method_start < 0:
                    raise BadRequest("method must be str or bin")
                self._dispatch(scanner.data, piece(scanner.data, scanner.method_start, scanner.method_end))
            except WireError as error:
                self._fail(scanner.msgid, error)
            except StoreFull as error:
                self._fail(scanner.msgid, Unavailable(f"writes are refused: {error}"))
            except StoreError as error:
                self._fail(scanner.msgid, Unavailable(f"the shard is stopping: {error}"))
            except Exception as error:
                log.exception("request failed")
                self._fail(scanner.msgid, Internal(f"{type(error).__name__}: {error}"))

    def _fail(self, msgid: bytes, error: WireError) -> None:
        seen_lsn = self.service.engine.last_lsn if isinstance(error, Conflict) else 0
        self.service.gate.error(self.sink, msgid, error_body(error), seen_lsn)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _dispatch(self, data: bytes, method: bytes) -> cython.int:
        if method == b"get":
            self._get(data)
        elif method == b"put":
            self._put(data)
        elif method == b"delete":
            self._delete(data)
        elif method == b"mget":
            self._mget(data)
        elif method == b"batch":
            self._batch(data)
        else:
            scanner: Scanner = self._scanner
            self.service.admin.call(self, method, scanner.msgid, data[scanner.params_start : scanner.frame_end])
        return 0

    @cython.cfunc
    def _get(self, data: bytes) -> None:
        reader: RequestReader = self._reader
        service: ShardService = self.service
        reader.read_get(data, self._scanner.params_start, self._scanner.frame_end)
        if service.following or reader.at_shard > 0:
            self._check_reader()
        service.own(reader.key)
        entry: Entry | None = service.engine.get(reader.key)
        result: bytes = NIL if entry is None or entry.value is None else entry.value
        if reader.meta and entry is not None:
            result = meta_value(entry, service.engine.now_ms())
        seen: cython.ulonglong = service.rests_on(service.engine.seen_lsn, False)
        service.gate.reply(self.sink, self._scanner.msgid, result, seen, False, False)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _check_reader(self) -> cython.int:
        """Refuse the read in the reader if it is not one for this replica."""
        reader: RequestReader = self._reader
        at = (reader.at_shard, reader.at_term, reader.at_lsn) if reader.at_shard > 0 else None
        self.service.check_reader(reader.stale_ms or self.stale_ms, at)
        return 0

    @cython.cfunc
    def _reply_written(self, result: bytes, seen: cython.ulonglong) -> None:
        """Answer the write in the reader: as durable, and as widely copied, as it asks."""
        reader: RequestReader = self._reader
        service: ShardService = self.service
        seen = service.rests_on(seen, reader.insync)
        service.gate.reply(self.sink, self._scanner.msgid, result, seen, reader.sync, True, reader.insync)

    @cython.cfunc
    def _with_place(self, result: bytes) -> bytes:
        service: ShardService = self.service
        return written_value(result, service.shard_id, service.engine.term, service.engine.last_lsn)

    @cython.cfunc
    def _put(self, data: bytes) -> None:
        reader: RequestReader = self._reader
        service: ShardService = self.service
        reader.read_put(data, self._scanner.params_start, self._scanner.frame_end)
        service.lead_only()
        service.own(reader.key)
        service.writable(reader.insync)
        expiry_ms: cython.ulonglong = 0
        if reader.ttl_ms > 0:
            expiry_ms = service.engine.now_ms() + reader.ttl_ms
        lsn: cython.ulonglong = service.engine.put(
            reader.key,
            piece(data, reader.value_start, reader.value_end),
            expiry_ms,
            -1 if reader.if_version is None else reader.if_version,
        )
        result: bytes = uint(lsn)
        self._reply_written(self._with_place(result) if reader.meta else result, lsn)

    @cython.cfunc
    def _delete(self, data: bytes) -> None:
        reader: RequestReader = self._reader
        service: ShardService = self.service
        reader.read_delete(data, self._scanner.params_start, self._scanner.frame_end)
        service.lead_only()
        service.own(reader.key)
        service.writable(reader.insync)
        engine: Engine = service.engine
        last_lsn: cython.ulonglong = engine.last_lsn
        old: Entry | None = engine.delete(reader.key, -1 if reader.if_version is None else reader.if_version)
        # Nothing is staged for a key that holds nothing: then the answer rests on what the engine saw there.
        seen: cython.ulonglong = engine.seen_lsn if engine.last_lsn == last_lsn else engine.last_lsn
        result: bytes = FALSE
        if old is not None and old.value is not None:
            result = old.value if reader.return_old else TRUE
        self._reply_written(self._with_place(result) if reader.meta else result, seen)

    @cython.cfunc
    def _mget(self, data: bytes) -> None:
        reader: RequestReader = self._reader
        service: ShardService = self.service
        engine: Engine = service.engine
        keys: list[bytes] = reader.read_mget(data, self._scanner.params_start, self._scanner.frame_end)
        if service.following or reader.at_shard > 0:
            self._check_reader()
        parts: list[bytes] = [array_header(len(keys))]
        seen: cython.ulonglong = 0
        size: cython.Py_ssize_t = 0
        key: bytes
        entry: Entry | None
        for key in keys:
            service.own(key)
            entry = engine.get(key)
            if engine.seen_lsn > seen:
                seen = engine.seen_lsn
            if entry is None or entry.value is None:
                parts.append(NIL)
                continue
            value: bytes = meta_value(entry, engine.now_ms()) if reader.meta else entry.value
            size += len(value)
            if size > service.limits.unread_bytes_max:
                raise TooLarge(f"the response is over the limit of {service.limits.unread_bytes_max} bytes")
            parts.append(value)
        service.gate.reply(self.sink, self._scanner.msgid, b"".join(parts), service.rests_on(seen, False), False, False)

    @cython.cfunc
    def _batch(self, data: bytes) -> None:
        reader: RequestReader = self._reader
        service: ShardService = self.service
        operations: list[BatchOperation] = reader.read_batch(data, self._scanner.params_start, self._scanner.frame_end)
        service.lead_only()
        now_ms: cython.ulonglong = service.engine.now_ms()
        staged: list[tuple[int, bytes, bytes | None, int, int]] = []
        operation: BatchOperation
        for operation in operations:
            service.own(operation.key)
            expiry_ms: cython.ulonglong = now_ms + operation.ttl_ms if operation.ttl_ms > 0 else 0
            condition: int = -1 if operation.if_version is None else operation.if_version
            if operation.is_put:
                value: bytes = piece(data, operation.value_start, operation.value_end)
                staged.append((KIND_PUT, operation.key, value, expiry_ms, condition))
            else:
                staged.append((KIND_DELETE, operation.key, None, 0, condition))
        service.writable(reader.insync)
        try:
            results = service.engine.batch(staged)
        except Conflict as conflict:
            raise Conflict(f"no operation of the batch was done: {conflict.message}", conflict.details) from None
        parts: list[bytes] = [array_header(len(results))]
        for result in results:
            encoded: bytes = TRUE if result is True else FALSE if result is False else uint(result)
            parts.append(self._with_place(encoded) if reader.meta else encoded)
        self._reply_written(b"".join(parts), service.engine.last_lsn)
