"""Reading and writing rows over a connection that breaks, and a server that is away, overloaded, or refuses."""

import msgpack
import pytest
from support.scripted_server import ScriptedServer, cut_after, cut_before, refuse, send_raw, usual

from sherd.cli import entries
from sherd.cli.entries import Patience, Range, ServerSource
from sherd.cli.entry_sink import BATCH_ROWS_MAX, WINDOW, Batch, ServerSink, is_transient
from sherd.common.errors import Overloaded, Partial, TooLarge, Unavailable

OVERLOADED = [20, "OVERLOADED later", None]
TOO_LARGE = [3, "TOO_LARGE a value", None]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(entries, "PAUSE_SECONDS", 0.005)


@pytest.fixture
def server():
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def sink(server):
    sink = ServerSink(server.address)
    yield sink
    sink.close()


def batch_of(first, count=3, same_key=False):
    batch = Batch(last_line=first + count - 1)
    for line in range(first, first + count):
        batch.add(line, (b"same" if same_key else b"k%05d" % line, msgpack.packb(line)))
    return batch


def write(sink, batch):
    sink.submit(batch)
    sink.finish()


def test_a_range_is_read_over_pages_and_broken_connections(server):
    server.data = {b"k%03d" % number: (number, 1) for number in range(100)}
    server.script(usual, cut_before, usual, cut_after, refuse(OVERLOADED), usual, refuse([21, "UNAVAILABLE", None]))
    rows = list(ServerSource(server.address).rows(Range()))
    assert rows == [(b"k%03d" % number, msgpack.packb(number)) for number in range(100)]
    assert server.connections >= 3


def test_a_range_with_everything_asked(server):
    server.data = {b"k%03d" % number: (number, 1) for number in range(50)}
    rows = list(ServerSource(server.address).rows(Range(b"k010", b"k040", b"k0", True, 25)))
    assert [key for key, _ in rows] == [b"k%03d" % number for number in range(39, 14, -1)]


def test_a_refused_scan_is_raised(server):
    server.script(refuse(TOO_LARGE))
    with pytest.raises(TooLarge):
        list(ServerSource(server.address).rows(Range()))


@pytest.mark.parametrize("garbage", [b"\xc1", b"\x93\x01\x02\x03", b"\x94\x02\x01\xc0\xc0", b"\x94\x01\xa1a\xc0\xc0"])
def test_a_server_that_talks_nonsense_is_asked_again_on_a_new_connection(server, garbage):
    server.data = {b"k": (1, 1)}
    server.script(send_raw(lambda msgid: garbage))
    assert list(ServerSource(server.address).rows(Range())) == [(b"k", b"\x01")]
    assert server.connections == 2


def test_batches_are_pipelined_and_acknowledged_in_order(server, sink):
    for number in range(3 * WINDOW):
        sink.submit(batch_of(1 + 3 * number))
    sink.finish()
    assert sink.written_line == 9 * WINDOW
    assert sink.written_rows == len(server.data) == 9 * WINDOW


def test_lines_without_rows_count_when_those_before_them_are_written(sink):
    sink.submit(Batch(last_line=4))
    assert sink.written_line == 4
    sink.submit(batch_of(5))
    sink.submit(Batch(last_line=9))
    sink.finish()
    assert sink.written_line == 9


@pytest.mark.parametrize(
    "acts",
    [
        (cut_before,),
        (cut_after,),
        (usual, cut_after),
        (usual, refuse(OVERLOADED), usual, refuse([22, "TIMEOUT", None])),
        (refuse(OVERLOADED), cut_before, cut_before, refuse(OVERLOADED)),
        (refuse([5, "PARTIAL", {"done": [0], "failed": [[1, 21, "away"]], "unknown": [2]}]),),
    ],
)
def test_what_fails_is_written_again_and_the_last_of_a_key_wins(server, sink, acts):
    server.script(*acts)
    for number in range(2 * WINDOW):
        sink.submit(batch_of(1 + 3 * number, same_key=True))
    sink.finish()
    assert server.data[b"same"][0] == 6 * WINDOW
    assert (sink.written_line, sink.written_rows, sink.refused) == (6 * WINDOW, 6 * WINDOW, [])


def test_the_server_comes_back(server, sink):
    sink.submit(batch_of(1))
    sink.finish()
    server.stop()
    server.start()
    sink.submit(batch_of(4))
    sink.finish()
    assert sink.written_line == 6


def test_a_refused_row_is_told_with_its_line(server, sink):
    server.script(refuse(TOO_LARGE), refuse(TOO_LARGE), usual, refuse(TOO_LARGE), usual)
    sink.submit(batch_of(11))
    sink.finish()
    assert [(row.line, row.reason) for row in sink.refused] == [(12, "a value")]
    assert sorted(server.data) == [b"k00011", b"k00013"]
    assert (sink.written_line, sink.written_rows) == (13, 2)


def test_patience_ends(server, sink, monkeypatch):
    monkeypatch.setattr(sink, "_patience", Patience(0.05))
    sink.submit(batch_of(1))
    sink.finish()
    server.stop()
    with pytest.raises(ConnectionError, match="no server can be reached"):
        write(sink, batch_of(4))
    assert sink.written_line == 3


def test_what_is_worth_trying_again():
    assert is_transient(Overloaded())
    assert is_transient(Unavailable())
    assert not is_transient(TooLarge())
    assert not is_transient(Partial("", {"done": [], "failed": [[0, 3, "TOO_LARGE"]], "unknown": []}))


def test_batches_are_bounded():
    batch = Batch()
    for line in range(BATCH_ROWS_MAX):
        assert not batch.is_full
        batch.add(line, (b"k", b"\x01"))
    assert batch.is_full
    large = Batch()
    large.add(1, (b"k", b"\xc6" + bytes(1 << 20)))
    assert large.is_full
