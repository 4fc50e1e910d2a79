"""docs/deployment.md: the log messages and settings that it names are those of the code."""

import re
from pathlib import Path

import pytest
from support.compose_file import COMPOSE_DIR

from sherd.cli.settings import SECTIONS
from sherd.common.exit_codes import LASTING
from sherd.common.setting import settings_of

ROOT = COMPOSE_DIR.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text()
MESSAGES = re.findall(r"^\| `([^`]+)` \| [a-z, ]+ \| [A-Z]+ \|", PAGE, re.MULTILINE)
SOURCES = [
    path.read_text() for room in ("cluster", "proxy", "shard") for path in sorted(Path(ROOT, room).rglob("*.py"))
]


def test_messages_are_found() -> None:
    assert len(MESSAGES) > 30
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_logged_so(message: str) -> None:
    assert any(f'"{message}' in text for text in SOURCES)


def test_settings_exist() -> None:
    known = {setting.variable for name, config in SECTIONS.items() for setting in settings_of(name, config)}
    named = set(re.findall(r"SHERD_[A-Z_]+", PAGE))
    assert named - known == {"SHERD_CONNECT", "SHERD_PROXY_PORT"}


def test_exit_codes_are_told() -> None:
    assert {int(code) for code in re.findall(r"\b(6\d) (?:settings|the |damage|another|a read-only)", PAGE)} == set(
        LASTING
    )


def test_the_examples_are_where_it_says() -> None:
    for name in re.findall(r"`(compose/[\w./]+)`", PAGE):
        assert (ROOT / name).exists(), name
