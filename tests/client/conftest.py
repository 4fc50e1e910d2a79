"""A scripted server for each test of the clients."""

from collections.abc import Iterator

import pytest
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
