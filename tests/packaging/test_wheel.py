"""What pip installs: the wheel alone in an empty environment is the whole product, compiled and interpreted."""

import ast
import json
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from support.installation import Installation

ROOT = Path(__file__).resolve().parent.parent.parent
READY_FIELDS = ["listen", "http", "shards", "followers", "partition", "fsync", "compiled"]
INTERPRETED = {"SHERD_INTERPRETED": "1"}

MODULES = [
    line for line in (ROOT / "compiled_modules.txt").read_text().splitlines() if line and not line.startswith("#")
]

HOT_CLASSES = {
    "sherd.cli.bench.generator": {"Generator"},
    "sherd.common.topology.token_map": {"TokenMap"},
    "sherd.common.wire.requests": {"RequestReader"},
    "sherd.common.wire.scanner": {"Scanner"},
    "sherd.proxy.link": {"Link"},
    "sherd.proxy.merge": {"Merge", "Run"},
    "sherd.proxy.pending": {"Pending", "Forward"},
    "sherd.proxy.router": {"Router"},
    "sherd.proxy.session": {"Session"},
    "sherd.shard.lsm.block": {"Block"},
    "sherd.shard.lsm.engine": {"Engine"},
    "sherd.shard.lsm.engine_core": {"EngineCore"},
    "sherd.shard.lsm.memtable": {"Memtable"},
    "sherd.shard.lsm.table": {"Table"},
    "sherd.shard.replies": {"ReplyGate"},
    "sherd.shard.service": {"ShardService", "ServiceConnection"},
}
"""Those that carry the load: were one of them no longer compiled, everything would still work, slowly."""


def extension_classes(module: str) -> set[str]:
    """The classes that a module's source declares as extension types."""
    source = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text()
    return {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(mark) == "cython.cclass" for mark in node.decorator_list)
    }


def test_metadata(wheel_files: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel_files.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(wheel_files.read(name).decode())
    assert metadata["Name"] == "sherd"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "interpreted" in metadata.get_all("Provides-Extra", [])
    assert name.replace("METADATA", "licenses/LICENSE") in wheel_files.namelist()


def test_contents(wheel_files: zipfile.ZipFile) -> None:
    names = wheel_files.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"sherd"}
    assert "sherd/py.typed" in names
    assert not [name for name in names if name.endswith((".c", ".cpp", ".h", ".html", ".pyc"))]
    assert not [name for name in names if "test_" in name or "/tests/" in name or "conftest" in name]
    compiled = {name.partition(".")[0].replace("/", ".") for name in names if name.endswith(".so")}
    assert compiled == set(MODULES)
    sources = {name for name in names if name.endswith(".py")}
    expected = {
        "sherd/" + path.relative_to(ROOT).as_posix().removeprefix("public/")
        for room in ("common", "shard", "proxy", "client", "cluster", "cli", "public")
        for path in (ROOT / room).rglob("*.py")
    }
    assert sources == expected


def test_the_package_is_found_in_the_environment(installed: Installation) -> None:
    code = """
import sherd
from sherd import Client, AsyncClient, Store
assert {"Client", "AsyncClient", "Store", "connect", "Conflict"} <= set(sherd.__all__)
print(sherd.__file__)
"""
    file = Path(installed.python(code).strip())
    assert file == installed.packages / "sherd" / "__init__.py"
    assert file.with_name("py.typed").is_file()


def test_the_hot_modules_are_extensions(installed: Installation) -> None:
    code = """
import importlib, json, sys
wanted = json.loads(sys.argv[1])
found = {}
for module, classes in wanted.items():
    loaded = importlib.import_module(module)
    heap = [name for name in classes if getattr(loaded, name).__flags__ & (1 << 9)]
    found[module] = [loaded.__file__, heap]
print(json.dumps(found))
"""
    wanted = {module: sorted(extension_classes(module)) for module in MODULES}
    for module, hot in HOT_CLASSES.items():
        assert hot <= set(wanted[module]), module
    for module, (file, heap_types) in json.loads(installed.python(code, json.dumps(wanted))).items():
        assert file.endswith(".so"), module
        assert installed.packages in Path(file).parents, module
        assert heap_types == [], f"{module}: a .pxd was not found when it was compiled"


def test_an_embedded_store(installed: Installation, tmp_path: Path) -> None:
    code = """
import sys
from sherd import Store
with Store.open(sys.argv[1]) as db:
    print(db.get("k"), db.put("k", [1, 2]) > 0, db.get("k"))
"""
    assert installed.python(code, str(tmp_path / "data")) == "None True [1, 2]\n"
    assert installed.python(code, str(tmp_path / "data")) == "[1, 2] True [1, 2]\n"


def test_a_cluster(installed: Installation, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with installed.up(data) as (_, ready):
        assert list(ready) == READY_FIELDS
        assert ready == {
            "listen": ready["listen"], "http": "off", "shards": "4", "followers": "1",
            "partition": "hash", "fsync": "interval:100ms", "compiled": "yes",
        }  # fmt: skip
        connect = f"--connect={ready['listen']}"
        for key in ("b", "a", "c"):
            installed.sherd("put", connect, key, f"value of {key}")
        assert installed.sherd("get", connect, "a") == "value of a"
        rows = [json.loads(line) for line in installed.sherd("scan", connect).splitlines()]
        assert rows == [{"key": key, "value": f"value of {key}"} for key in "abc"]
        status = json.loads(installed.sherd("status", connect, "--json"))
        assert status["compiled"] is True
        assert [shard["id"] for shard in status["shards"]] == [1, 2, 3, 4]
    with installed.up(data) as (_, ready):
        assert installed.sherd("get", f"--connect={ready['listen']}", "b") == "value of b"
        assert installed.sherd("count", f"--connect={ready['listen']}") == "3\n"


def test_a_cluster_of_the_interpreted_sources(interpreted: Installation, tmp_path: Path) -> None:
    with interpreted.up(tmp_path / "data", INTERPRETED) as (_, ready):
        assert ready["compiled"] == "no"
        connect = f"--connect={ready['listen']}"
        interpreted.sherd("put", connect, "k", "v", environ=INTERPRETED)
        assert interpreted.sherd("get", connect, "k", environ=INTERPRETED) == "v"
        assert json.loads(interpreted.sherd("status", connect, "--json"))["compiled"] is False
    with interpreted.up(tmp_path / "data") as (_, ready):
        assert ready["compiled"] == "yes"
        assert interpreted.sherd("get", f"--connect={ready['listen']}", "k") == "v"


@pytest.mark.parametrize("arguments", [["get", "k"], ["up"]])
def test_interpreted_without_cython_says_what_is_missing(installed: Installation, arguments: list[str]) -> None:
    done = installed.run("sherd", *arguments, environ=INTERPRETED)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "sherd[interpreted]" in done.stderr
