"""The comparison with peers: /proc, ratios and verdicts, tables, and a tiny run of the engines with Sherd alone."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOADTEST = Path(__file__).parents[2] / "loadtest"
if str(LOADTEST) not in sys.path:
    sys.path.append(str(LOADTEST))

from peers import calibration, command, cpu, generator_section, plots, quiet, report, targets  # noqa: E402
from peers.alternation import alternate, in_turns  # noqa: E402
from peers.command import parser, settings_of  # noqa: E402
from peers.engines import SherdEngine  # noqa: E402
from peers.forwarder_server import ForwarderServer  # noqa: E402
from peers.generator import BenchFailed, Load, cpu_per_request, drive, measure  # noqa: E402
from peers.not_driven import NOT_COMPARED  # noqa: E402
from peers.processes import Child, NotServing, free_ports  # noqa: E402
from peers.redis_servers import pool_yaml  # noqa: E402
from peers.rows import SHERD, Results, Row, Sample  # noqa: E402
from peers.server import Server  # noqa: E402
from peers.server_section import everyday_servers  # noqa: E402
from peers.settings import SECTIONS, Settings  # noqa: E402
from peers.standing import fill, standing  # noqa: E402
from peers.tarantool_server import TarantoolFsyncServer, TarantoolServer, call  # noqa: E402

STAT = "42 (a) name (b) S 7 42 42 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 1 0 12345 1000 200 0"


def row_of(values: dict[str, list[float]], better: str = "higher") -> Row:
    row = Row("servers", "work", "requests/s", better)  # type: ignore[arg-type]
    for subject, numbers in values.items():
        for number in numbers:
            row.add(subject, Sample(number))
    return row


# -- /proc -----------------------------------------------------------------------------------------------------------


def test_stat_is_read_behind_a_name_with_blanks_and_brackets() -> None:
    stat = cpu.Stat.parse(STAT)
    assert (stat.pid, stat.name, stat.parent) == (42, "a) name (b", 7)
    assert stat.cpu_seconds == 300 / cpu.TICKS_PER_SECOND


def test_a_process_that_is_gone_is_none_and_has_no_arguments() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert cpu.stat_of(gone.pid) is None
    assert cpu.arguments_of(gone.pid) == []


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (["python", "-P", "-m", "sherd.cli.main", "up", "--data", "x"], "supervisor"),
        (["python", "-m", "sherd.cli.main", "shard", "--id", "1"], "shard"),
        (["python", "-m", "sherd.cli.main"], "python"),
        (["python", "-m", "sherd.shard.janitor", "dir"], "janitor"),
        (["redis-server", "127.0.0.1:1"], "python"),
    ],
)
def test_roles_of_processes(arguments: list[str], role: str) -> None:
    assert cpu.role_of("python", arguments) == role


def test_processor_time_of_a_tree_is_counted_by_role() -> None:
    before = cpu.Usage.of([os.getpid()])
    stop_at = time.process_time() + 0.1
    while time.process_time() < stop_at:
        pass
    used = cpu.Usage.of([os.getpid()]).since(before)
    assert sum(used.values()) >= 0.1 - 2 / cpu.TICKS_PER_SECOND


def test_usage_adds_up_a_role_and_counts_new_processes_from_zero() -> None:
    before = cpu.Usage({1: ("shard", 5.0), 2: ("proxy", 1.0), 9: ("gone", 3.0)})
    after = cpu.Usage({1: ("shard", 6.0), 2: ("proxy", 1.5), 3: ("shard", 0.25)})
    assert after.since(before) == {"shard": 1.25, "proxy": 0.5}


def test_written_bytes_are_those_of_write_calls(tmp_path: Path) -> None:
    assert cpu.parse_io("rchar: 1\nwchar: 22\nwrite_bytes: 4096\n")["wchar"] == 22
    before = cpu.written_bytes()
    (tmp_path / "x").write_bytes(bytes(100_000))
    assert 100_000 <= cpu.written_bytes() - before < 200_000


def test_cost_per_request_has_the_generators_own_account() -> None:
    report_of_bench = {"requests": 1000, "generator_cpu_us_per_request": 1.5}
    assert cpu_per_request(report_of_bench, {"shard": 0.004}) == {"shard": 4.0, "generator": 1.5}
    assert cpu_per_request({"requests": 0}, {"shard": 0.004}) == {}


# -- Rows, ratios, verdicts ------------------------------------------------------------------------------------------


def test_rounds_alternate_and_every_other_one_is_backwards() -> None:
    assert list(in_turns(3, ["a", "b"])) == ["a", "b", "b", "a", "a", "b"]


def test_median_and_spread(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = iter([100.0, 50.0, 60.0, 120.0, 110.0, 40.0])
    row = Row("servers", "work", "requests/s")
    alternate(row, 3, [(SHERD, 1), ("peer", 2)], lambda _: Sample(next(numbers)))
    assert [sample.value for sample in row.samples[SHERD]] == [100.0, 120.0, 110.0]
    assert row.median(SHERD) == 110.0
    assert row.spread(SHERD) == pytest.approx(20 / 110)
    assert row.median("nobody") is None
    assert row.spread("nobody") == 0.0
    assert "Sherd 110, peer 50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("better", "ours", "theirs", "bound", "verdict"),
    [
        ("higher", 160.0, 100.0, 1.6, "met"),
        ("higher", 159.0, 100.0, 1.6, "not met"),
        ("lower", 100.0, 100.0, 1.0, "met"),
        ("lower", 101.0, 100.0, 1.0, "not met"),
        ("higher", 10.0, 0.0, 1.0, "not measured"),
    ],
)
def test_ratio_against_a_peer(better: str, ours: float, theirs: float, bound: float, verdict: str) -> None:
    results = Results([row_of({SHERD: [ours], "peer": [theirs]}, better)])
    assert targets.judge(targets.Target("w", "work", bound, ("peer",)), results).verdict == verdict


def test_the_best_of_several_peers_counts_and_all_have_to_be_there() -> None:
    target = targets.Target("w", "work", 1.0, ("a", "b"))
    judgement = targets.judge(target, Results([row_of({SHERD: [90.0], "a": [50.0], "b": [100.0]})]))
    assert (judgement.peer, judgement.figure, judgement.verdict) == ("b", 0.9, "not met")
    lower = targets.judge(target, Results([row_of({SHERD: [90.0], "a": [50.0], "b": [100.0]}, "lower")]))
    assert (lower.peer, lower.verdict) == ("a", "not met")
    assert targets.judge(target, Results([row_of({SHERD: [90.0], "a": [50.0]})])).verdict == "not measured"


def test_a_target_of_our_own_figure_and_one_that_was_not_measured() -> None:
    least = targets.Target("w", "work", 1000.0)
    assert targets.judge(least, Results([row_of({SHERD: [1000.0]})])).verdict == "met"
    assert targets.judge(least, Results([row_of({SHERD: [1001.0]}, "lower")])).verdict == "not met"
    assert targets.judge(least, Results([row_of({"peer": [1.0]})])).verdict == "not measured"
    assert targets.judge(least, Results()).verdict == "not measured"


# -- Report ----------------------------------------------------------------------------------------------------------


def test_page_has_every_target_rows_costs_and_the_absent() -> None:
    name = targets.request_row("set", 100, 50, 16)
    results = Results(absent={"etcd": "not installed\nmore"}, remarks=["a remark"])
    row = results.open_row("servers", name, "requests/s")
    row.add(SHERD, Sample(320_000.0, {"shard": 2.0, "idle": 0.0}))
    row.add(targets.NUTCRACKER, Sample(200_000.0, {"nutcracker": 3.0}))
    page = report.markdown(results, {"cores": 2})
    lines = page.splitlines()
    verdicts = [line for line in lines if line.endswith(("**met** |", "not met |", "not measured |"))]
    assert len(verdicts) == len(targets.TARGETS)
    assert f"| {name} | 320,000 requests/s | {targets.NUTCRACKER} | 200,000 | 1.60 | >= 1.6x | **met** |" in lines
    assert f"| {name} | requests/s | 320,000 ±0% | 200,000 ±0% (1.60x) |" in lines
    assert f"| {name} | {SHERD} | 2.0 | shard 2.0 |" in lines
    assert "- etcd: not installed" in lines
    assert "- a remark" in lines


def test_every_target_names_a_row_once_for_each_peer() -> None:
    seen = [(target.row, target.peers) for target in targets.TARGETS]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(("value", "text"), [(None, ""), (1234.5, "1,234"), (12.345, "12.3"), (0.5, "0.5")])
def test_figures(value: float | None, text: str) -> None:
    assert report.figure(value) == text


def test_results_go_to_json_with_medians() -> None:
    data = json.loads(json.dumps(row_of({SHERD: [1.0, 3.0, 2.0]}).to_json()))
    assert data["subjects"][SHERD]["median"] == 2.0
    assert data["subjects"][SHERD]["values"] == [1.0, 3.0, 2.0]


def test_plots_without_matplotlib_are_named_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    results = Results([row_of({SHERD: [1.0]})])
    assert plots.draw_plots(results, tmp_path) == []
    assert "matplotlib" in results.absent["plots"]


# -- Calibration -----------------------------------------------------------------------------------------------------


def test_file_system_is_that_of_the_longest_mount_point(tmp_path: Path) -> None:
    mounts = f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\ntmpfs {tmp_path}x ramfs rw 0 0\n"
    assert calibration.file_system(tmp_path / "a", mounts) == "tmpfs"
    assert calibration.file_system(Path("/elsewhere"), mounts) == "ext4"


def test_a_sync_that_costs_nothing_and_drift_are_told() -> None:
    drifted = "\n".join(calibration.remarks_on("tmpfs", {"sync us": 100.0}, {"sync us": 121.0}))
    assert "DRIFT" in drifted
    assert "NOT DURABLE" in drifted
    steady = "\n".join(calibration.remarks_on("ext4", {"sync us": 100.0}, {"sync us": 119.0}))
    assert "DRIFT" not in steady
    assert "NOT DURABLE" not in steady


def test_calibration_leaves_nothing_behind(tmp_path: Path) -> None:
    assert all(value > 0 for value in calibration.calibrate(tmp_path).values())
    assert list(tmp_path.iterdir()) == []


# -- Processes and servers -------------------------------------------------------------------------------------------


def test_child_that_ends_before_it_serves_is_told_with_its_log(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "print('no licence', flush=True); raise SystemExit(3)"], tmp_path, "peer")
    with pytest.raises(NotServing, match=r"(?s)peer ended with 3 .*no licence"):
        child.wait_for_line("ready")
    child.stop()


def test_child_is_found_by_its_line_and_port_and_stops_by_pid(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    script = f"import socket,time; s=socket.create_server(('127.0.0.1',{port})); print('up', 1, flush=True); s.accept()"
    child = Child([sys.executable, "-c", script], tmp_path, "peer")
    try:
        assert child.wait_for_line("up ") == "up 1"
        child.wait_for_port(port)
    finally:
        child.stop()
    assert cpu.stat_of(child.pid) is None


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5


def test_pool_of_nutcracker_names_every_server() -> None:
    lines = pool_yaml(9000, [1001, 1002]).splitlines()
    assert "  listen: 127.0.0.1:9000" in lines
    assert lines[-2:] == ["    - 127.0.0.1:1001:1", "    - 127.0.0.1:1002:1"]


def test_server_whose_program_is_missing_is_named_absent_and_others_serve(tmp_path: Path) -> None:
    class Missing(Server):
        name = "missing"
        protocol = "resp"
        programs = ("no-such-program-here",)

        def serve(self, directory: Path) -> None:
            raise AssertionError(directory)

    results = Results()
    with standing(Settings(tmp_path), results, [Missing()], "x") as serving:
        assert serving == []
    assert results.absent == {"missing": "no-such-program-here not installed"}


@pytest.mark.parametrize("kind", [TarantoolServer, TarantoolFsyncServer, ForwarderServer])
def test_a_tiny_run_of_a_peer(tmp_path: Path, kind: type[Server]) -> None:
    """Where its program is not installed, that it is named as absent is all there is to see."""
    (program,) = kind.programs
    results = Results()
    with standing(Settings(tmp_path), results, [kind()], "tiny") as serving:
        if shutil.which(program) is None:
            assert (serving, results.absent) == ([], {kind.name: f"{program} not installed"})
            return
        assert results.absent == {}
        ((_, server),) = serving
        pids = [child.pid for child in server.children]
        for value_bytes in (100, 1024, 3):
            fill(serving, 500, value_bytes)
            for workload, pipeline in (("get", 1), ("get", 64), ("set", 16)):
                server.empty_memtables()
                sample = measure(server, Load(workload, 5, pipeline, 0.2, keys=500, value_bytes=value_bytes))
                assert sample.value > 0
                assert sample.detail["missing"] == 0
    assert [cpu.stat_of(pid) for pid in pids] == [None] * len(pids)


@pytest.mark.parametrize("kind", [TarantoolServer, ForwarderServer])
def test_a_peer_whose_program_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Server]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    results = Results()
    with standing(Settings(tmp_path), results, [kind()], "x") as serving:
        assert serving == []
    assert results.absent == {kind.name: f"{kind.programs[0]} not installed"}


def test_tarantool_tells_of_keys_that_are_not_there_and_of_its_errors(tmp_path: Path) -> None:
    results = Results()
    with standing(Settings(tmp_path), results, [TarantoolServer()], "x") as serving:
        for _, server in serving:
            assert drive(server, Load("get", 2, seconds=0.1, keys=10))["missing"] > 0
            drive(server, Load("load", 2, keys=10))
            assert drive(server, Load("scan", 2, seconds=0.1, keys=10, scan_rows=5))["rows"] > 0
            assert call(server.address, "into_runs", True) == 10
            with pytest.raises(NotServing, match="no_such_function"):
                call(server.address, "no_such_function")
    assert list(results.absent) == ([] if shutil.which("tarantool") else [TarantoolServer.name])


def test_the_forwarder_outlives_clients_that_leave_or_speak_otherwise(tmp_path: Path) -> None:
    results = Results()
    with standing(Settings(tmp_path), results, [ForwarderServer()], "x") as serving:
        for _, server in serving:
            host, _, port = server.address.rpartition(":")
            with socket.create_connection((host, int(port)), 10) as client:
                client.sendall(b"HELLO 3\r\n")
                assert client.recv(100) == b""
            for _ in range(20):
                with socket.create_connection((host, int(port)), 10) as client:
                    client.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$1\r\n%d\r\n" % (i % 10) for i in range(1000)))
            with socket.create_connection((host, int(port)), 10) as client:
                for byte in b"*2\r\n$3\r\nGET\r\n$1\r\n7\r\n":
                    client.sendall(bytes((byte,)))
                assert client.recv(100) == b"$-1\r\n"
            assert drive(server, Load("get", 2, 8, seconds=0.1, keys=10))["errors"] == 0
    assert list(results.absent) == ([] if shutil.which("gcc") else [ForwarderServer.name])


def test_every_server_of_a_target_is_driven_or_named_with_the_reason() -> None:
    rows = {targets.request_row(work, 100, 50, pipeline) for work in ("set", "get") for pipeline in (1, 16, 64)}
    peers = {peer for target in targets.TARGETS if target.row in rows for peer in target.peers}
    driven = {server.name for server in everyday_servers()}
    assert peers <= driven | set(NOT_COMPARED)
    assert driven.isdisjoint(NOT_COMPARED)
    assert set(NOT_COMPARED) == {targets.VSHARD}


def test_load_becomes_options_of_the_generator() -> None:
    load = Load("set", 50, 16, 2.0, keys=10, value_bytes=100)
    assert load.arguments() == [
        *("--workload=set", "--connections=50", "--pipeline=16"),
        *("--seconds=2.0", "--keys=10", "--value-bytes=100"),
    ]


# -- The command -----------------------------------------------------------------------------------------------------


def test_options_become_settings_and_unknown_sections_are_refused(tmp_path: Path) -> None:
    options = parser().parse_args(["--only", "engines,client", "--rates", "1,2", "--no-peers"])
    settings = settings_of(options, tmp_path)
    assert settings.sections == ("engines", "client")
    assert (settings.offered_rates, settings.peers) == ((1, 2), False)
    assert settings_of(parser().parse_args([]), tmp_path) == Settings(tmp_path)
    assert set(Settings(tmp_path).sections) == set(SECTIONS)
    with pytest.raises(SystemExit):
        parser().parse_args(["--only", "nonsense"])


def test_engines_of_a_tiny_run_with_sherd_alone(tmp_path: Path) -> None:
    assert SherdEngine.absent() is None
    arguments = [sys.executable, str(LOADTEST / "peers" / "compare.py"), "--no-peers", "--rounds", "2"]
    arguments += ["--only", "engines,amplification", "--engine-keys", "2000", "--amplification-keys", "2000"]
    arguments += ["--out", str(tmp_path / "out"), "--work", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["name"]: row["subjects"] for row in document["rows"]}
    for name in (*targets.ENGINE_ROWS, "open", "scan of 1,000", "open after kill, smaller log"):
        assert len(rows[name][SHERD]["values"]) == 2, name
        assert rows[name][SHERD]["median"] > 0
    assert rows["write amplification, puts"][SHERD]["median"] > 1
    assert {"RocksDB", "LevelDB", "LMDB"} <= set(document["absent"])
    assert "not measured" in (tmp_path / "out" / "results.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# -- Quietness -------------------------------------------------------------------------------------------------------


def test_busy_seconds_leave_out_idle_waiting_and_guests() -> None:
    line = "cpu  100 20 30 5000 400 5 6 7 99 99\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert quiet.busy_seconds(line) == (100 + 20 + 30 + 5 + 6 + 7) / cpu.TICKS_PER_SECOND


def test_our_own_work_is_not_that_of_others() -> None:
    began = quiet.Watch.start()
    stop_at = time.process_time() + 0.1
    while time.process_time() < stop_at:
        pass
    assert quiet.Watch.start().own - began.own >= 0.09
    cores = os.cpu_count() or 1
    long_ago = quiet.Watch(began.at - 1000.0, began.busy - 500.0 * cores, began.own - 200.0 * cores)
    assert long_ago.others_share(100.0 * cores) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("share", "warned"), [(0.01, False), (0.3, True)])
def test_a_run_beside_busy_neighbours_says_so_before_any_figure(share: float, warned: bool) -> None:
    results = Results()
    assert quiet.quiet_remark(results) is None
    results.open_row("servers", "work", "requests/s").add(SHERD, Sample(1.0, {}, {quiet.OTHERS_SHARE: share}))
    remark = quiet.quiet_remark(results)
    assert remark is not None
    results.remarks.append(remark)
    page = report.markdown(results, {})
    assert ("**NOT QUIET" in page.partition("## Targets")[0]) == warned


def test_a_section_that_breaks_off_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_answer(settings: Settings, results: Results) -> None:
        raise BenchFailed("Sherd, get: 1 errors, first wrong value")

    def good(settings: Settings, results: Results) -> None:
        results.open_row("client", "work", "requests/s").add(SHERD, Sample(1.0))

    monkeypatch.setattr(command, "SECTION_OF", {"servers": wrong_answer, "client": good})
    results = command.run(Settings(tmp_path, sections=("servers", "client")), tmp_path / "out")
    assert results.failures == ["servers: Sherd, get: 1 errors, first wrong value"]
    assert results.row("work") is not None
    assert "## Failed" in (tmp_path / "out" / "results.md").read_text()


def test_figure_of_redis_benchmark_is_read() -> None:
    text = '"test","rps","avg_latency_ms"\n"SET","123456.79","0.005"\n'
    assert generator_section.parse_csv(text) == 123456.79
