"""``sherd.connect``: one call from an address, be it a cluster's or a directory's, to something with the same face.

    sherd://HOST:PORT[,HOST:PORT ...][?option=value&...]     a Client over TCP
    sherd+unix:///path/of/socket[?...]                       a Client over a unix socket
    file:DIR  file:///absolute/DIR                           a Store, the engine in this process

Options of a Client: ``timeout``, ``connect_timeout`` (seconds), ``connections_max``, ``key_encoding``, ``retry``
(``yes`` or ``no``). Options of a Store: ``key_encoding``. Keyword arguments go before what the address says.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sherd.common.errors import ConfigError

if TYPE_CHECKING:
    from sherd.client.sync import Client
    from sherd.shard.lsm.store import Store

_FORMS = "sherd://HOST:PORT, sherd+unix:///path or file:DIR"


def _number(text: str) -> float:
    return float(text)


def _yes_or_no(text: str) -> bool:
    try:
        return {"yes": True, "no": False}[text]
    except KeyError:
        raise ValueError("not yes or no") from None


_CLIENT_OPTIONS: dict[str, Callable[[str], Any]] = {
    "timeout": _number,
    "connect_timeout": _number,
    "connections_max": int,
    "key_encoding": str,
    "retry": _yes_or_no,
}
_STORE_OPTIONS: dict[str, Callable[[str], Any]] = {"key_encoding": str}


def connect(url: str, **options: Any) -> "Client | Store":
    """A ``Client`` or a ``Store``, by the form of ``url``. ConfigError if it has none of them."""
    scheme, colon, _ = url.partition(":")
    if colon and scheme == "file":
        path, query = _split_file(url)
        if not path:
            raise ConfigError(f"{url!r} names no directory; write file:DIR")
        given = {**_options(url, query, _STORE_OPTIONS), **options}
        from sherd.shard.lsm.store import Store

        return Store.open(path, **given)
    from sherd.client.sync import Client

    if scheme not in ("sherd", "sherd+unix"):
        raise ConfigError(f"{url!r} is not of the form {_FORMS}")
    parts = urlsplit(url)
    if parts.fragment or (scheme == "sherd" and parts.path not in ("", "/")) or (scheme != "sherd" and parts.netloc):
        raise ConfigError(f"{url!r} is not of the form {_FORMS}")
    addresses = parts.netloc if scheme == "sherd" else "unix:" + unquote(parts.path)
    if scheme == "sherd+unix" and not parts.path:
        raise ConfigError(f"{url!r} names no socket; write sherd+unix:///path")
    return Client([addresses] if scheme != "sherd" else addresses, **{
        **_options(url, parts.query, _CLIENT_OPTIONS), **options
    })  # fmt: skip


def _split_file(url: str) -> tuple[str, str]:
    """Directory and query of a ``file:`` address. A relative directory has no slashes in front."""
    path, _, query = url.removeprefix("file:").partition("?")
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host not in ("", "localhost"):
            raise ConfigError(f"{url!r} names the host {host!r}; write file:DIR or file:///absolute/DIR")
        path = slash + rest
    return unquote(path), query


def _options(url: str, query: str, known: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigError(f"{url!r} has the unknown option {name!r}; known are {', '.join(known)}")
        try:
            found[name] = known[name](text)
        except ValueError:
            raise ConfigError(f"{url!r}: {text!r} is no value for {name}") from None
    return found
