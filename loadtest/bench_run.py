"""One run of `sherd bench` for the scripts here."""

import json
import subprocess
import sys
from typing import Any


def bench(address: str, *options: str) -> dict[str, Any]:
    """Drive ``address`` with these options; the report. CalledProcessError if the generator could not."""
    command = [sys.executable, "-m", "sherd.cli.main", "bench", "--connect", address, "--json", *options]
    report: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return report
