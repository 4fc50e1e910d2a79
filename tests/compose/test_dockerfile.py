"""The image: built from the sources and nothing else, small, by nobody's root, with every base named exactly."""

import json
import re
from pathlib import Path

import pytest
from support.compose_file import COMPOSE_DIR
from support.dockerfile import Instruction, instructions_of

from sherd.cli.main import COMMANDS

ROOT = COMPOSE_DIR.parent
FOUND = instructions_of(COMPOSE_DIR / "Dockerfile")
ROOMS = {"common", "shard", "proxy", "client", "cluster", "cli", "public"}
BUILD_FILES = {"pyproject.toml", "setup.py", "MANIFEST.in", "compiled_modules.txt", "README.md", "LICENSE"}


def named(name: str, stage: int | None = None) -> list[Instruction]:
    return [one for one in FOUND if one.name == name and stage in (None, one.stage)]


LAST = FOUND[-1].stage


def test_bases_are_named_to_the_patch_and_the_same() -> None:
    bases = {one.text.split()[0] for one in named("FROM")}
    (base,) = bases
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    python = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert python is not None
    assert int(base.split(".")[1]) >= int(python[1])


def test_the_last_stage_has_no_compiler() -> None:
    for one in named("RUN", LAST):
        assert "apt-get" not in one.text
        assert "pip" not in one.text.split()
    (copied,) = named("COPY", LAST)
    assert copied.text.split() == ["--from=builder", "/opt/sherd", "/opt/sherd"]


def test_lists_of_packages_do_not_stay() -> None:
    for one in named("RUN"):
        if "apt-get install" in one.text:
            assert "--no-install-recommends" in one.text
            assert one.text.startswith("apt-get update")
            assert one.text.endswith("rm -rf /var/lib/apt/lists/*")
        if "pip" in one.text:
            assert one.text.count("--no-cache-dir") == len(re.findall(r"pip (?:install|wheel)", one.text))


def test_it_runs_as_an_ordinary_user_of_a_fixed_number() -> None:
    (user,) = named("USER", LAST)
    uid, gid = user.text.split(":")
    assert int(uid) >= 10_000
    assert int(gid) >= 10_000
    text = " ".join(one.text for one in named("RUN", LAST))
    assert f"--uid {uid}" in text
    assert f"--gid {gid}" in text
    assert FOUND.index(user) < FOUND.index(named("ENTRYPOINT")[0])


def test_data_is_on_a_volume_of_that_user() -> None:
    ((volume,), (folder,)) = named("VOLUME"), named("WORKDIR", LAST)
    assert volume.text == folder.text == "/var/lib/sherd"
    assert any(f"install -d -o sherd -g sherd -m 0750 {volume.text}" in one.text for one in named("RUN", LAST))


def test_signals_reach_the_process_itself() -> None:
    """As process 1 it gets SIGTERM only without a shell before it."""
    assert [json.loads(one.text) for one in named("ENTRYPOINT")] == [["sherd"]]
    assert [json.loads(one.text) for one in named("CMD")] == [["--help"]]
    assert [one.text for one in named("STOPSIGNAL")] == ["SIGTERM"]
    (check,) = named("HEALTHCHECK")
    command = json.loads(check.text.partition("CMD ")[2])
    assert command[0] == "sherd"
    assert command[1] in COMMANDS


def test_nothing_secret_is_in_it() -> None:
    assert not named("ARG")
    assert not named("ADD")
    for one in FOUND:
        assert not re.search(r"password|secret|token|api_?key", one.text, re.IGNORECASE)


def test_the_context_is_what_the_wheel_is_built_from() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert let_in == ROOMS | BUILD_FILES
    assert {line for line in lines[1:] if not line.startswith("!")} == {"**/__pycache__", "**/*.so"}
    assert [one.text for one in named("COPY", 0)] == [". ."]


@pytest.mark.parametrize("name", sorted(ROOMS | BUILD_FILES))
def test_what_is_let_in_exists(name: str) -> None:
    assert Path(ROOT, name).exists()
