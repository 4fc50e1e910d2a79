"""A connection's core on a real engine: every method, every refusal, pipelines, framing, and what may be owed."""

import errno

import msgpack
import pytest
from support.crash_disk import CrashDisk, Fault
from support.engine_run import DIRECTORY, TINY
from support.frames import bytewise, pack, request
from support.shard_core import ShardCore, decode, shard_core

from sherd.common.errors import Unavailable
from sherd.common.limits import KEY_BYTES_MAX, KEYS_PER_REQUEST_MAX, Limits
from sherd.shard.admin import PARAMS_BYTES_MAX
from sherd.shard.linked_proxies import LinkedProxy
from sherd.shard.lsm.options import EngineOptions
from sherd.shard.service import ServiceConnection

pytestmark = pytest.mark.core


@pytest.fixture
def core():
    with shard_core() as found:
        yield found


def rows(blob: bytes) -> list[object]:
    found, position = [], 0
    while position < len(blob):
        size = int.from_bytes(blob[position : position + 4], "little")
        found.append(msgpack.unpackb(blob[position + 4 : position + 4 + size]))
        position += 4 + size
    return found


# -- points ----------------------------------------------------------------------------------------------------------


def test_put_get_delete(core: ShardCore) -> None:
    assert core.call("get", "a") is None
    first = core.call("put", "a", {"x": [1, 2.5]})
    second = core.call("put", b"b", b"\x00")
    assert second == first + 1 == core.engine.last_lsn
    assert core.call(b"get", b"a") == {"x": [1, 2.5]}
    assert core.call("get", "b", None) == b"\x00"
    assert core.call("get", "a", {"meta": True}) == [{"x": [1, 2.5]}, first, None]
    assert core.call("delete", "a") is True
    assert core.call("delete", "a") is False
    assert core.call("get", "a") is None
    assert core.call("get", "a", {"meta": True}) is None
    assert core.call("delete", "b", {"return": True}) == b"\x00"
    assert core.call("delete", "b", {"return": True}) is False
    core.call("put", "b", False)
    assert core.call("delete", "b", {"return": True}) is False  # the value


def test_values_come_back_as_they_were_encoded(core: ShardCore) -> None:
    value = b"\xdd\x00\x00\x00\x01\xcf\x00\x00\x00\x00\x00\x00\x00\x05"  # not the shortest form
    core.feed(b"\x94\x00\x01\xa3put\x92\xa1k" + value)
    core.connection.feed(request("get", "k"))
    core.engine.commit()
    (sink,) = core.gate.take_dirty()
    assert sink.take() == b"\x94\x01\x01\xc0" + value


@pytest.mark.parametrize("where", ["memtable", "tables"])
def test_conditions(core: ShardCore, where: str) -> None:
    version = core.call("put", "a", 1, {"if_version": 0})
    if where == "tables":
        core.flush()
    for method, *rest in (("put", "a", 2), ("delete", "a")):
        for wrong in (0, version + 1, 2**64 - 1):
            reply = core.ask(method, *rest, {"if_version": wrong})
            assert reply.error == (4, "CONFLICT", {"version": version})
    assert core.call("get", "a") == 1
    second = core.call("put", "a", 2, {"if_version": version})
    assert core.call("delete", "a", {"if_version": second, "return": True}) == 2
    reply = core.ask("put", "a", 3, {"if_version": second})
    assert reply.error == (4, "CONFLICT", {"version": 0})
    assert core.call("put", "a", 3, {"if_version": 0}) > second


def test_a_value_with_a_ttl_is_gone_when_its_time_has_come(core: ShardCore) -> None:
    version = core.call("put", "a", 1, {"ttl": 1.5})
    core.clock.advance(1.0)
    assert core.call("get", "a", {"meta": True}) == [1, version, 0.5]
    assert core.call("mget", ["a"], {"meta": True}) == [[1, version, 0.5]]
    core.clock.advance(0.5)
    assert core.call("get", "a") is None
    assert core.call("mget", ["a"]) == [None]
    assert core.call("count_slice", None, None)[2] == 0
    assert core.ask("put", "a", 2, {"if_version": version}).error == (4, "CONFLICT", {"version": 0})
    assert core.call("delete", "a") is False
    core.call("batch", [["put", "b", 1, {"ttl": 1}], ["put", "c", 1]])
    core.clock.advance(1.0)
    assert core.call("mget", ["b", "c"]) == [None, 1]


def test_mget_keeps_the_order_and_repeats(core: ShardCore) -> None:
    core.call("put", "a", 1)
    core.flush()
    core.call("put", "b", 2)
    assert core.call("mget", ["b", "x", "a", "b"]) == [2, None, 1, 2]
    assert core.call("mget", []) == []
    assert core.call("mget", ["b"] * 70_000) == [2] * 70_000


def test_a_batch_answers_each_operation_and_sees_itself(core: ShardCore) -> None:
    core.call("put", "old", 0)
    last = core.engine.last_lsn
    operations = [["put", "a", 1], ["delete", "old"], ["delete", "none"], ["put", "a", 2, {"if_version": last + 1}]]
    assert core.call("batch", [*operations, ["delete", "a"], ["put", "a", 3, {"if_version": 0}]]) == [
        last + 1, True, False, last + 3, True, last + 5
    ]  # fmt: skip
    assert core.call("mget", ["a", "old"]) == [3, None]
    assert core.call("batch", []) == []


def test_a_batch_is_done_as_a_whole_or_not_at_all(core: ShardCore) -> None:
    version = core.call("put", "a", 1)
    last = core.engine.last_lsn
    reply = core.ask("batch", [["put", "b", 1], ["put", "a", 2, {"if_version": 7}], ["put", "c", 1]])
    assert reply.error == (4, "CONFLICT", {"version": version, "index": 1})
    assert core.refused("batch", [["put", "b", 1], ["put", "z", 1]]) == "WRONG_SHARD"
    assert core.refused("batch", [["put", "b", 1], ["put", "c", None]]) == "BAD_REQUEST"
    assert core.engine.last_lsn == last
    assert core.call("mget", ["a", "b", "c"]) == [1, None, None]


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("get", []), ("get", ["a", None, 1]), ("get", [1]), ("get", [""]), ("get", ["a", 1]),
        ("get", ["a", {"sync": True}]), ("put", ["a"]), ("put", ["a", None]), ("put", ["a", 1, {"ttl": 0}]),
        ("put", ["a", 1, {"ttl": "1"}]), ("put", ["a", 1, {"if_version": -1}]), ("put", ["a", 1, {"sync": 1}]),
        ("delete", ["a", {"ttl": 1}]), ("delete", ["a", {"return": None}]), ("mget", ["a"]), ("mget", [["a", 1]]),
        ("batch", [["put", "a", 1]]), ("batch", [[["get", "a"]]]), ("batch", [[["put", "a"]]]),
        ("batch", [[["delete", "a", 1]]]), ("fetch", []), ("fetch", [None, None]), ("fetch", [1, None, {}]),
        ("fetch", [None, None, []]), ("fetch", [None, None, {"limit": 0}]), ("fetch", [None, None, {"limit": True}]),
        ("fetch", [None, None, {"max_bytes": "1"}]), ("fetch", [None, None, {"reverse": 1}]),
        ("fetch", [None, None, {"prefix": "a"}]), ("count_slice", [None]), ("count_slice", [None, 2.5]),
        ("hello", [1]), ("hello", [{}, {}]), ("ping", [1]), ("status", [None]), ("flush", [1]), ("compact", [1]),
        ("status", [{b"a": [1]}]),
    ],
)  # fmt: skip
def test_bad_requests(core: ShardCore, method: str, params: list[object]) -> None:
    assert core.refused(method, *params) == "BAD_REQUEST"
    assert core.call("ping") == "pong"


def test_params_that_are_no_array_and_methods_that_are_no_name(core: ShardCore) -> None:
    for params in (b"\x01", b"\x80", b"\xc0", b"\xa1x"):
        for method in ("get", "put", "delete", "mget", "batch", "fetch", "status"):
            (reply,) = core.feed(b"\x94\x00\x01" + pack(method) + params)
            assert reply.error is not None
            assert reply.error[1] == "BAD_REQUEST"
    (reply,) = core.feed(b"\x94\x00\x01\x05\x90")
    assert reply.error is not None
    assert reply.error[1] == "BAD_REQUEST"


@pytest.mark.parametrize(
    "params",
    [
        b"\x92\xd9\x02\xff\xfe\xc0",  # a str that is no UTF-8 is a key like any other
        b"\x92\x81\x90\x01\xc0",  # a map whose key is an array
        b"\x92\xd7\xff" + b"\xff" * 8 + b"\xc0",  # a timestamp out of range
        b"\x92\xc7\x01\xff\x00\xc0",  # an extension that lies about its type
    ],
)
def test_params_that_decode_to_odd_things(core: ShardCore, params: bytes) -> None:
    (reply,) = core.feed(b"\x94\x00\x01\xabcount_slice" + params)
    if params.startswith(b"\x92\xd9"):
        assert reply.error is None
    else:
        assert reply.error is not None
        assert reply.error[1] == "BAD_REQUEST"


def test_unknown_methods(core: ShardCore) -> None:
    for method in ("", "scan", "GET", "get\0", b"\xff\xfe", "m" * 1000):
        reply = core.ask(method, "a")
        assert reply.error is not None
        assert reply.error[:2] == (2, "UNKNOWN_METHOD")
        assert len(reply.text) < 500


def test_limits(core: ShardCore) -> None:
    assert core.refused("get", b"k" * (KEY_BYTES_MAX + 1)) == "TOO_LARGE"
    assert core.refused("put", "a", b"v" * Limits().value_bytes_max) == "TOO_LARGE"
    assert core.refused("mget", ["a"] * (KEYS_PER_REQUEST_MAX + 1)) == "TOO_LARGE"
    assert core.refused("batch", [["delete", "a"]] * (KEYS_PER_REQUEST_MAX + 1)) == "TOO_LARGE"
    assert core.refused("status", b"x" * PARAMS_BYTES_MAX) == "TOO_LARGE"
    assert core.call("put", b"k" * KEY_BYTES_MAX, b"v") > 0


def test_an_mget_whose_answer_is_too_large() -> None:
    with shard_core(limits=Limits(unread_bytes_max=10_000)) as core:
        core.call("put", "a", b"v" * 1000)
        assert core.refused("mget", ["a"] * 10) == "TOO_LARGE"
        assert len(core.call("mget", ["a"] * 9)) == 9


def test_keys_of_other_shards_are_refused_with_the_layout_to_look_for(core: ShardCore) -> None:
    for method, params in (
        ("get", ["z"]), ("put", ["z", 1]), ("delete", ["z"]), ("mget", [["a", "z"]]), ("batch", [[["delete", "z"]]]),
    ):  # fmt: skip
        assert core.ask(method, *params).error == (30, "WRONG_SHARD", {"layout": 5})
    core.service.overloaded = True
    assert core.refused("put", "z", 1) == core.refused("batch", [["put", "z", 1]]) == "WRONG_SHARD"


def test_an_overloaded_shard_sheds_writes_and_serves_reads(core: ShardCore) -> None:
    core.call("put", "a", 1)
    core.service.overloaded = True
    for method, params in (("put", ["a", 2]), ("delete", ["a"]), ("batch", [[["put", "a", 2]]])):
        reply = core.ask(method, *params)
        assert reply.error is not None
        assert reply.error[:2] == (20, "OVERLOADED")
    assert core.call("get", "a") == 1
    core.service.overloaded = False
    core.call("put", "a", 2)


def test_a_full_disk_refuses_writes_and_serves_reads() -> None:  # FAULTS 6
    disk = CrashDisk()
    with shard_core(disk=disk, options=TINY) as core:
        core.call("put", "a", 1)
        disk.capacity_bytes = disk.used_bytes()
        number, reply = 0, core.ask("put", "k0", b"v" * 1000)
        while reply.error is None:
            number += 1
            reply = core.ask("put", f"k{number}", b"v" * 1000)
        assert reply.error[:2] == (21, "UNAVAILABLE")
        assert "no room" in reply.text
        assert core.refused("batch", [["put", "b", b"v" * 1000]]) == "UNAVAILABLE"
        last = core.engine.last_lsn
        assert core.call("mget", ["a", f"k{number}"]) == [1, None]
        assert core.engine.last_lsn == last
        disk.capacity_bytes = 1 << 40
        assert core.call("put", f"k{number}", 2) == last + 1


def test_a_shard_that_is_stopping_refuses_everything(core: ShardCore) -> None:
    core.service.refusal = Unavailable("stopping")
    replies = core.feed(request("get", "a") + request("put", "a", 1) + request("ping"))
    assert [reply.error and reply.error[1] for reply in replies] == ["UNAVAILABLE"] * 3


def test_an_engine_that_is_down_answers_unavailable(core: ShardCore) -> None:
    core.engine.close(clean=False)
    for method, params in (("get", ["a"]), ("put", ["a", 1]), ("fetch", [None, None, {}])):
        core.connection.feed(request(method, *params))
        (sink,) = core.gate.take_dirty()
        (reply,) = decode(sink.take())
        assert reply.error is not None
        assert reply.error[1] == "UNAVAILABLE"


# -- streams ---------------------------------------------------------------------------------------------------------


def test_a_pipeline_is_executed_in_order_however_it_is_cut(core: ShardCore) -> None:
    stream = b"".join(
        request("put", "a", number, msgid=pack(2 * number)) + request("get", "a", msgid=pack(2 * number + 1))
        for number in range(200)
    )
    replies = core.feed(stream)
    assert [reply.msgid for reply in replies] == list(range(400))
    assert [reply.result for reply in replies[1::2]] == list(range(200))
    for piece in bytewise(stream):
        core.connection.feed(piece)
    assert [reply.result for reply in core.turn()[1::2]] == list(range(200))


def test_the_msgid_comes_back_byte_for_byte(core: ShardCore) -> None:
    for msgid in (b"\x00", b"\xcc\x05", b"\xcd\x00\x05", b"\xce\xff\xff\xff\xff"):
        core.connection.feed(request("ping", msgid=msgid))
        (sink,) = core.gate.take_dirty()
        assert sink.take() == b"\x94\x01" + msgid + b"\xc0\xa4pong"


def test_notifications_are_ignored(core: ShardCore) -> None:
    assert core.feed(b"\x93\x02\xa3put\x92\xa1a\x01" + request("get", "a"))[0].result is None
    assert core.feed(b"\x93\x02\xc0\xc0") == []


def test_one_error_for_a_framing_error_whose_msgid_is_known(core: ShardCore) -> None:
    replies = core.feed(request("ping") + b"\x94\x00\x07\xa3get\x91\xc1" + request("ping", msgid=b"\x09"))
    assert [(reply.msgid, reply.error and reply.error[1]) for reply in replies] == [(1, None), (7, "BAD_REQUEST")]
    assert core.connection.sink.closing
    assert core.feed(request("ping")) == []


def test_no_answer_to_a_framing_error_without_msgid_but_the_connection_is_to_be_closed(core: ShardCore) -> None:
    core.connection.feed(b"\xc1")
    assert core.connection.sink.closing
    assert core.gate.take_dirty() == [core.connection.sink]  # so that its outlet hears of it


def test_a_frame_over_the_limit_is_refused_at_its_header(core: ShardCore) -> None:
    (reply,) = core.feed(b"\x94\x00\x07\xa3put\x92\xa1k\xc6\xff\xff\xff\xff")
    assert reply.error is not None
    assert reply.error[1] == "TOO_LARGE"
    assert core.connection.waiting_bytes == 0


def test_a_frame_that_grew_on_its_way_through_a_proxy_does_not_cost_the_link() -> None:
    core = ShardCore(limits=Limits(value_bytes_max=1024))
    too_long = core.service.limits.frame_bytes_max + 1
    (reply,) = core.feed(request("put", "k", bytes(too_long)))
    assert reply.error is not None
    assert reply.error[1] == "TOO_LARGE"
    assert not core.connection.sink.closing


def test_connections_are_apart(core: ShardCore) -> None:
    other = core.connect()
    other.feed(b"\xc1")
    core.connection.feed(request("put", "a", 1)[:-1])
    third = core.connect()
    third.feed(request("get", "a"))
    assert [reply.result for reply in core.turn(third)] == [None]
    assert not core.connection.sink.closing
    assert core.connection.waiting_bytes > 0


# -- what is seen must be durable ------------------------------------------------------------------------------------


def held(core: ShardCore, *requests: bytes) -> list[bool]:
    """Of each request: whether its reply waits for the log."""
    found = []
    for data in requests:
        connection = core.connect()
        connection.feed(data)
        found.append(core.turn(connection) == [])
    return found


def test_under_always_replies_wait_for_what_they_have_seen() -> None:
    with shard_core(slack=0) as core:
        assert held(core, request("get", "a"), request("delete", "a"), request("mget", ["a", "b"])) == [False] * 3
        core.connection.feed(request("put", "a", 1) + request("put", "b", 1))
        assert core.turn() == []
        assert held(
            core,
            request("get", "a"),  # what is not durable yet
            request("get", "c"),  # nothing
            request("mget", ["c", "b"]),
            request("put", "a", 2, {"if_version": 0}),  # the conflict tells of it
            request("fetch", None, None, {}),
            request("count_slice", None, None),
            request("delete", "c"),  # nothing was there, nothing is written
            request("ping"),
        ) == [True, False, True, True, True, True, False, False]
        core.sync()
        assert len(core.turn()) == 2
        assert held(core, request("get", "a"), request("put", "a", 2, {"if_version": 0})) == [False, False]
        core.connection.feed(request("delete", "a"))
        assert held(core, request("get", "a"), request("delete", "a")) == [True, True]  # the tombstone
        core.sync()
        assert [reply.result for reply in core.turn()] == [True]


def test_sync_makes_one_write_wait_under_a_loose_policy(core: ShardCore) -> None:
    for method, params in (("put", ["a", 1]), ("delete", ["a"]), ("batch", [[["put", "b", 1]]])):
        core.connection.feed(request(method, *params, {"sync": True}))
        assert core.turn() == []
        assert core.gate.held() > 0
        assert held(core, request("get", "b"), request("put", "c", 1)) == [False, False]
        core.sync()
        assert len(core.turn()) == 1


# -- slices ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(core: ShardCore) -> ShardCore:
    for number in range(40):
        core.call("put", f"k{number:02}", number)
        if number == 20:
            core.flush()
    for number in range(0, 40, 4):
        core.call("delete", f"k{number:02}")
    return core


EXPECTED = [f"k{number:02}".encode() for number in range(40) if number % 4]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_fetch_goes_on_where_it_stopped(filled: ShardCore, reverse: bool, limit: int) -> None:
    found: list[object] = []
    start: bytes | None = None
    end: bytes | None = None
    options = {"limit": limit, "reverse": reverse, "keys_only": True}
    while True:
        layout, resume, count, blob = filled.call("fetch", start, end, options)
        assert layout == 5
        page = rows(blob)
        assert len(page) == count <= limit
        found += page
        if resume is None:
            break
        start, end = (start, resume) if reverse else (resume, end)
    assert found == (EXPECTED[::-1] if reverse else EXPECTED)


def test_fetch_rows(filled: ShardCore) -> None:
    version = filled.call("get", "k05", {"meta": True})[1]
    assert rows(filled.call("fetch", "k05", b"k06", {})[3]) == [[b"k05", 5]]
    assert rows(filled.call("fetch", "k05", "k06", {"meta": True})[3]) == [[b"k05", [5, version, None]]]
    assert filled.call("fetch", "k06", "k05", {}) == [5, None, 0, b""]
    assert filled.call("fetch", None, None, {"max_bytes": 1})[2] == 1
    assert filled.call("fetch", None, None, {"limit": 2**63, "max_bytes": 2**63})[2] == len(EXPECTED)


def test_slices_are_bounded_in_what_they_examine(core: ShardCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sherd.shard.admin.FETCH_ROWS_EXAMINED_MAX", 10)
    monkeypatch.setattr("sherd.shard.admin.COUNT_ROWS_EXAMINED_MAX", 10)
    core.call("batch", [["put", f"k{number:02}", number] for number in range(35)])
    core.call("batch", [["delete", f"k{number:02}"] for number in range(30)])
    resume, slices, total = None, 0, 0
    while True:
        _, resume, count = core.call("count_slice", resume, None)
        slices, total = slices + 1, total + count
        if resume is None:
            break
    assert (slices, total) == (4, 5)
    _, resume, count, blob = core.call("fetch", None, None, {})
    assert (resume, count, blob) == (b"k10", 0, b"")  # tombstones only, and still it ends
    assert core.call("count_slice", "k31", "k33") == [5, None, 2]


# -- the rest --------------------------------------------------------------------------------------------------------


def test_hello(core: ShardCore) -> None:
    answer = core.call("hello", {"link": "proxy-1", "layout": 5, "purpose": "scan"})
    assert answer == {"shard": 1, "layout": 5, "term": core.engine.term, "pid": 7, "version": "test"}
    assert core.connection.peer == "proxy-1 scan"
    assert core.announced == []
    core.call("hello", {"layout": 6, "link": 7})
    assert core.announced == [6]
    assert core.call("hello")["shard"] == 1


def test_hello_again_tells_what_has_changed_of_a_proxy(core: ShardCore) -> None:
    def greet(connections: int, told_ms: int) -> object:
        about = {
            "name": "proxy-1",
            "pid": 7,
            "address": "127.0.0.1:7700",
            "connections": connections,
            "told_ms": told_ms,
        }
        core.call("hello", {"link": "proxy-1", "layout": 5, "purpose": "scan", "proxy": about})
        return core.connection.proxy

    core.call("hello", {"link": "proxy-1", "layout": 5, "purpose": "scan"})
    assert core.connection.proxy is None
    assert greet(3, 100) == LinkedProxy("proxy-1", 7, "127.0.0.1:7700", 3, 100)
    assert greet(4, 200) == LinkedProxy("proxy-1", 7, "127.0.0.1:7700", 4, 200)
    assert greet(1, 150) == LinkedProxy("proxy-1", 7, "127.0.0.1:7700", 4, 200)  # it was held, and is late
    core.call("hello", {"link": "proxy-1", "proxy": {"pid": 9}})
    assert core.connection.proxy == LinkedProxy("proxy-1", 7, "127.0.0.1:7700", 4, 200)


def test_status_has_what_the_proxy_shows(core: ShardCore) -> None:
    core.call("put", "a", 1)
    status = core.call("status")
    assert status["keys_estimate"] == 1
    for name in ("bytes", "memtable_bytes", "tables", "levels", "write_amplification", "written_lsn", "synced_lsn"):
        assert name in status
    assert status["quarantined"] == 0


def test_forced_work_answers_when_it_is_done(core: ShardCore) -> None:
    for method in ("flush", "compact"):
        assert core.feed(request(method)) == []
        kind, done = core.forced.pop()
        assert kind == method
        done({"tables": 1})
        assert [reply.result for reply in core.turn()] == [{"tables": 1}]


# -- what one connection may hold ------------------------------------------------------------------------------------


def test_requests_wait_when_too_much_is_owed() -> None:
    with shard_core(owed_bytes_max=100_000) as core:
        core.call("put", "a", b"v" * 10_000)
        core.connection.feed(b"".join(request("get", "a", msgid=pack(number)) for number in range(1000)))
        answered, rounds = [], 0
        while core.connection.stalled or rounds == 0:
            assert core.connection.sink.ready_bytes < 120_000
            replies = core.turn()
            assert replies
            answered += replies
            core.connection.go_on()
            rounds += 1
        answered += core.turn()
        assert [reply.msgid for reply in answered] == list(range(1000))
        assert rounds > 90
        assert core.connection.sink.ready_bytes == core.connection.sink.held_bytes == 0


def test_held_and_delayed_replies_count_as_owed() -> None:
    with shard_core(slack=0, owed_bytes_max=100_000) as core:
        core.gate.write_delay_seconds = 1.0
        stream = b"".join(request("put", "a", number, msgid=pack(number)) for number in range(1000))
        core.connection.feed(stream)
        assert core.connection.stalled
        taken = core.engine.last_lsn
        waiting = core.connection.waiting_bytes
        core.connection.go_on()
        core.connection.feed(stream)
        assert (core.engine.last_lsn, core.connection.waiting_bytes) == (taken, waiting + len(stream))
        answered = 0
        for _ in range(100):
            core.gate.release_delayed(core.gate.delayed())
            core.sync()
            answered += len(core.turn())
            core.connection.go_on()
        assert answered == 2000
        assert not core.connection.stalled
        assert core.connection.sink.held_bytes == 0


def test_a_lone_huge_reply_does_not_stall_for_good() -> None:
    with shard_core(options=EngineOptions(memtable_bytes=16 << 20), owed_bytes_max=1000) as core:
        core.call("put", "a", b"v" * 1_000_000)
        replies = core.feed(request("get", "a") + request("get", "a", msgid=b"\x02"))
        assert len(replies) == 1
        core.connection.go_on()
        assert len(core.turn()) == 1
        core.connection.go_on()
        assert not core.connection.stalled


def test_the_compiled_core_is_compiled(request: pytest.FixtureRequest) -> None:
    from sherd.common.build import is_compiled
    from sherd.shard.replies import ReplyGate

    for kind in (ServiceConnection, ReplyGate):
        assert isinstance(kind.__dict__.get("__init__"), type(object.__init__)) == is_compiled()


@pytest.mark.parametrize("error", [errno.EIO, None], ids=["the disk fails", "the table is gone"])
def test_what_cannot_be_read_is_corruption_and_the_rest_is_served(
    error: int | None, caplog: pytest.LogCaptureFixture
) -> None:  # FAULTS 13
    with shard_core(options=EngineOptions(memtable_bytes=1 << 20, cache_bytes=0)) as core:
        core.call("put", "old", 1)
        core.flush()
        core.call("put", "new", 2)
        [path] = [path for path in core.disk.files(DIRECTORY) if path.endswith(".sst")]
        if error is None:
            core.disk.unlink(path)
        else:
            core.disk.read_faults = [Fault("pread", error, ".sst", times=None)]
        for method, params in (
            ("get", ["old"]), ("mget", [["new", "old"]]), ("put", ["old", 3, {"if_version": 9}]), ("delete", ["old"]),
            ("batch", [[["put", "other", 1], ["delete", "old"]]]), ("count_slice", [None, None]),
            ("fetch", [None, None, {}]),
        ):  # fmt: skip
            reply = core.ask(method, *params)
            assert reply.error is not None, method
            assert reply.error[:2] == (40, "CORRUPTION")
            assert path in reply.text
        assert core.call("get", "new") == 2
        assert core.call("get", "other") is None
        core.call("put", "other", 3)
    assert [record.levelname for record in caplog.records if record.name == "lsm"] == ["ERROR"]
    assert all(record.exc_info is None for record in caplog.records)
