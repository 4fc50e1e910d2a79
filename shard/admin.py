"""The rarer methods of a shard: handshake, scans and counts in slices, status, forced flush and compaction.

A scan or count arrives cut into slices by the proxy: each is one point in time and bounded in rows examined, so that
point requests never wait long behind one.
"""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgpack

from sherd.common.errors import BadRequest, NotLeader, TooLarge, Unavailable, UnknownMethod
from sherd.common.limits import KIB, PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX
from sherd.common.wire.encode import FALSE, NIL, TRUE, array_header, bin_header, uint
from sherd.common.wire.requests import check_at, check_stale_ms
from sherd.shard.linked_proxies import LinkedProxy
from sherd.shard.replication.messages import Position, Pull

if TYPE_CHECKING:
    from sherd.shard.lsm.entry import Entry
    from sherd.shard.replication.comparisons import Comparisons
    from sherd.shard.replication.feed import Feeds
    from sherd.shard.replication.stale_reads import StaleReads
    from sherd.shard.service import ServiceConnection

PARAMS_BYTES_MAX = 64 * KIB
FETCH_ROWS_EXAMINED_MAX = 20_000
COUNT_ROWS_EXAMINED_MAX = 50_000
FETCH_ROWS_MAX = 2**31 - 1
_STALE_OPTIONS = {b"stale_ms", b"at"}
_FETCH_OPTIONS = {b"limit", b"max_bytes", b"reverse", b"keys_only", b"meta"} | _STALE_OPTIONS


def meta_value(entry: "Entry", now_ms: int) -> bytes:
    """A value with ``meta``: ``[value, version, seconds left or nil]``."""
    left = NIL if not entry.expiry_ms else b"\xcb" + struct.pack(">d", max(0, entry.expiry_ms - now_ms) / 1000)
    value = entry.value
    if value is None:
        raise BadRequest("a deleted entry has no value")
    return b"".join((b"\x93", value, uint(entry.lsn), left))


def written_value(result: bytes, shard: int, term: int, lsn: int) -> bytes:
    """The result of a write with ``meta``: ``[result, [shard, term, LSN]]``; reads take the latter as ``at``."""
    return b"".join((b"\x92", result, b"\x93", uint(shard), uint(term), uint(lsn)))


class ShardAdmin:
    """Answers everything but the data methods. ``force`` starts a flush or compaction and calls back at its end;
    ``feeds`` answers followers, while this is the leader; ``hand_over`` makes another one the leader; ``stale_reads``
    says what is read here, while it follows; ``comparisons`` are with the shard's other replicas.
    """

    def __init__(
        self,
        describe: Callable[[], dict[str, object]],
        refresh_layout: Callable[[int], None],
        force: Callable[[str, Callable[[dict[str, object]], None]], None],
    ) -> None:
        self._describe = describe
        self._refresh_layout = refresh_layout
        self._force = force
        self.feeds: Feeds | None = None
        self.comparisons: Comparisons | None = None
        self.stale_reads: StaleReads | None = None
        self.hand_over: Callable[[str, int], bool] | None = None
        self.is_complete: Callable[[], bool] = lambda: False

    def call(self, connection: "ServiceConnection", method: bytes, msgid: bytes, params: bytes) -> None:
        """Execute ``method`` with encoded ``params`` and hand the reply to the gate."""
        handler = _HANDLERS.get(method)
        if handler is None:
            raise UnknownMethod(f"{method[:64].decode(errors='replace')!r}")
        handler(self, connection, msgid, _decode(params))

    def _reply(self, connection: "ServiceConnection", msgid: bytes, result: bytes, seen_lsn: int = 0) -> None:
        connection.service.gate.reply(connection.sink, msgid, result, seen_lsn, False, False)

    def _ping(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 0)
        self._reply(connection, msgid, msgpack.packb("pong"))

    def _hello(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[{"link": name, "layout": counter, "purpose": text, "proxy": {...}, "stale_ms": n}]``, each optional.

        May be sent again; ``proxy`` is a LinkedProxy, of which the latest counts. ``stale_ms`` is what reads of this
        connection mean that do not say it.
        """
        _check_count(arguments, 0, 1)
        peer = arguments[0] if arguments else {}
        if not isinstance(peer, dict):
            raise BadRequest("hello takes a map")
        names = (peer.get(b"link"), peer.get(b"purpose"))
        connection.peer = " ".join(name[:64].decode(errors="replace") for name in names if isinstance(name, bytes))
        proxy, before = LinkedProxy.of_hello(peer.get(b"proxy")), connection.proxy
        if proxy is not None and (before is None or proxy.told_ms >= before.told_ms):
            connection.proxy = proxy
        if b"stale_ms" in peer:
            connection.stale_ms = check_stale_ms(peer[b"stale_ms"])
        service = connection.service
        announced = peer.get(b"layout")
        if isinstance(announced, int) and announced > service.token_map.layout.counter:
            self._refresh_layout(announced)
        status = self._describe()
        answer = {
            "shard": service.shard_id,
            "layout": service.token_map.layout.counter,
            "term": status["term"],
            "pid": status["pid"],
            "version": status["version"],
        }
        self._reply(connection, msgid, msgpack.packb(answer))

    def _status(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 0)
        self._reply(connection, msgid, msgpack.packb(self._describe()))

    def _pull(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        self._led(connection).pull(connection.sink, msgid, Pull.decode(arguments))

    def _ack(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 1)
        self._led(connection).ack(Position.decode(arguments[0]))
        self._reply(connection, msgid, TRUE)

    def _admit(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[name, revision]``: whether the follower has everything and will be waited for from here on."""
        _check_count(arguments, 2)
        name, revision = arguments
        if not isinstance(name, bytes) or not isinstance(revision, int):
            raise BadRequest("admit takes a replica's name and the revision of the shard's state")
        admitted = self._led(connection).admit(name.decode(errors="replace"), revision)
        self._reply(connection, msgid, TRUE if admitted else FALSE)

    def _followers(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 0)
        self._reply(connection, msgid, msgpack.packb(self._led(connection).describe()))

    def _position(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[term, last LSN, whether it has all that was ever acknowledged here, whether the store is whole]`` of the
        log, for elections.
        """
        _check_count(arguments, 0)
        engine = connection.service.engine
        complete = self.is_complete()
        whole = complete or not engine.installer.manifest.partial
        self._reply(connection, msgid, msgpack.packb([engine.term, engine.last_lsn, complete, whole]))

    def _hand_over(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[name, term]``: refuse requests, and say whether that replica has everything; if so, it may lead."""
        _check_count(arguments, 2)
        name, term = arguments
        if not isinstance(name, bytes) or not isinstance(term, int):
            raise BadRequest("hand_over takes a replica's name and a term")
        done = self.hand_over is not None and self.hand_over(name.decode(errors="replace"), term)
        self._reply(connection, msgid, TRUE if done else FALSE)

    def _copy(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 0)
        self._reply(connection, msgid, msgpack.packb(self._led(connection).copies.begin()))

    def _copy_read(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[copy, table, offset, size]``."""
        copy, table, offset, size = _numbers(arguments, 4)
        data = self._led(connection).copies.read(copy, table, offset, size)
        self._reply(connection, msgid, bin_header(len(data)) + data)

    def _copy_end(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        (copy,) = _numbers(arguments, 1)
        self._led(connection).copies.end(copy)
        self._reply(connection, msgid, TRUE)

    def _rebuild(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[name]``: what this follower holds is to be given up; see ``Feeds.rebuild``."""
        _check_count(arguments, 1)
        (name,) = arguments
        if not isinstance(name, bytes):
            raise BadRequest("rebuild takes a replica's name")
        self._led(connection).rebuild(name.decode(errors="replace"))
        self._reply(connection, msgid, TRUE)

    def _compare(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """Begin a comparison of this leader with its followers; see ``Comparisons.begin``."""
        _check_count(arguments, 0)
        feeds = self._led(connection)
        begun = feeds.comparisons.begin(connection.service.token_map.layout.mode)
        feeds.tell_all()
        self._reply(connection, msgid, msgpack.packb(begun))

    def _digest(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        """``[id, time, [start ...]]``, of leaders and followers; see ``Comparisons.digest``."""
        _check_count(arguments, 3)
        starts = arguments.pop()
        number, time_ms = _numbers(arguments, 2)
        if not isinstance(starts, list) or not all(isinstance(start, bytes) for start in starts):
            raise BadRequest("the starts of ranges must be an array of bin")
        if self.comparisons is None:
            raise Unavailable(f"this replica of shard {connection.service.shard_id} is compared with none")
        mode = connection.service.token_map.layout.mode
        self._reply(connection, msgid, msgpack.packb(self.comparisons.digest(number, time_ms, mode, starts)))

    def _compare_end(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        (number,) = _numbers(arguments, 1)
        self._led(connection).comparisons.end(number)
        self._reply(connection, msgid, TRUE)

    def _led(self, connection: "ServiceConnection") -> "Feeds":
        """What answers followers; NotLeader if this is not the leader."""
        if self.feeds is None:
            raise NotLeader(f"shard {connection.service.shard_id} is not led from here yet")
        return self.feeds

    def _fetch(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 3)
        start, end = _bound("start", arguments[0]), _bound("end", arguments[1])
        options = _options(arguments[2], _FETCH_OPTIONS)
        _check_reader(connection, options)
        limit = _at_least_one(options, b"limit", FETCH_ROWS_MAX)
        page_bytes = _at_least_one(options, b"max_bytes", PAGE_BYTES_DEFAULT)
        engine = connection.service.engine
        page = engine.scan_page(
            start,
            end,
            _flag(options, b"reverse"),
            min(limit, FETCH_ROWS_MAX),
            min(page_bytes, PAGE_BYTES_MAX),
            _flag(options, b"keys_only"),
            _flag(options, b"meta"),
            FETCH_ROWS_EXAMINED_MAX,
        )
        result = b"".join(
            (
                array_header(4),
                uint(connection.service.token_map.layout.counter),
                _encode_bound(page.resume),
                uint(page.count),
                bin_header(len(page.rows)),
                page.rows,
            )
        )
        self._reply(connection, msgid, result, engine.last_lsn)

    def _count_slice(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 2, 3)
        start, end = _bound("start", arguments[0]), _bound("end", arguments[1])
        _check_reader(connection, _options(arguments[2] if len(arguments) > 2 else {}, _STALE_OPTIONS))
        engine = connection.service.engine
        count, resume = engine.count_page(start, end, COUNT_ROWS_EXAMINED_MAX)
        layout = connection.service.token_map.layout.counter
        result = b"".join((array_header(3), uint(layout), _encode_bound(resume), uint(count)))
        self._reply(connection, msgid, result, engine.last_lsn)

    def _flush(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 0)
        self._force("flush", lambda report: self._reply(connection, msgid, msgpack.packb(report)))

    def _compact(self, connection: "ServiceConnection", msgid: bytes, arguments: list[object]) -> None:
        _check_count(arguments, 0)
        self._force("compact", lambda report: self._reply(connection, msgid, msgpack.packb(report)))


_HANDLERS: dict[bytes, Callable[[ShardAdmin, "ServiceConnection", bytes, list[object]], None]] = {
    b"ping": ShardAdmin._ping,
    b"hello": ShardAdmin._hello,
    b"status": ShardAdmin._status,
    b"fetch": ShardAdmin._fetch,
    b"count_slice": ShardAdmin._count_slice,
    b"flush": ShardAdmin._flush,
    b"compact": ShardAdmin._compact,
    b"pull": ShardAdmin._pull,
    b"ack": ShardAdmin._ack,
    b"admit": ShardAdmin._admit,
    b"copy": ShardAdmin._copy,
    b"copy_read": ShardAdmin._copy_read,
    b"copy_end": ShardAdmin._copy_end,
    b"compare": ShardAdmin._compare,
    b"digest": ShardAdmin._digest,
    b"compare_end": ShardAdmin._compare_end,
    b"rebuild": ShardAdmin._rebuild,
    b"followers": ShardAdmin._followers,
    b"hand_over": ShardAdmin._hand_over,
    b"position": ShardAdmin._position,
}


def _encode_bound(bound: bytes | None) -> bytes:
    return NIL if bound is None else bin_header(len(bound)) + bound


def _decode(params: bytes) -> list[object]:
    """The params as a list; str and bin both come out as bytes."""
    if len(params) > PARAMS_BYTES_MAX:
        raise TooLarge(f"params of {len(params)} bytes are over the limit of {PARAMS_BYTES_MAX} for this method")
    try:
        found = msgpack.unpackb(params, raw=True, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise BadRequest(f"params can't be decoded: {error}") from error
    if not isinstance(found, list):
        raise BadRequest("params must be an array")
    return found


def _check_count(arguments: list[object], least: int, most: int | None = None) -> None:
    if not least <= len(arguments) <= (least if most is None else most):
        expected = f"{least}" if most is None else f"{least} to {most}"
        raise BadRequest(f"params must be an array of {expected} items, not {len(arguments)}")


def _numbers(arguments: list[object], count: int) -> list[int]:
    _check_count(arguments, count)
    found = [number for number in arguments if isinstance(number, int) and number >= 0]
    if len(found) != count:
        raise BadRequest(f"params must be {count} numbers")
    return found


def _options(found: object, known: set[bytes]) -> dict[object, object]:
    if not isinstance(found, dict):
        raise BadRequest("options must be a map")
    unknown = found.keys() - known
    if unknown:
        raise BadRequest(f"unknown option {unknown.pop()!r}")
    return found


def _check_reader(connection: "ServiceConnection", options: dict[object, object]) -> None:
    stale_ms = check_stale_ms(options[b"stale_ms"]) if b"stale_ms" in options else connection.stale_ms
    at = check_at(options[b"at"]) if b"at" in options else None
    connection.service.check_reader(stale_ms, at)


def _bound(name: str, value: object) -> bytes | None:
    if value is not None and not isinstance(value, bytes):
        raise BadRequest(f"{name} must be str, bin or nil")
    return value


def _at_least_one(options: dict[object, object], name: bytes, default: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"{name.decode()} must be an integer of at least 1")
    return value


def _flag(options: dict[object, object], name: bytes) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{name.decode()} must be true or false")
    return value
