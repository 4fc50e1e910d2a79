"""etcd's requests and answers as its HTTP/JSON gateway has them: without I/O.

Protocol buffers as JSON: keys and values in base64, 64-bit integers as strings, and what is zero, false or empty is
left out of an answer. Errors carry a gRPC code and etcd's words. The readers of answers raise KeyError, TypeError,
ValueError or AttributeError for what is none. See https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway and
api_reference_v3.
"""

import base64
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sherd.cluster.etcd.api import Absent, Change, Delete, Holds, KeyValue, Lease, Put, WatchLost

Json = dict[str, Any]

RANGE = "/v3/kv/range"
TXN = "/v3/kv/txn"
GRANT = "/v3/lease/grant"
KEEP_ALIVE = "/v3/lease/keepalive"
REVOKE = "/v3/lease/revoke"
WATCH = "/v3/watch"
AUTHENTICATE = "/v3/auth/authenticate"

# gRPC's status codes
_CANCELLED, _DEADLINE_EXCEEDED, _NOT_FOUND, _PERMISSION_DENIED = 1, 4, 5, 7
_UNIMPLEMENTED, INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = 12, 13, 14, 16

_HTTP_ERROR = 500
_CODE_OF_STATUS = {401: _UNAUTHENTICATED, 403: _PERMISSION_DENIED, 404: _UNIMPLEMENTED}
_BUSY = "too many requests"
_OLD_TOKEN = ("invalid auth token", "revision of auth store is old")


class GatewayError(Exception):
    """An error that etcd answered: its gRPC ``code`` and ``reason``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    @property
    def transient(self) -> bool:
        """Whether it is about how the member asked is now, and not about the request."""
        return self.code in (_CANCELLED, _DEADLINE_EXCEEDED, _UNAVAILABLE) or _BUSY in self.reason

    @property
    def lease_ended(self) -> bool:
        return self.code == _NOT_FOUND and "lease" in self.reason

    @property
    def token_refused(self) -> bool:
        """Whether a new token may help: etcd forgets them after some minutes, and when it restarts."""
        return self.code == _UNAUTHENTICATED or any(words in self.reason for words in _OLD_TOKEN)


def error_of(status: int, body: Any) -> GatewayError:
    """The error in an answer that is none of HTTP's 200; ``body`` is its JSON, or None if it has none."""
    if isinstance(body, dict):
        told = body["error"] if isinstance(body.get("error"), dict) else body  # nested in streams
        code = told.get("grpc_code", told.get("code"))
        if isinstance(code, int):
            return GatewayError(code, str(told.get("message") or told.get("error")))
    code = _UNAVAILABLE if status >= _HTTP_ERROR else _CODE_OF_STATUS.get(status, INTERNAL)
    return GatewayError(code, f"HTTP status {status}, which is not etcd's")


def result_of(message: Mapping[str, Any]) -> Json:
    """The result in one message of a stream. Raises GatewayError if it is an error."""
    if "error" in message:
        raise error_of(_HTTP_ERROR, message)
    result = message.get("result")
    if not isinstance(result, dict):
        raise GatewayError(INTERNAL, "a message of a stream without a result")
    return result


def range_request(prefix: str) -> Json:
    return _interval(prefix)


def txn_request(conditions: Sequence[Absent | Holds], changes: Sequence[Put | Delete]) -> Json:
    return {
        "compare": [_comparison(condition) for condition in conditions],
        "success": [_operation(change) for change in changes],
    }


def watch_request(prefix: str, revision: int) -> Json:
    return {"create_request": {**_interval(prefix), "start_revision": str(revision)}}


def grant_request(ttl_seconds: int) -> Json:
    return {"TTL": str(ttl_seconds)}


def lease_request(lease: int) -> Json:
    return {"ID": str(lease)}


def key_values(answer: Json) -> tuple[int, list[KeyValue]]:
    """The store's revision, and the keys of a range."""
    found = [
        KeyValue(_key(kv), _value(kv), int(kv["mod_revision"]), int(kv.get("lease", 0))) for kv in answer.get("kvs", ())
    ]
    return int(answer["header"]["revision"]), found


def succeeded(answer: Json) -> bool:
    """Whether a transaction's conditions held."""
    if "header" not in answer:
        raise KeyError("header")
    return bool(answer.get("succeeded", False))


def lease_of(answer: Json) -> Lease:
    return Lease(int(answer["ID"]), int(answer["TTL"]))


def seconds_left(answer: Json) -> int:
    """Of a lease that was renewed; 0 if it has ended."""
    return int(result_of(answer).get("TTL", 0))


def token_of(answer: Json) -> str:
    token = answer["token"]
    if not isinstance(token, str):
        raise TypeError("token")
    return token


def changes_of(result: Json) -> list[list[Change]]:
    """What one message of a watch reports, a list for each revision. WatchLost or GatewayError if it ends the watch."""
    if int(result.get("compact_revision", 0)):
        raise WatchLost(f"etcd's changes before revision {result['compact_revision']} are gone")
    if result.get("canceled"):
        reason = str(result.get("cancel_reason", "")) or "no reason given"
        code = _UNAUTHENTICATED if "permission denied" in reason else INTERNAL
        raise GatewayError(code, f"watch cancelled: {reason}")
    changes = [_change(found) for found in result.get("events", ())]
    return [list(group) for _, group in groupby(changes, key=lambda change: change.revision)]


def _change(found: Json) -> Change:
    kv = found["kv"]
    value = None if found.get("type") == "DELETE" else _value(kv)
    return Change(_key(kv), value, int(kv["mod_revision"]))


def _comparison(condition: Absent | Holds) -> Json:
    if isinstance(condition, Absent):
        return {"target": "CREATE", "result": "EQUAL", "key": _base64(condition.key), "create_revision": "0"}
    value = base64.b64encode(condition.value).decode()
    return {"target": "VALUE", "result": "EQUAL", "key": _base64(condition.key), "value": value}


def _operation(change: Put | Delete) -> Json:
    if isinstance(change, Delete):
        return {"request_delete_range": {"key": _base64(change.key)}}
    value = base64.b64encode(change.value).decode()
    return {"request_put": {"key": _base64(change.key), "value": value, "lease": str(change.lease)}}


def _interval(prefix: str) -> Json:
    """The keys that begin with ``prefix``: up to the next string of the same length, as no key holds a byte 0xff there;
    a zero byte at both ends means all there are."""
    start = prefix.encode("utf-8", "surrogateescape")
    end = start[:-1] + bytes((start[-1] + 1,)) if start else b"\0"
    return {"key": base64.b64encode(start or b"\0").decode(), "range_end": base64.b64encode(end).decode()}


def _base64(key: str) -> str:
    return base64.b64encode(key.encode("utf-8", "surrogateescape")).decode()


def _key(kv: Json) -> str:
    return base64.b64decode(kv["key"], validate=True).decode("utf-8", "surrogateescape")


def _value(kv: Json) -> bytes:
    return base64.b64decode(kv.get("value", ""), validate=True)
