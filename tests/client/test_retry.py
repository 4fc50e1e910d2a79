"""What may be tried again, after how long, and which address comes next: decided without I/O."""

import math

import pytest

from sherd.client.addresses import SHUNNED_SECONDS, Addresses
from sherd.client.retry import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    Attempts,
    ConnectionLost,
    NotSent,
    TransportError,
    may_repeat,
    seconds_of,
)
from sherd.common.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    Internal,
    Overloaded,
    Partial,
    Timeout,
    TooLarge,
    Unavailable,
    WireError,
)
from sherd.common.net.address import Address

A, B, C = Address("a", 1), Address("b", 1), Address("c", 1)


@pytest.mark.parametrize(
    ("error", "writes", "reads"),
    [
        (NotSent("x"), True, True),
        (NotSent("x", fatal=True), False, False),
        (Unavailable("x"), True, True),
        (Overloaded("x"), True, True),
        (ConnectionLost("x"), False, True),
        (Timeout("x"), False, True),
        (Conflict("x"), False, False),
        (Partial("x"), False, False),
        (BadRequest("x"), False, False),
        (TooLarge("x"), False, False),
        (Internal("x"), False, False),
    ],
)
def test_the_table(error: WireError | TransportError, writes: bool, reads: bool) -> None:
    assert may_repeat(error, repeatable=False) == writes
    assert may_repeat(error, repeatable=True) == reads


@pytest.mark.parametrize(
    ("error", "repeatable", "seen"),
    [
        (NotSent("x"), False, Unavailable),
        (ConnectionLost("x"), False, Timeout),
        (ConnectionLost("x"), True, Unavailable),
        (Timeout("x"), True, Timeout),
        (Overloaded("x"), False, Overloaded),
        (Conflict("x"), True, Conflict),
    ],
)
def test_what_the_caller_sees_when_time_is_up(
    error: WireError | TransportError, repeatable: bool, seen: type[WireError]
) -> None:
    attempts = Attempts(100.0, lambda: 0.0)
    with pytest.raises(seen):
        attempts.next_delay(error, repeatable, now=100.0)


def test_waits_double_up_to_the_longest() -> None:
    highest, lowest = Attempts(math.inf, lambda: 1.0), Attempts(math.inf, lambda: 0.0)
    waits = [highest.next_delay(Overloaded(), False, 0.0) for _ in range(50)]
    assert waits[:4] == [FIRST_SECONDS * 2**n for n in range(4)]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_SECONDS
    assert [lowest.next_delay(Overloaded(), False, 0.0) for _ in range(50)] == [wait / 2 for wait in waits]


def test_no_wait_ends_after_the_deadline() -> None:
    attempts = Attempts(10.0, lambda: 1.0)
    assert attempts.next_delay(Overloaded(), False, 10.0 - 2 * FIRST_SECONDS) == FIRST_SECONDS
    with pytest.raises(Overloaded):
        attempts.next_delay(Overloaded(), False, 10.0 - FIRST_SECONDS)


def test_whether_a_request_may_be_repeated_can_change_between_attempts() -> None:
    attempts = Attempts(math.inf, lambda: 1.0)
    assert attempts.next_delay(ConnectionLost("x"), True, 0.0) > 0
    with pytest.raises(Timeout, match="unknown"):
        attempts.next_delay(ConnectionLost("x"), False, 0.0)


def test_seconds() -> None:
    assert seconds_of(3) == 3.0
    assert seconds_of(math.inf) == math.inf
    for wrong in (True, "3", None):
        with pytest.raises(TypeError):
            seconds_of(wrong)  # type: ignore[arg-type]


def test_connections_spread_over_the_addresses() -> None:
    addresses = Addresses("a:1,b:1,c:1")
    assert [addresses.in_order(0.0)[0] for _ in range(4)] == [A, B, C, A]
    assert addresses.in_order(0.0) == [B, C, A]
    assert Addresses("a:1,b:1,c:1", first=5).in_order(0.0) == [C, A, B]


def test_an_address_that_failed_comes_last_for_a_while() -> None:
    addresses = Addresses(["a:1", "b:1", "c:1"])
    addresses.failed(A, 10.0)
    assert addresses.in_order(10.0) == [B, C, A]
    assert addresses.in_order(11.0) == [B, C, A]
    addresses.failed(B, 11.0)
    addresses.failed(C, 11.0)
    assert addresses.in_order(12.0) == [C, A, B]
    addresses.reached(A)
    assert addresses.in_order(12.0)[0] == A
    assert addresses.in_order(11.0 + SHUNNED_SECONDS) == [B, C, A]


def test_unreachable_is_fatal_until_one_was_reached() -> None:
    addresses = Addresses("a:1,b:1")
    assert addresses.unreachable(["a: refused"]).fatal
    addresses.reached(B)
    error = addresses.unreachable(["a: refused", "b: gone"])
    assert not error.fatal
    assert "a: refused; b: gone" in str(error)


def test_addresses_are_checked() -> None:
    with pytest.raises(ConfigError):
        Addresses("")
    assert str(Addresses("a, unix:/x")) == "a:7700,unix:/x"
