"""A child process for the supervisor's tests, with the flags of a real one and the life that a file prescribes.

Run as ``python fake_child.py KIND SCRIPT_DIR flags...``. It appends ``start TERM`` to ``SCRIPT_DIR/<name>.log``, TERM
being what the topology gives it, then does what ``SCRIPT_DIR/<name>`` says:

    serve         tell that it serves, end with 0 on SIGTERM (the default without a file)
    stubborn      serve, and ignore SIGTERM
    hang          say nothing, until SIGTERM
    exit CODE     end before it serves
    refuse CODE   tell why it does not serve, and end
    brief CODE    serve, then end
"""

import json
import os
import signal
import sys

from sherd.common.disk import RealDisk
from sherd.common.exit_codes import ExitCode
from sherd.common.process import die_with_parent
from sherd.common.ready import announce_ready, announce_refusal
from sherd.common.topology.file import read_topology
from sherd.common.types import ShardId


def main() -> int:
    kind, script_dir, *rest = sys.argv[1:]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in rest)
    die_with_parent(int(flags["parent-pid"]))
    name = flags.get("name") or f"{kind}-{flags['id']}"
    # Waited for, not handled: a handler that sets an Event can come while the Event is being waited for, and deadlock.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    topology = read_topology(RealDisk(), flags["topology"])
    term = topology.shards[ShardId(int(flags["id"]))].term if "id" in flags else 0
    with open(os.path.join(script_dir, f"{name}.log"), "a") as log:
        log.write(json.dumps({"pid": os.getpid(), "term": term, "flags": flags}) + "\n")
    try:
        with open(os.path.join(script_dir, name)) as script:
            verb, *arguments = script.read().split()
    except FileNotFoundError:
        verb, arguments = "serve", []
    ready_fd = int(flags["ready-fd"])
    if verb == "exit":
        return int(arguments[0])
    if verb == "refuse":
        announce_refusal(ready_fd, f"{name} has been told to refuse")
        return int(arguments[0])
    if verb != "hang":
        announce_ready(ready_fd, flags["listen"])
    if verb == "brief":
        return int(arguments[0])
    while signal.sigwait({signal.SIGTERM}) and verb == "stubborn":
        pass
    with open(os.path.join(script_dir, "stops.log"), "a") as log:
        log.write(name + "\n")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
