"""Turns Debian's package index into JSON Lines for ``sherd import``: a real data set every Debian machine has.

    python loadtest/debian_packages.py > packages.jsonl          # after `apt-get update`
    python loadtest/debian_packages.py --source FILE --limit N

One line a stanza: the key is ``PACKAGE=VERSION:ARCHITECTURE`` and the value the stanza's fields as a map of strings.
Without ``--source`` the stanzas come from ``apt-cache dumpavail`` or, where apt has no index, from dpkg's status file.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

STATUS = Path("/var/lib/dpkg/status")


def stanzas(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The fields of each stanza; a continuation line belongs to the field above, with its newline."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields = {}
        elif line[0] in " \t":
            fields[name] += "\n" + line
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def records(fields: Iterable[dict[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Key and value of each stanza, each key once."""
    seen = set()
    for stanza in fields:
        key = f"{stanza['Package']}={stanza.get('Version', '')}:{stanza.get('Architecture', '')}"
        if key not in seen:
            seen.add(key)
            yield key, stanza


def index_lines() -> list[str]:
    """The machine's package index, whole."""
    dump = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=False)
    text = dump.stdout if dump.returncode == 0 and dump.stdout.strip() else STATUS.read_text(encoding="utf-8")
    return text.split("\n")


def main() -> int:
    """Write the JSON Lines to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a file of stanzas in place of the machine's index")
    parser.add_argument("--limit", type=int, help="at most this many records")
    args = parser.parse_args()
    lines = args.source.read_text(encoding="utf-8").split("\n") if args.source else index_lines()
    for key, value in itertools.islice(records(stanzas(lines)), args.limit):
        sys.stdout.write(json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
