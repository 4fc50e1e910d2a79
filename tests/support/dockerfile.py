"""A Dockerfile's instructions, with continued lines joined."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """Such as ``USER`` with the text after it, in the ``stage`` of that number."""

    stage: int
    name: str
    text: str


def instructions_of(path: Path) -> list[Instruction]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found, stage = [], -1
    for line in filter(None, joined.splitlines()):
        name, _, text = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, text.strip()))
    return found


def entrypoint_of(path: Path) -> list[str]:
    """The last stage's."""
    last = [one.text for one in instructions_of(path) if one.name == "ENTRYPOINT"][-1]
    words: list[str] = json.loads(last)
    return words
