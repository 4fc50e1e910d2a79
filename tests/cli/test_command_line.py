"""The command line itself: help, version, options, errors; no server is needed."""

import subprocess
import sys

import click
import pytest

from sherd import __version__
from sherd.cli.main import COMMANDS, sherd
from sherd.cli.settings import SECTIONS
from sherd.common.setting import settings_of

pytestmark = pytest.mark.core


def test_version(command):
    assert command("--version").out.decode() == f"sherd {__version__}\n"


def test_help_names_every_command(command):
    text = command("--help").out.decode()
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_has_help(command, name):
    found = sherd.get_command(click.Context(sherd), name)
    assert found is not None
    assert found.name == name
    assert command(name, "--help").code == 0


@pytest.mark.parametrize("name", ["up", "shard", "proxy"])
def test_process_commands_take_every_setting_of_their_sections(name):
    sections = {"up": ["cluster", "engine", "limits", "bounds"], "shard": ["shard", "engine", "limits"]}.get(
        name, ["proxy", "limits", "bounds"]
    )
    parameters = sherd.get_command(click.Context(sherd), name).params
    options = {option for parameter in parameters for option in parameter.opts}
    for section in sections:
        assert {setting.flag for setting in settings_of(section, SECTIONS[section])} <= options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--shards", "none"), "--shards: must be a whole number, not 'none'"),
        (("up", "--fsync", "never"), "fsync policy must be always"),
        (("up", "--followers", "9"), "followers must be 0 to 8, not 9"),
        (("up", "--http", "127.0.0.1:7780"), "not available in this version"),
        (("up", "--partition", "both"), "--partition: must be hash or range"),
        (("up", "--config", "/no/such/file.toml"), "/no/such/file.toml: No such file"),
        (("coordinator",), "name its members with --etcd-endpoints"),
        (("coordinator", "--etcd-endpoints=http://127.0.0.1:1", "--listen=0.0.0.0:7790"), "say with --advertise"),
        (("shard", "--id=1", "--data=/no", "--etcd-endpoints=http://127.0.0.1:1", "--listen=[::]:1"), "--advertise"),
        (("get", "a", "--connect", "host:port"), "the port 'port'"),
        (("get", "a", "--data", "/no/such/dir"), "/no/such/dir is not the directory of a Store"),
        (("import", "/no/such/file"), "/no/such/file"),
        (("dump", "/no/such/file"), "/no/such/file"),
        (("verify", "/no/such/dir"), "/no/such/dir"),
    ],
)
def test_errors_are_one_line_and_no_traceback(command, arguments, words, cluster_free):
    answer = command(*arguments)
    assert answer.code not in (0, 1)
    assert words in answer.err
    assert answer.err.count("\n") <= 2
    assert answer.out == b""


def test_bad_settings_are_usage_errors(command, monkeypatch):
    assert command("up", "--shards", "0").code == 2
    monkeypatch.setenv("SHERD_CLUSTER_SHARDZ", "1")
    answer = command("up")
    assert answer.code == 2
    assert "did you mean SHERD_CLUSTER_SHARDS" in answer.err


def test_data_commands_do_not_load_the_engine():
    probe = "import sys, sherd.cli.keys, sherd.cli.ranges; print('sherd.shard.lsm.engine' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_output_that_nobody_reads_is_no_traceback():
    command = f"{sys.executable} -m sherd.cli.main --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
