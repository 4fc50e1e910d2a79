"""The request reader: every check of the interface's params, each limit to the byte. FAULTS 31, 32."""

import math
import struct

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import VALUES, pack

from sherd.common.errors import BadRequest, TooLarge, WireError
from sherd.common.limits import KEY_BYTES_MAX, KEYS_PER_REQUEST_MAX, VALUE_NESTING_MAX, Limits
from sherd.common.wire.requests import TTL_SECONDS_MAX, RequestReader, ttl_to_ms

pytestmark = pytest.mark.core

LIMITS = Limits(value_bytes_max=1024)
METHODS = ("get", "put", "delete", "mget", "batch")


def is_text(value: bytes) -> bool:
    return 0xA0 <= value[0] <= 0xBF or value[0] in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB)


def is_array(value: bytes) -> bool:
    return 0x90 <= value[0] <= 0x9F or value[0] in (0xDC, 0xDD)


def is_map(value: bytes) -> bool:
    return 0x80 <= value[0] <= 0x8F or value[0] in (0xDE, 0xDF)


def is_number_or_bool(value: bytes) -> bool:
    return value[0] <= 0x7F or value[0] >= 0xE0 or 0xCA <= value[0] <= 0xD3 or value[0] in (0xC2, 0xC3)


def head_of(value: object) -> str:
    return value[:6].hex() if isinstance(value, bytes) else str(value)


def read(method: str, params: bytes, before: bytes = b"") -> tuple[RequestReader, object]:
    """The reader after it read ``params``, which begin after ``before``, and what it returned."""
    reader = RequestReader(LIMITS)
    data = before + params
    return reader, getattr(reader, f"read_{method}")(data, len(before), len(data))


def refused(method: str, params: object, kind: type[WireError] = BadRequest) -> str:
    """The message with which ``params`` (encoded, or to be) are refused; it must be an error of ``kind``."""
    encoded = params if isinstance(params, bytes) else pack(params)
    with pytest.raises(kind) as raised:
        read(method, encoded)
    assert type(raised.value) is kind
    return raised.value.message


def nested(levels: int) -> bytes:
    """A value of ``levels`` containers around each other."""
    return b"\x91" * (levels - 1) + b"\x90"


class TestFields:
    """What the reader says about well-formed requests."""

    @pytest.mark.parametrize("before", [b"", b"\x94\x00\x01\xa3get"])
    @pytest.mark.parametrize(
        "head",
        [b"\xa1", b"\xd9\x01", b"\xda\x00\x01", b"\xdb\x00\x00\x00\x01"]
        + [b"\xc4\x01", b"\xc5\x00\x01", b"\xc6\x00\x00\x00\x01"],
        ids=head_of,
    )
    def test_str_and_bin_name_the_same_key(self, head, before):
        key = head + b"k"
        for method, params in (("get", b"\x91" + key), ("delete", b"\x91" + key), ("put", b"\x92" + key + b"\x01")):
            reader, _ = read(method, params, before)
            assert reader.key == b"k"

    @pytest.mark.parametrize("array", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"])
    def test_params_in_any_array_encoding(self, array):
        assert read("get", array + b"\xa1k")[0].key == b"k"
        assert read("mget", b"\x91" + array + b"\xa1k")[1] == [b"k"]

    @pytest.mark.parametrize("value", [value for value in VALUES if value != b"\xc0"], ids=head_of)
    def test_any_value_but_nil_stays_as_encoded(self, value):
        params = b"\x92\xa1k" + value
        reader, _ = read("put", params)
        assert params[reader.value_start : reader.value_end] == value
        params = b"\x91\x91\x93\xa3put\xa1k" + value
        _, (operation,) = read("batch", params)
        assert params[operation.value_start : operation.value_end] == value

    def test_defaults(self):
        for method, params in (
            ("get", ["k"]),
            ("put", ["k", 1]),
            ("delete", ["k"]),
            ("mget", [["k"]]),
            ("batch", [[]]),
        ):
            for options in ([], [None], [{}]):
                reader, _ = read(method, pack([*params, *options]))
                assert (reader.deadline_ms, reader.ttl_ms, reader.if_version) == (0, 0, None)
                assert (reader.meta, reader.sync, reader.return_old) == (False, False, False)

    def test_options_of_each_method(self):
        reader, _ = read("get", pack(["k", {"deadline_ms": 5, "meta": True}]))
        assert (reader.deadline_ms, reader.meta) == (5, True)
        reader, _ = read("mget", pack([["k"], {"deadline_ms": 5, "meta": True}]))
        assert (reader.deadline_ms, reader.meta) == (5, True)
        reader, _ = read("put", pack(["k", 1, {"deadline_ms": 5, "sync": True, "ttl": 1.5, "if_version": 7}]))
        assert (reader.deadline_ms, reader.sync, reader.ttl_ms, reader.if_version) == (5, True, 1500, 7)
        reader, _ = read("delete", pack(["k", {"deadline_ms": 5, "sync": True, "if_version": 0, "return": True}]))
        assert (reader.deadline_ms, reader.sync, reader.if_version, reader.return_old) == (5, True, 0, True)
        reader, _ = read("batch", pack([[], {"deadline_ms": 5, "sync": True}]))
        assert (reader.deadline_ms, reader.sync) == (5, True)

    def test_option_names_may_be_bin_and_maps_of_any_encoding(self):
        for header in (b"\x81", b"\xde\x00\x01", b"\xdf\x00\x00\x00\x01"):
            for name in (b"\xa4meta", b"\xc4\x04meta", b"\xd9\x04meta"):
                assert read("get", b"\x92\xa1k" + header + name + b"\xc3")[0].meta

    def test_where_the_options_are(self):
        params = pack(["k", 1, {"sync": True}])
        reader, _ = read("put", params)
        assert msgpack.unpackb(params[reader.options_start : reader.options_end]) == {"sync": True}
        reader, _ = read("put", pack(["k", 1, None]))
        assert reader.options_start == -1

    def test_a_request_leaves_nothing_behind(self):
        reader = RequestReader(LIMITS)
        first = pack(["k", 1, {"deadline_ms": 5, "sync": True, "ttl": 1, "if_version": 7}])
        reader.read_put(first, 0, len(first))
        second = pack(["other"])
        reader.read_get(second, 0, len(second))
        assert (reader.key, reader.value_start, reader.options_start) == (b"other", -1, -1)
        assert (reader.deadline_ms, reader.sync, reader.ttl_ms, reader.if_version) == (0, False, 0, None)

    def test_mget_keeps_order_and_duplicates(self):
        assert read("mget", pack([["b", b"a", "b"]]))[1] == [b"b", b"a", b"b"]
        assert read("mget", pack([[]]))[1] == []

    def test_batch(self):
        params = pack(
            [[["put", "a", 1, {"ttl": 2, "if_version": 3}], ["delete", b"b"], ["delete", "c", {"if_version": 4}],
              [b"put", "d", "x"], ["put", "e", 2, None]], {"sync": True}]
        )  # fmt: skip
        reader, operations = read("batch", params)
        assert reader.sync
        assert (reader.ttl_ms, reader.if_version) == (0, None)
        assert [(op.is_put, op.key, op.ttl_ms, op.if_version) for op in operations] == [
            (True, b"a", 2000, 3),
            (False, b"b", 0, None),
            (False, b"c", 0, 4),
            (True, b"d", 0, None),
            (True, b"e", 0, None),
        ]
        decoded = [msgpack.unpackb(params[op.start : op.end]) for op in operations]
        assert decoded == msgpack.unpackb(params)[0]
        assert [op.value_start for op in operations if not op.is_put] == [-1, -1]
        assert [params[op.value_start : op.value_end] for op in operations if op.is_put] == [b"\x01", b"\xa1x", b"\x02"]


class TestShape:
    """Params that do not fit the method."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("params", [value for value in VALUES if not is_array(value)], ids=head_of)
    def test_params_must_be_an_array(self, method, params):
        assert refused(method, params) == "params must be an array"

    @pytest.mark.parametrize(
        ("method", "counts"),
        [("get", (0, 3)), ("put", (0, 1, 4)), ("delete", (0, 3)), ("mget", (0, 3)), ("batch", (0, 3, 70_000))],
    )
    def test_arity(self, method, counts):
        for count in counts:
            assert "items" in refused(method, ["k"] * count)

    @pytest.mark.parametrize("key", [value for value in VALUES if not is_text(value)], ids=head_of)
    def test_a_key_is_str_or_bin(self, key):
        assert refused("get", b"\x91" + key) == "key must be str or bin"
        assert refused("put", b"\x92" + key + b"\x01") == "key must be str or bin"
        assert refused("mget", b"\x91\x92\xa1k" + key) == "key must be str or bin"
        assert refused("batch", b"\x91\x91\x92\xa6delete" + key) == "operation 0: key must be str or bin"

    @pytest.mark.parametrize("empty", [b"\xa0", b"\xc4\x00", b"\xd9\x00", b"\xdb\x00\x00\x00\x00"])
    def test_a_key_is_not_empty(self, empty):
        assert refused("get", b"\x91" + empty) == "key must not be empty"

    def test_nil_is_no_value(self):
        assert "nil" in refused("put", ["k", None])
        assert "operation 1: value must not be nil" in refused("batch", [[["delete", "k"], ["put", "k", None]]])

    @pytest.mark.parametrize("keys", ["k", {}, 5, None, b"k"])
    def test_mget_takes_an_array(self, keys):
        assert refused("mget", [keys]) == "keys must be an array"

    @pytest.mark.parametrize("operations", ["k", {}, 5, None])
    def test_batch_takes_an_array(self, operations):
        assert refused("batch", [operations]) == "operations must be an array"

    @pytest.mark.parametrize(
        "operation",
        [None, 5, "put", {}, {"put": 1}, [], [[]], ["put"], ["put", "k"], ["delete"], ["get", "k"], ["PUT", "k", 1],
         [None, "k"], ["put", "k", 1, {}, 1], ["delete", "k", {}, 1], [["put"], "k", 1], [5, "k", 1], ["", "k"]],
        ids=repr,
    )  # fmt: skip
    def test_operations_of_a_batch(self, operation):
        assert refused("batch", [[operation]]).startswith("operation 0")
        assert refused("batch", [[["put", "k", 1], operation]]).startswith("operation 1")


class TestLimits:
    """Each size at its limit, and one over."""

    def test_key(self):
        assert read("get", pack(["k" * KEY_BYTES_MAX]))[0].key == b"k" * KEY_BYTES_MAX
        for method, params in (
            ("get", [b"k" * 4097]), ("delete", ["k" * 4097]), ("put", ["k" * 4097, 1]), ("mget", [["a", "k" * 4097]]),
            ("batch", [[["put", "k" * 4097, 1]]]),
        ):  # fmt: skip
            assert "key of 4097 bytes is over the limit of 4096" in refused(method, params, TooLarge)

    def test_value(self):
        for encoded_size, value in ((1024, bytes(1021)), (1024, [1] * 1021), (1, 0)):
            reader, _ = read("put", pack(["k", value]))
            assert reader.value_end - reader.value_start == encoded_size
        assert "value of 1025 bytes is over the limit of 1024" in refused("put", ["k", bytes(1022)], TooLarge)
        assert "operation 1: value of 1025 bytes" in refused(
            "batch", [[["delete", "k"], ["put", "k", bytes(1022)]]], TooLarge
        )

    def test_nesting(self):
        assert read("put", b"\x92\xa1k" + nested(VALUE_NESTING_MAX))[0].value_start == 3
        assert "nests deeper than the limit of 128" in refused(
            "put", b"\x92\xa1k" + nested(VALUE_NESTING_MAX + 1), TooLarge
        )
        batch = b"\x91\x91\x93\xa3put\xa1k"
        assert len(read("batch", batch + nested(VALUE_NESTING_MAX))[1]) == 1
        message = refused("batch", batch + nested(VALUE_NESTING_MAX + 1), TooLarge)
        assert message == "operation 0: value nests deeper than the limit of 128"

    def test_nesting_of_maps(self):
        assert read("put", b"\x92\xa1k" + b"\x81\x01" * 127 + b"\x80")[0].value_end == 258
        refused("put", b"\x92\xa1k" + b"\x81\x01" * 128 + b"\x80", TooLarge)

    def test_keys_of_an_mget(self):
        header = b"\x91\xdd" + KEYS_PER_REQUEST_MAX.to_bytes(4, "big")
        assert len(read("mget", header + b"\xa1k" * KEYS_PER_REQUEST_MAX)[1]) == KEYS_PER_REQUEST_MAX
        over = b"\x91\xdd" + (KEYS_PER_REQUEST_MAX + 1).to_bytes(4, "big") + b"\xa1k" * (KEYS_PER_REQUEST_MAX + 1)
        assert "over the limit of 100000 in one mget" in refused("mget", over, TooLarge)

    def test_operations_of_a_batch(self):
        operation = b"\x92\xa6delete\xa1k"
        header = b"\x91\xdd" + KEYS_PER_REQUEST_MAX.to_bytes(4, "big")
        assert len(read("batch", header + operation * KEYS_PER_REQUEST_MAX)[1]) == KEYS_PER_REQUEST_MAX
        over = b"\x91\xdd" + (KEYS_PER_REQUEST_MAX + 1).to_bytes(4, "big") + operation * (KEYS_PER_REQUEST_MAX + 1)
        assert "over the limit of 100000 in one batch" in refused("batch", over, TooLarge)


CALLS = {"get": ["k"], "put": ["k", 1], "delete": ["k"], "mget": [["k"]], "batch": [[["put", "k", 1]]]}
TAKES = {
    "get": {"deadline_ms", "meta", "stale_ms", "at"},
    "put": {"deadline_ms", "meta", "sync", "acks", "ttl", "if_version"},
    "delete": {"deadline_ms", "meta", "sync", "acks", "if_version", "return"},
    "mget": {"deadline_ms", "meta", "stale_ms", "at"},
    "batch": {"deadline_ms", "meta", "sync", "acks"},
}
LAWFUL = {
    "deadline_ms": 1, "meta": True, "sync": False, "ttl": 1, "if_version": 1, "return": True, "acks": "insync",
    "stale_ms": 1, "at": [1, 2, 3],
}  # fmt: skip


class TestOptions:
    """Names and values of options."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", [*LAWFUL, "", "TTL", "ttl ", "stale", "ack", "limit", "x" * 5000])
    def test_each_method_takes_its_own(self, method, name):
        params = [*CALLS[method], {name: LAWFUL.get(name, 1)}]
        if name in TAKES[method]:
            read(method, pack(params))
        else:
            message = refused(method, params)
            assert message.startswith("unknown option")
            assert len(message) < 100

    def test_options_of_operations(self):
        for operation, taken in ((["put", "k", 1], {"ttl", "if_version"}), (["delete", "k"], {"if_version"})):
            for name, value in LAWFUL.items():
                params = [[[*operation, {name: value}]]]
                if name in taken:
                    read("batch", pack(params))
                else:
                    assert refused("batch", params).startswith("operation 0: unknown option")

    @pytest.mark.parametrize("second", [b"\xa4meta", b"\xc4\x04meta"])
    def test_a_name_given_twice(self, second):
        assert refused("get", b"\x92\xa1k\x82\xa4meta\xc3" + second + b"\xc3") == "option 'meta' is given twice"

    @pytest.mark.parametrize(
        "options", [value for value in VALUES if not is_map(value) and value != b"\xc0"], ids=head_of
    )
    def test_options_are_a_map_or_nil(self, options):
        assert refused("get", b"\x92\xa1k" + options) == "options must be a map or nil"

    @pytest.mark.parametrize("name", [b"\x01", b"\xc0", b"\x90", b"\x80", b"\xd4\x01x"])
    def test_a_name_is_str_or_bin(self, name):
        assert refused("get", b"\x92\xa1k\x81" + name + b"\x01") == "an option's name must be str or bin"

    def test_a_name_that_is_no_text(self):
        assert refused("get", b"\x92\xa1k\x81\xa2\xff\xfe\x01").startswith("unknown option")

    @pytest.mark.parametrize("name", LAWFUL)
    @pytest.mark.parametrize(
        "value",
        [value for value in VALUES if not is_number_or_bool(value)]
        + [b"\xa1\xff", b"\x81\x90\x01", b"\xd7\xff" + b"\xff" * 8, b"\xa9123456789", b"\xc4\x07" + bytes(7)]
        + [nested(100)],
        ids=head_of,
    )
    def test_values_of_a_wrong_type(self, name, value):
        method = next(method for method in METHODS if name in TAKES[method])
        params = bytes((0x91 + len(CALLS[method]),)) + b"".join(map(pack, CALLS[method])) + b"\x81" + pack(name) + value
        assert name in refused(method, params)

    @pytest.mark.parametrize("value", [0, 1, 1.0, -1, "true"])
    @pytest.mark.parametrize(("method", "name"), [("get", "meta"), ("put", "sync"), ("delete", "return")])
    def test_flags_are_bools(self, method, name, value):
        assert refused(method, [*CALLS[method], {name: value}]) == f"{name} must be true or false"

    @pytest.mark.parametrize("value", [-1, -(2**63), 1.0, True, False, math.nan])
    def test_if_version_is_unsigned(self, value):
        assert refused("put", ["k", 1, {"if_version": value}]) == "if_version must be an unsigned integer"

    @pytest.mark.parametrize("value", [0, 1, 2**63, 2**64 - 1])
    def test_if_version_of_any_size(self, value):
        assert read("put", pack(["k", 1, {"if_version": value}]))[0].if_version == value
        assert read("batch", pack([[["delete", "k", {"if_version": value}]]]))[1][0].if_version == value

    @pytest.mark.parametrize("value", [0, -1, 2**31, 2**64 - 1, 1.5, True, math.nan, math.inf])
    def test_deadlines_out_of_range(self, value):
        assert refused("get", ["k", {"deadline_ms": value}]).startswith("deadline_ms must be an integer from 1")

    @pytest.mark.parametrize("value", [1, 2**31 - 1])
    def test_deadlines_at_the_edges(self, value):
        assert read("get", pack(["k", {"deadline_ms": value}]))[0].deadline_ms == value

    def test_acks(self):
        for method in ("put", "delete", "batch"):
            for level in ("insync", b"insync"):
                assert read(method, pack([*CALLS[method], {"acks": level}]))[0].insync
            assert not read(method, pack([*CALLS[method], {"acks": "leader"}]))[0].insync
            assert not read(method, pack(CALLS[method]))[0].insync
            for wrong in ("all", "", "insyncs", 1, True, None, ["insync"]):
                assert refused(method, [*CALLS[method], {"acks": wrong}]) == 'acks must be "leader" or "insync"'

    @pytest.mark.parametrize("value", [0, -1, 2**31, 1.5, True, None, "1"])
    def test_bounds_on_age_out_of_range(self, value):
        assert refused("get", ["k", {"stale_ms": value}]).startswith("stale_ms must be an integer from 1")

    @pytest.mark.parametrize("value", [1, 2**31 - 1])
    def test_bounds_on_age_at_the_edges(self, value):
        assert read("mget", pack([["k"], {"stale_ms": value}]))[0].stale_ms == value

    @pytest.mark.parametrize("place", [(1, 0, 0), (2**31 - 1, 2**64 - 1, 2**64 - 1), (3, 2, 1)])
    def test_a_place_in_a_log(self, place):
        reader, _ = read("get", pack(["k", {"at": place}]))
        assert (reader.at_shard, reader.at_term, reader.at_lsn) == place
        reader.read_get(b"\x91\xa1k", 0, 3)
        assert (reader.at_shard, reader.stale_ms, reader.insync) == (0, 0, False)

    @pytest.mark.parametrize(
        "value",
        [None, 1, "x", [], [1, 2], [1, 2, 3, 4], [0, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1], [2**31, 1, 1],
         [True, 1, 1], [1, 1.0, 1], [1, 1, None], [1, 1, "1"], [1, 1, [1]], {1: 1, 2: 2, 3: 3}, [1] * 70_000],
        ids=lambda value: repr(value)[:20],
    )  # fmt: skip
    def test_what_is_no_place(self, value):
        assert refused("get", ["k", {"at": value}]).startswith("at must be [shard, term, LSN]")


class TestTtl:
    """Seconds in, whole milliseconds out, never fewer than asked."""

    @pytest.mark.parametrize(
        "ttl", [math.nan, math.inf, -math.inf, 0, -0.0, -1, -1e-9, TTL_SECONDS_MAX * 2, 2**64 - 1, 1e308]
    )
    def test_out_of_range(self, ttl):
        assert refused("put", ["k", 1, {"ttl": ttl}]).startswith("ttl must be over 0")
        assert refused("batch", [[["put", "k", 1, {"ttl": ttl}]]]).startswith("operation 0: ttl must be over 0")

    @pytest.mark.parametrize("ttl", [True, False, "1", None, [1]])
    def test_wrong_type(self, ttl):
        assert refused("put", ["k", 1, {"ttl": ttl}]) == "ttl must be a number of seconds"

    @pytest.mark.parametrize(
        ("ttl", "ms"),
        [
            (1, 1000),
            (0.0001, 1),
            (1e-300, 1),
            (5e-324, 1),
            (1.0001, 1001),
            (3600, 3_600_000),
            (3.2e9, 3_200_000_000_000),
        ],
    )
    def test_milliseconds(self, ttl, ms):
        assert ttl_to_ms(ttl) == ms
        assert read("put", pack(["k", 1, {"ttl": ttl}]))[0].ttl_ms == ms

    def test_single_precision(self):
        params = b"\x93\xa1k\x01\x81\xa3ttl\xca" + struct.pack(">f", 0.5)
        assert read("put", params)[0].ttl_ms == 500


class TestHostile:
    """Bytes that no scanner has passed, and positions that are not positions: refused, and nothing else."""

    @given(st.sampled_from(METHODS), st.binary(max_size=40), st.integers(-50, 90), st.integers(-50, 90))
    @settings(max_examples=500)
    def test_any_bytes_at_any_position(self, method, data, params, end):
        reader = RequestReader(LIMITS)
        try:
            getattr(reader, f"read_{method}")(data, params, end)
        except (BadRequest, TooLarge):
            return
        assert 0 <= params < end <= len(data)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("position", [2**63 - 1, 2**62, -(2**63), 2**31, -1])
    def test_extreme_positions(self, method, position):
        data = pack(CALLS[method])
        for params, end in ((position, len(data)), (0, position), (position, position)):
            with pytest.raises(BadRequest, match="params must be an array"):
                getattr(RequestReader(LIMITS), f"read_{method}")(data, params, end)

    @pytest.mark.parametrize("method", METHODS)
    def test_cut_and_changed_anywhere(self, method):
        whole = pack([*CALLS[method], {name: LAWFUL[name] for name in sorted(TAKES[method])}])
        reader = RequestReader(LIMITS)
        take = getattr(reader, f"read_{method}")
        for size in range(len(whole)):
            for value in (0x00, 0x80, 0x90, 0xA5, 0xC1, 0xC6, 0xC9, 0xD4, 0xDB, 0xDD, 0xDF, 0xFF):
                changed = bytearray(whole)
                changed[size] = value
                for data in (bytes(changed), bytes(changed[: size + 1])):
                    try:
                        take(data, 0, len(data))
                    except (BadRequest, TooLarge):
                        continue
