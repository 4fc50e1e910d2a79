"""``sherd.connect`` and what ``import sherd`` gives."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from support.scripted_server import ScriptedServer

import sherd
from sherd.common.errors import ConfigError


def test_a_cluster_by_address(server: ScriptedServer) -> None:
    with sherd.connect(f"sherd://{server.address}") as db:
        assert isinstance(db, sherd.Client)
        assert db.put("k", 1) == 1
    with sherd.connect(f"sherd://127.0.0.1:1,{server.address}/?key_encoding=utf-8&timeout=5&retry=no") as db:
        assert list(db.scan()) == [("k", 1)]


def test_a_unix_socket() -> None:
    server = ScriptedServer("unix")
    try:
        path = server.address.removeprefix("unix:")
        with sherd.connect(f"sherd+unix://{path}?connections_max=2", timeout=3) as db:
            assert db.put("k", 1) == 1
            assert repr(db) == f"<sherd.Client unix:{path}>"
    finally:
        server.close()


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "file://localhost{}?key_encoding=utf-8"])
def test_a_directory(tmp_path: Path, form: str) -> None:
    with sherd.connect(form.format(tmp_path / "data")) as db:
        assert isinstance(db, sherd.Store)
        db.put("k", {"a": 1})
        assert db.get("k") == {"a": 1}


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "form"),
        ("127.0.0.1:7700", "form"),
        ("redis://127.0.0.1", "form"),
        ("sherd://", "no address"),
        ("sherd://host:1/path", "form"),
        ("sherd://host:1#part", "form"),
        ("sherd://host:port", "port"),
        ("sherd://host:1?timeuot=3", "timeuot"),
        ("sherd://host:1?timeout=soon", "soon"),
        ("sherd://host:1?retry=maybe", "maybe"),
        ("sherd+unix://host/path", "form"),
        ("sherd+unix:", "socket"),
        ("file:", "directory"),
        ("file://elsewhere/data", "elsewhere"),
        ("file:data?timeout=3", "timeout"),
    ],
)
def test_refused(url: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        sherd.connect(url)


def test_importing_sherd_costs_nothing() -> None:
    code = "import sys, sherd; print(sorted(m for m in sys.modules if m.startswith(('sherd', 'asyncio', 'msgpack'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "['sherd', 'sherd.common', 'sherd.common.version']\n"


def test_every_name_is_there() -> None:
    for name in sherd.__all__:
        assert getattr(sherd, name) is not None
    assert issubclass(sherd.Timeout, TimeoutError)
    assert issubclass(sherd.Conflict, sherd.SherdError)
    with pytest.raises(AttributeError):
        sherd.nothing  # noqa: B018


COMMANDS = ["get", "put", "delete", "mget", "batch", "scan", "count", "ping", "status", "flush", "compact"]


@pytest.mark.parametrize("name", [*COMMANDS, "topology", "pipeline"])
def test_both_clients_take_the_same(name: str) -> None:
    blocking, awaited = (inspect.signature(getattr(kind, name)) for kind in (sherd.Client, sherd.AsyncClient))
    assert list(blocking.parameters.values()) == list(awaited.parameters.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_store_takes_the_same_as_a_client(name: str) -> None:
    client, store = (inspect.signature(getattr(kind, name)).parameters for kind in (sherd.Client, sherd.Store))
    assert [(p.name, p.kind) for p in store.values()] == [
        (p.name, p.kind)
        for p in client.values()
        if p.name != "timeout"  # nothing to wait for
    ]
