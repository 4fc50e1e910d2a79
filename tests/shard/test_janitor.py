"""The janitor as a real process: does its jobs, takes urgent ones in between, and never outlives its parent."""

import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.segment_run import install, write_segment
from support.table_run import open_table, walk

from sherd.common.disk import RealDisk
from sherd.common.errors import Corruption, Internal, StoreCorrupt, StoreFull
from sherd.common.process import ParentGone
from sherd.shard.janitor import WORK_SECONDS, Janitor
from sherd.shard.janitor_client import JanitorClient, JanitorDied
from sherd.shard.janitor_protocol import (
    HEADER_BYTES,
    MESSAGE_BYTES_MAX,
    NICE_YIELD,
    MessageBuffer,
    answer_of,
    decode_message,
    done_message,
    encode_message,
    failed_message,
    job_message,
    job_of,
    message_size,
)
from sherd.shard.lsm.format import KIND_PUT, TEMPORARY_SUFFIX, segment_name
from sherd.shard.lsm.job_types import (
    CompactJob,
    CompactResult,
    FlushJob,
    FlushResult,
    PrepareJob,
    PrepareResult,
)
from sherd.shard.lsm.options import EngineOptions

OPTIONS = EngineOptions(compression="none")
WAIT_SECONDS = 30.0
DISK = RealDisk()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[JanitorClient]:
    client = JanitorClient(str(tmp_path), OPTIONS)
    yield client
    client.stop()


def outcome(client: JanitorClient) -> tuple[int, object]:
    answer = client.collect(WAIT_SECONDS)
    assert answer is not None, "no answer in time"
    return answer


def temporaries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.endswith(TEMPORARY_SUFFIX))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        select.select([], [], [], 0.005)


def write_segments(directory: Path, count: int, values: int) -> int:
    """Segments 1 to ``count`` with ``values`` values of 10 kB each; returns the last LSN."""
    last_lsn = 0
    for number in range(1, count + 1):
        turns = [[(b"%06d" % (i * 7919 % values), KIND_PUT, 0, bytes(10_000))] for i in range(values)]
        _, last_lsn = write_segment(DISK, str(directory), number, turns, last_lsn + 1, capacity=values * 11_000)
    return last_lsn


def large_compaction(directory: Path, client: JanitorClient) -> CompactJob:
    """A compaction of some 80 MB: long enough to be met in its midst."""
    values = 4000
    write_segments(directory, 2, values)
    runs = []
    for number in (1, 2):
        first_lsn = (number - 1) * values + 1
        client.submit(FlushJob(number, "a", (number,), first_lsn, first_lsn + values - 1))
        _, result = outcome(client)
        assert isinstance(result, FlushResult)
        runs.append(install(DISK, str(directory), result, 100 + number, 0))
    return CompactJob(50, "a", tuple(runs), 1, (), 0, 1 << 30)


def test_it_flushes_prepares_and_compacts(tmp_path: Path, client: JanitorClient) -> None:
    last_lsn = write_segments(tmp_path, 1, 50)
    client.submit(FlushJob(1, "a", (1,), 1, last_lsn))
    job_id, flushed = outcome(client)
    assert job_id == 1
    assert isinstance(flushed, FlushResult)
    metas = install(DISK, str(tmp_path), flushed, 9, 0)
    client.submit(PrepareJob(2, "a", 3, 100_000, 77))
    assert outcome(client) == (2, PrepareResult(2, "a-2-0.tmp"))
    client.submit(CompactJob(3, "a", (metas,), 1, (), 0, 1 << 20))
    job_id, compacted = outcome(client)
    assert isinstance(compacted, CompactResult)
    table = open_table(DISK, f"{tmp_path}/{compacted.tables[0].temporary}")
    assert len(walk(table.cursor())) == 50
    table.close()
    assert temporaries(tmp_path) == ["a-2-0.tmp", "a-3-0.tmp"]


def test_errors_come_back_as_what_they_were(tmp_path: Path, client: JanitorClient) -> None:
    last_lsn = write_segments(tmp_path, 1, 5)
    client.submit(FlushJob(1, "a", (1,), 1, last_lsn + 1))
    job_id, error = outcome(client)
    assert job_id == 1
    assert isinstance(error, Corruption)
    assert segment_name(1) in str(error)
    client.submit(FlushJob(2, "a", (8,), 1, last_lsn))
    _, error = outcome(client)
    assert isinstance(error, FileNotFoundError)
    (tmp_path / "a-3-0.tmp").touch()
    client.submit(FlushJob(3, "a", (1,), 1, last_lsn))
    _, error = outcome(client)
    assert isinstance(error, FileExistsError)
    client.submit(PrepareJob(4, "a", 3, 1 << 60, 77))
    _, error = outcome(client)
    assert isinstance(error, (StoreFull, OSError))
    assert temporaries(tmp_path) == ["a-3-0.tmp"]
    client.submit(FlushJob(5, "a", (1,), 1, last_lsn))
    assert isinstance(outcome(client)[1], FlushResult), "it lives on after failed jobs"


def test_what_writers_wait_for_runs_inside_a_compaction(tmp_path: Path, client: JanitorClient) -> None:
    compaction = large_compaction(tmp_path, client)
    client.submit(compaction)
    client.submit(CompactJob(51, "a", compaction.sources[:1], 1, (), 0, 1 << 30))
    client.submit(PrepareJob(52, "a", 9, 100_000, 77))
    client.submit(FlushJob(53, "a", (1,), 1, 4000))
    assert [outcome(client)[0] for _ in range(4)] == [52, 53, 50, 51]


def test_its_niceness_follows_the_parent(tmp_path: Path, client: JanitorClient) -> None:
    base = os.getpriority(os.PRIO_PROCESS, 0)
    client.start()
    assert client.pid is not None
    pid = client.pid
    client.submit(PrepareJob(1, "a", 9, 1000, 1))
    outcome(client)
    movable = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20 - base
    for number, nice in enumerate((10, NICE_YIELD, 3, NICE_YIELD, 0), 2):
        client.set_pace(nice)
        client.submit(PrepareJob(number, "a", 9, 1000, 1))
        outcome(client)
        assert (os.sched_getscheduler(pid) == os.SCHED_IDLE) == (movable and nice == NICE_YIELD)
        if nice < NICE_YIELD:
            found = os.getpriority(os.PRIO_PROCESS, pid)
            assert found == base + nice if movable else found in (base, base + 1)


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody collected has)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] in ("Z", "X")


PARENT = """
import os, sys
from sherd.shard.janitor_client import JanitorClient
from sherd.shard.lsm.job_types import PrepareJob
from sherd.shard.lsm.options import EngineOptions
client = JanitorClient(sys.argv[1], EngineOptions())
client.submit(PrepareJob(1, "a", 9, 1000, 1))
assert client.collect(30) is not None
print(client.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_it_dies_with_a_killed_parent(tmp_path: Path, stopped: bool) -> None:  # FAULTS 27, 33
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        assert not gone(pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: gone(pid))
    finally:
        parent.kill()
        parent.stdin.close()
        parent.stdout.close()
        parent.wait()


def test_stopping_it_in_a_compaction_leaves_no_temporary(tmp_path: Path, client: JanitorClient) -> None:
    compaction = large_compaction(tmp_path, client)
    client.submit(compaction)
    wait_until(lambda: temporaries(tmp_path) == ["a-50-0.tmp"])
    client.stop()
    assert temporaries(tmp_path) == []


def test_a_killed_janitor_is_reported_and_another_does_the_job(tmp_path: Path, client: JanitorClient) -> None:
    compaction = large_compaction(tmp_path, client)  # FAULTS 33
    client.submit(compaction)
    wait_until(lambda: temporaries(tmp_path) == ["a-50-0.tmp"])
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    with pytest.raises(JanitorDied):
        client.collect(WAIT_SECONDS)
    assert client.pid is None
    client.submit(CompactJob(60, "a", compaction.sources, 1, (), 0, 1 << 30))
    job_id, result = outcome(client)
    assert job_id == 60
    assert isinstance(result, CompactResult)


def test_it_ends_when_another_process_has_become_its_parent(tmp_path: Path) -> None:
    requests, results = os.pipe(), os.pipe()
    janitor = Janitor(str(tmp_path), DISK, OPTIONS, requests[0], results[1], os.getppid() + 1_000_000)
    with pytest.raises(ParentGone):
        janitor._pause()
    os.close(requests[1])
    with pytest.raises(ParentGone):
        janitor.serve()
    os.close(results[0])
    with pytest.raises(ParentGone):
        janitor._run(PrepareJob(1, "a", 9, 1000, 1))
    os.close(requests[0])
    os.close(results[1])


@pytest.mark.parametrize(("rest_us", "least", "most"), [(60, 20, 1000), (0, 0, 5)])
def test_it_rests_between_stretches_of_work_unless_writers_wait(
    tmp_path: Path, rest_us: int, least: int, most: int
) -> None:
    """Counted are the times that the process gave up the processor of its own accord, in 20 ms and more of work."""
    requests, results = os.pipe(), os.pipe()
    janitor = Janitor(str(tmp_path), DISK, OPTIONS, requests[0], results[1], os.getppid())
    janitor.set_pace(0, rest_us)
    worked = time.process_time()
    rests = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    while time.process_time() - worked < 100 * WORK_SECONDS:
        janitor._pause()
    rests = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - rests
    assert least <= rests <= most
    for fd in (*requests, *results):
        os.close(fd)


def test_a_janitor_of_a_dead_parent_does_not_start(tmp_path: Path) -> None:
    client = JanitorClient(str(tmp_path), OPTIONS)
    from sherd.shard.janitor_protocol import janitor_command

    command = janitor_command(str(tmp_path), OPTIONS, os.getpid() + 1_000_000)
    ended = subprocess.run(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, timeout=WAIT_SECONDS, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"")
    client.stop()


def test_a_client_can_be_used_from_another_thread_while_that_lives(tmp_path: Path, client: JanitorClient) -> None:
    found: list[tuple[int, object]] = []

    def work() -> None:
        client.submit(PrepareJob(1, "a", 9, 1000, 1))
        found.append(outcome(client))
        client.stop()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(WAIT_SECONDS)
    assert found == [(1, PrepareResult(1, "a-1-0.tmp"))]


@given(st.lists(st.integers(1, 60)), st.lists(st.binary(max_size=40), max_size=6))
def test_messages_come_through_however_they_are_cut(cuts: list[int], payloads: list[bytes]) -> None:
    stream = b"".join(encode_message(["m", payload]) for payload in payloads)
    buffer = MessageBuffer()
    found = []
    pieces = [*cuts, len(stream)]
    for size in pieces:
        buffer.feed(stream[:size])
        stream = stream[size:]
        while (message := buffer.next()) is not None:
            found.append(message)
    assert found == [["m", payload] for payload in payloads]


def test_messages_that_are_none_are_refused() -> None:
    for body in (b"\xc0", b"\x90", b"\x01", b"\x80"):
        with pytest.raises(ValueError, match="message"):
            decode_message(body)
    for header in (b"", bytes(HEADER_BYTES - 1), (MESSAGE_BYTES_MAX + 1).to_bytes(HEADER_BYTES, "little")):
        with pytest.raises(ValueError, match="header"):
            message_size(header)
    with pytest.raises(ValueError, match="kind"):
        answer_of(["other"])


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (Corruption("x offset 5"), Corruption),
        (StoreCorrupt("gone"), StoreCorrupt),
        (StoreFull("no room"), StoreFull),
        (OSError(5, "io"), OSError),
        (ZeroDivisionError("bug"), Internal),
    ],
)
def test_errors_cross_the_pipe(error: Exception, seen: type[Exception]) -> None:
    job_id, found = answer_of(decode_message(encode_message(failed_message(7, error))[HEADER_BYTES:]))
    assert job_id == 7
    assert type(found) is seen
    assert isinstance(found, Exception)
    assert str(error) in str(found)


def test_jobs_and_results_cross_the_pipe() -> None:
    job = PrepareJob(1, "a", 2, 3, 2**64 - 1)
    assert job_of(decode_message(encode_message(job_message(job))[HEADER_BYTES:])) == job
    result = PrepareResult(1, "name")
    assert answer_of(decode_message(encode_message(done_message(result))[HEADER_BYTES:])) == (1, result)
