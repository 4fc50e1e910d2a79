"""Engine settings and fsync policies: what is accepted, and what is refused at start."""

import pytest

from sherd.common.errors import ConfigError
from sherd.shard.lsm.options import EngineOptions, FsyncPolicy

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("always", FsyncPolicy("always")),
        ("os", FsyncPolicy("os")),
        ("ops:1", FsyncPolicy("ops", ops=1)),
        ("ops:500", FsyncPolicy("ops", ops=500)),
        ("interval:100ms", FsyncPolicy("interval", interval_seconds=0.1)),
        ("interval:1s", FsyncPolicy("interval", interval_seconds=1.0)),
        ("interval:2500us", FsyncPolicy("interval", interval_seconds=0.0025)),
    ],
)
def test_policies(text: str, policy: FsyncPolicy) -> None:
    assert FsyncPolicy.parse(text) == policy
    assert EngineOptions(fsync=text).fsync_policy == policy


@pytest.mark.parametrize(
    "text",
    ["", "never", "ops", "ops:0", "ops:-1", "interval:0s", "interval:1", "interval:1m", "always ", "interval:2h"],
)
def test_wrong_policies(text: str) -> None:
    with pytest.raises(ConfigError, match=r"fsync|ops|interval"):
        EngineOptions(fsync=text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"memtable_bytes": 0},
        {"memtable_bytes": 1.5},
        {"cache_bytes": -1},
        {"compression": "gzip"},
        {"compression": "zstd:0"},
        {"compression": "zstd:99"},
        {"level0_tables_compact": 9, "level0_tables_slow": 8},
        {"level0_tables_slow": 32},
        {"pending_bytes_slow": 1 << 40},
        {"open_files_max": True},
    ],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EngineOptions(**wrong)  # type: ignore[arg-type]


def test_compressions() -> None:
    for text in ("none", "lz4", "zstd", "zstd:1", "zstd:19"):
        assert EngineOptions(compression=text).compression == text
