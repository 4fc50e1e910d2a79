"""The example units: systemd finds nothing wrong with them, and what they set are settings."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest
from support.compose_file import COMPOSE_DIR
from support.debian import debian_program
from support.role_settings import coordinator_of, proxy_of, shard_of

from sherd.common.exit_codes import LASTING

DIRECTORY = COMPOSE_DIR / "systemd"
UNITS = {
    "sherd-coordinator.service": coordinator_of,
    "sherd-shard@.service": shard_of,
    "sherd-proxy.service": proxy_of,
}
SHARD = "1"
"""The instance that has an example of its settings."""


class Options(dict):
    """An option that is given again adds to what it had."""

    def __setitem__(self, name, value):
        if isinstance(value, list) and name in self:
            value = self[name] + value
        super().__setitem__(name, value)


def service_of(unit: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False, dict_type=Options, delimiters=("=",))
    parser.optionxform = str  # as they are written
    parser.read(DIRECTORY / unit)
    return parser["Service"]


def lines_of(unit: str, name: str) -> list[str]:
    """Every value of an option, for the example's shard."""
    return service_of(unit).get(name, "").replace("%i", SHARD).split("\n")


def environ_of(unit: str) -> dict[str, str]:
    pairs = [line for line in lines_of(unit, "Environment") if line]
    for path in lines_of(unit, "EnvironmentFile"):
        assert path.startswith("/etc/sherd/")
        lines = (DIRECTORY / Path(path).name).read_text().splitlines()
        pairs += [line for line in lines if not line.startswith("#")]
    return dict(pair.split("=", 1) for pair in pairs)


def test_all_examples_are_looked_at() -> None:
    used = {Path(path).name for unit in UNITS for path in lines_of(unit, "EnvironmentFile")}
    assert {path.name for path in DIRECTORY.iterdir()} == set(UNITS) | used


@pytest.mark.parametrize("unit", UNITS)
def test_the_environment_is_settings_with_lawful_values(unit: str) -> None:
    config = UNITS[unit](environ_of(unit))
    if unit == "sherd-shard@.service":
        assert config.id == int(SHARD)
        assert Path(config.data).parent == Path("/var/lib") / service_of(unit)["StateDirectory"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_process_that_ends_is_started_again_unless_that_is_of_no_use(unit: str) -> None:
    service = service_of(unit)
    assert service["Restart"] == "always"
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} <= LASTING
    assert "StartLimitIntervalSec=0" in (DIRECTORY / unit).read_text()


def test_systemd_takes_them(tmp_path: Path) -> None:
    """With the program of this environment in place of the one that is installed on a host."""
    program = str(Path(sys.executable).with_name("sherd"))
    for unit in UNITS:
        text = (DIRECTORY / unit).read_text()
        assert "ExecStart=/opt/sherd/bin/sherd " in text
        (tmp_path / unit).write_text(text.replace("/opt/sherd/bin/sherd", program))
    paths = [str(tmp_path / unit.replace("@", f"@{SHARD}")) for unit in UNITS]
    done = subprocess.run(
        [debian_program("systemd-analyze", "systemd"), "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
