"""The blocking client: threads, the pool, connections that ended while idle, forks, gevent."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.scripted_server import Hold, ScriptedServer

from sherd.client.sync import Client
from sherd.common.errors import ConfigError, StoreClosed, Unavailable


def test_one_thread_uses_one_connection(server: ScriptedServer) -> None:
    with Client(server.address) as db:
        for number in range(50):
            db.put("k", number)
            assert list(db.scan()) == [(b"k", number)]
    assert server.connections == 1


def test_threads_share_a_client(server: ScriptedServer) -> None:
    def work(name: int) -> None:
        for number in range(100):
            db.put(f"k{name}", number)
            assert db.get(f"k{name}") == number
            if number % 10 == 0:
                with db.pipeline() as p:
                    written, read = p.put(f"p{name}", number), p.get(f"p{name}")
                assert read.result() == number
                assert written.result() > 0

    with Client(server.address, connections_max=4) as db, ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))
        assert db.count() == 24
    assert 1 <= server.connections <= 4


def test_a_caller_waits_for_a_free_connection(server: ScriptedServer) -> None:
    hold = Hold()
    server.script(hold)
    with Client(server.address, connections_max=1) as db, ThreadPoolExecutor(1) as threads:
        first = threads.submit(db.get, "k", "none")
        assert hold.arrived.wait(5)
        with pytest.raises(Unavailable, match="in use"):
            db.ping(timeout=0.1)
        second = threads.submit(db.ping)
        hold.release()
        assert first.result(5) == "none"
        assert second.result(5) == "pong"
    assert server.connections == 1


def test_closing_wakes_those_that_wait(server: ScriptedServer) -> None:
    hold = Hold()
    server.script(hold)
    db = Client(server.address, connections_max=1)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(db.get, "k", "none")
        assert hold.arrived.wait(5)
        second = threads.submit(db.ping)
        while not db._pool()._changed._waiters:  # type: ignore[attr-defined]
            time.sleep(0.001)
        db.close()
        with pytest.raises(StoreClosed):
            second.result(5)
        hold.release()
        assert first.result(5) == "none"
    db.close()


def test_connections_cut_while_idle_cost_no_write(server: ScriptedServer) -> None:
    with Client(server.address) as db:
        for number in range(5):
            assert db.put("k", number) == number + 1
            server.cut_all()
            while db._pool()._idle[0].is_quiet:
                time.sleep(0.001)
    assert server.connections == 5


def test_an_interrupted_call_gives_its_connection_up(server: ScriptedServer) -> None:
    class Interrupt(BaseException):
        pass

    hold = Hold()
    server.script(hold)
    with Client(server.address) as db:
        stream = db._pool().take(time.monotonic() + 5)
        db._pool().give_back(stream)
        real = stream._sock

        class Interrupted:
            def recv_into(self, buffer: bytearray) -> int:
                assert hold.arrived.wait(5)  # else the next request might come first, and be the one that is held
                raise Interrupt

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

        stream._sock = Interrupted()  # type: ignore[assignment]
        with pytest.raises(Interrupt):
            db.put("k", 1)
        assert db.get("k", "none") == "none"
    assert server.connections == 2
    hold.release()


def test_a_call_interrupted_while_it_takes_its_connection_gives_it_up(
    server: ScriptedServer,
) -> None:
    """gevent's poll lets other greenlets run even with a timeout of 0, and one of them may kill this one."""

    class Interrupt(BaseException):
        pass

    class Interrupted:
        def poll(self, timeout: int) -> list[object]:
            raise Interrupt

    with Client(server.address, connections_max=1) as db:
        assert db.put("k", 1) == 1
        db._pool()._idle[0]._poll = Interrupted()  # type: ignore[assignment]
        with pytest.raises(Interrupt):
            db.put("k", 2)
        assert db.get("k", timeout=5) == 1
    assert server.connections == 2


def test_connections_max_is_checked() -> None:
    with pytest.raises(ConfigError, match="connections_max"):
        Client("127.0.0.1:1", connections_max=0)


def _in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child; its exit code, 0 if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections(server: ScriptedServer) -> None:
    with Client(server.address) as db:
        db.put("parent", 1)
        inherited = f"socket:[{os.fstat(db._pool()._idle[0]._sock.fileno()).st_ino}]"

        def work() -> None:
            assert db.put("child", 2) == 2
            assert inherited not in [
                os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if entry.is_symlink()
            ]

        assert _in_child(work) == 0
        assert db.get("child") == 2
        assert db.put("parent", 3) == 3
        assert server.connections == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_is_in_a_call(server: ScriptedServer) -> None:
    hold = Hold()
    server.script(hold)
    with Client(server.address) as db, ThreadPoolExecutor(1) as threads:
        call = threads.submit(db.get, "k", "none")
        assert hold.arrived.wait(5)
        with db._pool()._changed:  # held at the fork, by a thread that the child does not have
            assert _in_child(lambda: db.put("k", 1)) == 0
        hold.release()
        assert call.result(5) == 1


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, sys, time
from sherd import Client

db = Client(sys.argv[1], connections_max=4)

def work(name):
    for number in range(30):
        db.put(f"k{name}", number)
        assert db.get(f"k{name}") == number
    with db.pipeline() as p:
        for number in range(50):
            p.get(f"k{name}")
    assert p.results == [29] * 50

ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.001)

ticker = gevent.spawn(tick)
workers = [gevent.spawn(work, name) for name in range(20)]
gevent.joinall(workers, raise_error=True)
assert ticks > 5, ticks                 # nobody blocked the others
assert db.count() == 20
with gevent.Timeout(0.1, False):
    db.get("never answered", timeout=30)
    raise SystemExit("the held call came back")
assert db.get("k1") == 29               # the killed call's connection is not reused
print("done")
"""


def test_greenlets_share_a_client(server: ScriptedServer) -> None:
    execute = server.execute
    stuck = threading.Event()

    def never_answer(method: str, params: list[object]) -> object:
        if method == "get" and params[0] == b"never answered":
            stuck.wait(20)
        return execute(method, params)

    server.execute = never_answer  # type: ignore[method-assign]
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, server.address], capture_output=True, text=True, timeout=60, check=False
    )
    stuck.set()
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    assert server.connections == 4
