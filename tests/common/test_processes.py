"""What a supervised process needs: dying with its parent, the ready line, exit codes, log lines."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest
from support.up_process import await_death

from sherd.common.errors import ConfigError, SherdError, StoreCorrupt, StoreFull, StoreLocked
from sherd.common.exit_codes import LASTING, ExitCode, exit_code_of
from sherd.common.logs import EventFormatter, configure_logs, event
from sherd.common.process import ParentGone, die_with_parent
from sherd.common.ready import Ready, announce_ready, announce_refusal, parse_ready

CHILD = "from sherd.common.process import die_with_parent; import sys; die_with_parent(int(sys.argv[1]))"
PARENT = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD + "; print('armed', flush=True); sys.stdin.read()"!r},
                          str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_dies_with_its_parent():  # FAULTS 27
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        await_death(child)


def test_a_parent_that_is_gone_already_is_noticed():
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "1"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert "ParentGone: the parent process 1 is gone" in done.stderr
    assert issubclass(ParentGone, SherdError)
    assert callable(die_with_parent)


@pytest.mark.parametrize(
    ("announce", "expected"),
    [
        (lambda fd: announce_ready(fd, "unix:/x"), Ready(os.getpid(), "unix:/x")),
        (lambda fd: announce_refusal(fd, "no\nroom"), Ready(os.getpid(), "", "no\nroom")),
    ],
)
def test_the_ready_line(announce, expected):
    reading, writing = os.pipe()
    announce(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert parse_ready(data) == expected


@pytest.mark.parametrize(
    "line",
    [b"", b"ready", b"[]", b"{}", b'{"pid": "1", "address": "a"}', b'{"pid": 1}', b'{"pid": 1, "address": 3}',
     b'{"pid": 1, "address": "a", "error": "b"}'],
)  # fmt: skip
def test_what_is_no_ready_line(line):
    with pytest.raises(ValueError):
        parse_ready(line)


def test_exit_codes_tell_what_a_restart_cannot_mend():
    assert exit_code_of(StoreLocked("")) in LASTING
    assert exit_code_of(StoreCorrupt("")) in LASTING
    assert exit_code_of(ConfigError("")) in LASTING
    assert exit_code_of(StoreFull("")) == ExitCode.SERVER_ERROR
    assert ExitCode.SERVER_ERROR not in LASTING


def formatted(level, message, who="", name="sherd.proxy.router", **fields):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EventFormatter(who))
    logger = logging.getLogger(name)
    logger.handlers, logger.propagate, before = [handler], False, logger.level
    logger.setLevel(logging.INFO)
    event(logger, level, message, **fields)
    logger.handlers, logger.propagate = [], True
    logger.setLevel(before)
    return stream.getvalue()


def test_a_log_line():
    line = formatted(logging.INFO, "link lost", shard=3, reason='it said "no"', empty="", path="a=b", n=1.5)
    when, rest = line.split(" ", 1)
    assert when.endswith("Z")
    assert rest == 'INFO proxy link lost shard=3 reason="it said \\"no\\"" empty="" path="a=b" n=1.5\n'


def test_a_log_line_is_one_line():
    line = formatted(logging.ERROR, "two\nlines", who="shard-3", text="three\nfour")
    assert line.count("\n") == 1
    assert " ERROR shard-3 two\\nlines text=" in line
    assert json.loads(line.rpartition("text=")[2]) == "three\nfour"
    assert formatted(logging.DEBUG, "quiet") == ""


def test_configured_logs_go_to_stderr():
    code = (
        "import logging; from sherd.common.logs import *; configure_logs('warning', 'me'); log = logging.getLogger('x')"
    )
    code += "\nlog.info('no')\nlog.warning('yes')\ntry: 1/0\nexcept Exception: log.exception('bad')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].endswith(" WARNING me yes")
    assert lines[1].endswith(" ERROR me bad")
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert callable(configure_logs)
