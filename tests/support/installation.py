"""An environment with nothing in it but what pip puts there, and programs run in it as a user runs them."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.up_process import UpProcess

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Installation:
    """An environment with the wheel in it. What runs in it sees nothing of this checkout, nor of our environment."""

    folder: Path
    home: Path

    @property
    def packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8", **(extra or {})}

    def run(self, *command: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end."""
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=self.home,
            env=self.environ(environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def sherd(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """What a ``sherd`` command that succeeds prints."""
        done = self.run("sherd", *arguments, environ=environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str, *arguments: str) -> str:
        """What a program of Python prints that succeeds. It may not find modules where it runs."""
        done = self.run("python", "-P", "-c", code, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def up(self, data: Path, environ: Mapping[str, str] | None = None) -> Iterator[tuple[UpProcess, dict[str, str]]]:
        """``sherd up`` on a free port, and the fields of its ready line; stopped at the end."""
        command = [str(self.folder / "bin" / "sherd"), "up", "--data", str(data), "--listen", "127.0.0.1:0"]
        with UpProcess(command, self.environ(environ)) as process:
            yield process, process.ready()
            assert process.stop() == 0, process.log_text


def install(folder: Path, requirement: str) -> Installation:
    """A new environment with what pip installs for ``requirement``."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "venv" / "bin" / "python")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SHERD_"))}
    done = subprocess.run(
        [*command, "install", "-q", requirement], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder / "home").mkdir()
    return Installation(folder / "venv", folder / "home")
