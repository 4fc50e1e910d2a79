"""A process that samples another's memory and times reads of single keys, until its stdin ends.

    python read_watch.py HOST:PORT PID SECONDS_BETWEEN

A process of its own, so that what it measures is not its parent's garbage collector or lock. On its stdout, in the end:
``{"resident_bytes_max": N, "reads_ms": [...]}``.
"""

import json
import random
import select
import sys
import time
from pathlib import Path

from sherd import Client


def resident_bytes(pid: int) -> int:
    """VmRSS of a process: what it has in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


def main() -> None:
    address, pid, pause_seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    resident_bytes_max = 0
    reads_ms = []
    with Client(address) as db:
        while not select.select([sys.stdin], [], [], pause_seconds)[0]:
            resident_bytes_max = max(resident_bytes_max, resident_bytes(pid))
            started = time.perf_counter()
            db.get(f"k{random.randrange(1000):012}")
            reads_ms.append((time.perf_counter() - started) * 1000)
    print(json.dumps({"resident_bytes_max": resident_bytes_max, "reads_ms": reads_ms}))


if __name__ == "__main__":
    main()
