"""The methods off the data path: ``ping hello auth topology scan count status flush compact``.

``calls`` maps each to what carries it out; the router looks methods up there that it does not handle itself. What asks
every shard waits for all of them; one that fails makes ``flush`` and ``compact`` fail, while ``status`` reports it
among its ``warnings`` and describes the rest.
"""

from collections.abc import Callable

import msgpack

from sherd.common.errors import BadRequest, WireError
from sherd.common.limits import KEY_BYTES_MAX, KEYS_PER_REQUEST_MAX, PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX
from sherd.common.net.loop import loop_name
from sherd.common.version import VERSION
from sherd.proxy.asking import Ask
from sherd.proxy.config import ProxyConfig
from sherd.proxy.counting import Count
from sherd.proxy.introduction import Introduction, all_proxies
from sherd.proxy.params import decode_params, read_bytes, read_options
from sherd.proxy.routes import Routes
from sherd.proxy.scan import Scan
from sherd.proxy.scan_request import read_count, read_scan
from sherd.proxy.session import Session
from sherd.proxy.status import cluster_status

COMPILED = type(Session.feed).__name__ != "function"
FEATURES = ("meta", "if_version", "ttl", "sync", "acks", "stale_ms", "at", "cursor", "error_text")
_ERROR_FORMS = {b"array": False, b"string": True}


class Admin:
    """The proxy's rarer methods."""

    def __init__(self, routes: Routes, config: ProxyConfig, introduction: Introduction) -> None:
        self._routes = routes
        self._config = config
        self._introduction = introduction
        self.calls: dict[bytes, Callable[[Session, bytes, bytes], None]] = {
            b"ping": self._ping,
            b"hello": self._hello,
            b"auth": self._auth,
            b"topology": self._topology,
            b"scan": self._scan,
            b"count": self._count,
            b"status": self._status,
            b"flush": self._flush,
            b"compact": self._compact,
        }

    def _ping(self, session: Session, msgid: bytes, params: bytes) -> None:
        decode_params(params, 0, 0)
        session.reply(msgid, msgpack.packb("pong"))

    def _hello(self, session: Session, msgid: bytes, params: bytes) -> None:
        """``[options]``: ``client`` (a name), ``errors`` ("array" or "string"), ``auth``. Answers with what we are."""
        found = decode_params(params, 0, 1)
        options = read_options(
            found[0] if found else None, {b"client": read_bytes, b"errors": read_bytes, b"auth": _read_anything}
        )
        if "errors" in options:
            form = options["errors"]
            if not isinstance(form, bytes) or form not in _ERROR_FORMS:
                raise BadRequest('errors must be "array" or "string"')
            session.errors_as_text = _ERROR_FORMS[form]
        client = options.get("client")
        if isinstance(client, bytes):
            session.name = f"{session.name} {client[:64].decode(errors='replace')}"
        session.reply(msgid, msgpack.packb(self._description()))

    def _description(self) -> dict[str, object]:
        limits = self._config.limits
        return {
            "server": "sherd",
            "version": VERSION,
            "compiled": COMPILED,
            "proxy": self._config.name,
            "partition": self._routes.topology.layout.mode,
            "features": list(FEATURES),
            "limits": {
                "key_bytes_max": KEY_BYTES_MAX,
                "value_bytes_max": limits.value_bytes_max,
                "frame_bytes_max": limits.frame_bytes_max,
                "batch_frame_bytes_max": limits.batch_frame_bytes_max,
                "keys_per_request_max": KEYS_PER_REQUEST_MAX,
                "inflight_requests_max": limits.inflight_requests_max,
                "inflight_bytes_max": limits.inflight_bytes_max,
                "page_bytes_default": PAGE_BYTES_DEFAULT,
                "page_bytes_max": PAGE_BYTES_MAX,
            },
        }

    def _auth(self, session: Session, msgid: bytes, params: bytes) -> None:
        decode_params(params, 0, 2)
        raise BadRequest("this server has no authentication configured; connect without auth")

    def _topology(self, session: Session, msgid: bytes, params: bytes) -> None:
        decode_params(params, 0, 0)
        session.reply(msgid, msgpack.packb(self._routes.topology.to_json()))

    def _scan(self, session: Session, msgid: bytes, params: bytes) -> None:
        request = read_scan(params)
        # The page counts as bytes under way, so that many large ones stall their client and not fill the memory.
        Scan(self._routes, session, msgid, len(params) + request.max_bytes, request).begin()

    def _count(self, session: Session, msgid: bytes, params: bytes) -> None:
        Count(self._routes, session, msgid, len(params), read_count(params)).begin()

    def _status(self, session: Session, msgid: bytes, params: bytes) -> None:
        decode_params(params, 0, 0)
        bounds = self._routes.bounds

        def tell(answers: dict[int, object], errors: dict[int, WireError]) -> None:
            status = cluster_status(self._routes.topology, answers, errors)
            status["version"] = VERSION
            status["compiled"] = COMPILED
            status["loop"] = loop_name()
            told = [answer for answer in answers.values() if isinstance(answer, dict)]
            status["proxies"] = all_proxies(self._introduction.entry(), told)
            session.reply(msgid, msgpack.packb(status))

        Poll(self._routes, session, len(params), b"status", bounds.request_timeout_s, tell).begin()

    def _flush(self, session: Session, msgid: bytes, params: bytes) -> None:
        self._force(session, msgid, params, b"flush")

    def _compact(self, session: Session, msgid: bytes, params: bytes) -> None:
        self._force(session, msgid, params, b"compact")

    def _force(self, session: Session, msgid: bytes, params: bytes, method: bytes) -> None:
        decode_params(params, 0, 0)

        def tell(answers: dict[int, object], errors: dict[int, WireError]) -> None:
            for shard, error in sorted(errors.items()):
                session.fail(msgid, type(error)(f"shard {shard}: {error.message}", error.details))
                return
            shards = [{"id": shard, "report": answers[shard]} for shard in sorted(answers)]
            session.reply(msgid, msgpack.packb({"shards": shards}))

        Poll(self._routes, session, len(params), method, self._routes.bounds.admin_timeout_s, tell).begin()


class Poll:
    """One question to every shard; ``tell`` gets their decoded answers and errors by shard when all have come."""

    def __init__(
        self,
        routes: Routes,
        session: Session,
        size: int,
        method: bytes,
        timeout_s: float,
        tell: Callable[[dict[int, object], dict[int, WireError]], None],
    ) -> None:
        self._routes = routes
        self._session = session
        self._size = size
        self._method = method
        self._timeout_s = timeout_s
        self._tell = tell
        self._answers: dict[int, object] = {}
        self._errors: dict[int, WireError] = {}
        self._waiting: set[int] = set()

    def begin(self) -> None:
        """Ask. To be called once."""
        self._session.begin(self._size)
        self._waiting = {int(shard) for shard in self._routes.topology.shards}
        for shard in sorted(self._waiting):
            self._ask(shard)

    def _ask(self, shard: int) -> None:
        def take(result: bytes, error: WireError | None) -> None:
            if error is not None:
                self._errors[shard] = error
            else:
                self._answers[shard] = msgpack.unpackb(result, strict_map_key=False)
            self._waiting.discard(shard)
            if not self._waiting:
                self._tell(self._answers, self._errors)
                self._session.finish(self._size)

        self._routes.ask(shard, Ask(self._method, b"\x90", self._routes.now + self._timeout_s, take))


def _read_anything(name: str, value: object) -> object:
    return value
