"""A scripted server for each test of the clients, and both clients to drive it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.faces import FACES, Face
from support.scripted_server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture(params=["tcp", "unix"])
def any_server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    running = ScriptedServer(request.param)
    yield running
    running.close()


@pytest.fixture(params=list(FACES))
def make_face(request: pytest.FixtureRequest) -> Iterator[Callable[..., Face]]:
    with ExitStack() as stack:

        def make(*args: Any, **options: Any) -> Face:
            face = FACES[request.param](*args, **options)
            stack.callback(face.close)
            return face

        yield make
