"""docs/protocol.md says what a real cluster does: its worked bytes, its tables, its sample answers."""

import socket
from collections.abc import Iterator

import msgpack
import pytest
from support.protocol_page import Exchange, exchanges, sample, table_rows

from sherd.common.errors import BY_CODE, BadRequest
from sherd.testing import Cluster

pytestmark = pytest.mark.core

EXCHANGES_MIN = 17
PATIENCE_S = 20.0


@pytest.fixture(scope="module", params=["hash", "range"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Empty at first; in range mode the keys of the page lie on both shards too."""
    shape = {"partition": "hash"} if request.param == "hash" else {"partition": "range", "split_at": ["user:2"]}
    with Cluster(shards=2, **shape) as found:  # type: ignore[arg-type]
        yield found


@pytest.fixture
def connection(cluster: Cluster) -> Iterator[socket.socket]:
    host, _, port = cluster.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as found:
        yield found


def receive(connection: socket.socket, size: int) -> bytes:
    """``size`` bytes, or fewer if the connection ends before."""
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def receive_rest(connection: socket.socket, start: bytes) -> object:
    """The message that begins with ``start``; ValueError if more than it comes."""
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(start)
    read = len(start)
    while True:
        for message in unpacker:
            if unpacker.tell() != read:
                raise ValueError("bytes behind the response")
            return message
        piece = connection.recv(65536)
        if not piece:
            raise EOFError
        read += len(piece)
        unpacker.feed(piece)


def play(connection: socket.socket, exchange: Exchange) -> None:
    """Send what the page sends, and compare what comes with what the page says."""
    connection.sendall(exchange.sent)
    data = receive(connection, len(exchange.answer))
    assert len(data) == len(exchange.answer), f"{exchange.name}: the connection ended after {data.hex(' ')}"
    expected = bytes(came if wanted is None else wanted for came, wanted in zip(data, exchange.answer, strict=True))
    assert data.hex(" ") == expected.hex(" "), exchange.name
    if exchange.and_more:
        receive_rest(connection, data)
    if exchange.closed:
        assert connection.recv(1) == b"", exchange.name


def test_worked_bytes(connection: socket.socket) -> None:
    found = exchanges()
    assert len(found) >= EXCHANGES_MIN
    for exchange in found:
        assert exchange.sent, exchange.name
        assert exchange.answer, exchange.name
        play(connection, exchange)
    assert found[-1].closed, "nothing would tell of bytes that came unasked"


def call(connection: socket.socket, method: str, *params: object) -> tuple[object, object]:
    """Error and result."""
    connection.sendall(msgpack.packb([0, 1, method, params]))
    message = receive_rest(connection, b"")
    assert isinstance(message, list)
    assert message[:2] == [1, 1]
    return message[2], message[3]


def keys_of(value: object) -> object:
    """``value`` with only its shape left: names in maps; of lists, and of maps by number, one item."""
    if isinstance(value, dict) and "1" in value:
        return {"1": keys_of(value["1"])}
    if isinstance(value, dict):
        return {name: keys_of(item) for name, item in value.items()}
    if isinstance(value, list) and value:
        return [keys_of(value[0])]
    return "a scalar, or nothing"


@pytest.mark.parametrize("method", ["hello", "status", "topology"])
def test_sample_answers(connection: socket.socket, method: str) -> None:
    error, result = call(connection, method)
    assert error is None
    shown = sample(method)
    assert keys_of(shown) == keys_of(result)
    if method == "hello":
        assert isinstance(result, dict)
        assert isinstance(shown, dict)
        for name in ("server", "version", "features", "limits"):
            assert shown[name] == result[name]


def test_the_methods_are_known(connection: socket.socket) -> None:
    names = [name.strip("` ") for row in table_rows("Methods") for name in row[0].split()]
    assert len(names) == 16
    for name in names:
        error, _ = call(connection, name, *range(9))
        assert isinstance(error, list)
        assert error[0] == BadRequest.code, f"{name}: {error}"


def test_the_limits_are_those_of_hello(connection: socket.socket) -> None:
    _, result = call(connection, "hello")
    assert isinstance(result, dict)
    assert {name.strip("`"): int(number) for name, number in table_rows("Limits")} == result["limits"]


def test_the_errors_are_all_there() -> None:
    assert {int(row[0]): row[1] for row in table_rows("Errors")} == {code: kind.name for code, kind in BY_CODE.items()}


def test_a_page_that_says_otherwise_fails(connection: socket.socket) -> None:
    get = next(exchange for exchange in exchanges() if exchange.name == "Get of a key that is absent")
    wrong = Exchange(get.name, get.sent, (*get.answer[:-1], 0xC3), False, False)
    with pytest.raises(AssertionError, match="c3"):
        play(connection, wrong)
