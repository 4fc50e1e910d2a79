"""Settings: their sources and order, their units, and what a wrong one is answered with."""

from pathlib import Path
from typing import get_type_hints

import pytest

from sherd.cli.reference import reference
from sherd.cli.settings import SECTIONS, sources_of
from sherd.cluster.config import ClusterConfig
from sherd.cluster.etcd.config import EtcdConfig
from sherd.common.config import Sources, changed_flags, without_settings
from sherd.common.errors import ConfigError
from sherd.common.limits import MIB, Limits
from sherd.common.setting import settings_of
from sherd.common.units import exact_bytes, format_bytes, parse_bytes, parse_seconds
from sherd.proxy.bounds import Bounds
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.options import EngineOptions

ROOT = Path(__file__).resolve().parent.parent.parent


def load(section, *, file=None, environ=None, flags=None):
    sources = Sources(
        SECTIONS,
        file=file,
        environ=environ or {},
        flags={(section, name): value for name, value in (flags or {}).items()},
    )
    return sources.load(section, SECTIONS[section])


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "sherd.toml"
        path.write_text(text)
        return str(path)

    return write


def test_later_sources_go_before_earlier_ones(config_file):
    file = config_file('[engine]\ncache_bytes = "1MiB"\nblock_bytes = 8192\nfsync = "os"')
    environ = {"SHERD_ENGINE_CACHE_BYTES": "2MiB", "SHERD_ENGINE_FSYNC": "ops:7", "UNRELATED": "x"}
    options = load("engine", file=file, environ=environ, flags={"cache_bytes": "3MiB"})
    assert (options.cache_bytes, options.fsync, options.block_bytes) == (3 * MIB, "ops:7", 8192)
    assert options.memtable_bytes == EngineOptions().memtable_bytes


def test_a_section_takes_nothing_from_others(config_file):
    file = config_file("[cluster]\nshards = 8\n[proxy]\nname = 'p'")
    assert load("cluster", file=file).shards == 8
    assert load("limits", file=file) == Limits()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[engine]\ncash_bytes = 1", "unknown setting engine.cash_bytes; did you mean cache_bytes?"),
        ("[engines]\n", r"unknown section \[engines\]; did you mean engine?"),
        ("engine = 3", "must be a table"),
        ("[engine", "not TOML"),
        ("[cluster]\nshards = 'four'", "cluster.shards: must be a whole number, not 'four'"),
        ("[cluster]\nshards = 1.5", "cluster.shards: must be a whole number, not 1.5"),
        ("[cluster]\nshards = true", "must be a whole number"),
        ("[cluster]\nsplit_at = [1]", "must be a list of strings"),
        ("[cluster]\npartition = 'both'", "must be hash or range"),
        ("[engine]\ncache_bytes = '64 MB of'", "engine.cache_bytes: .* is not a size"),
        ("[shard]\nready_fd = 3", "unknown setting shard.ready_fd"),
    ],
)
def test_a_wrong_file_is_told_by_name(config_file, text, words):
    file = config_file(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load("cluster" if "cluster" in text else "engine", file=file)
    assert "sherd.toml" in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load("engine", file=str(tmp_path / "none.toml"))


def test_a_wrong_variable_is_told_by_name():
    with pytest.raises(ConfigError, match=r"SHERD_ENGINE_CACHE_BITES.*did you mean SHERD_ENGINE_CACHE_BYTES"):
        load("engine", environ={"SHERD_ENGINE_CACHE_BITES": "1"})
    with pytest.raises(ConfigError, match="SHERD_BOUNDS_DRAIN_S: 'soon' is not a duration"):
        load("bounds", environ={"SHERD_BOUNDS_DRAIN_S": "soon"})


def test_a_wrong_flag_is_told_by_name():
    with pytest.raises(ConfigError, match="--proxies: must be a whole number"):
        load("cluster", flags={"proxies": "many"})
    with pytest.raises(ConfigError, match="--data is needed"):
        load("shard", flags={"id": "1"})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"followers": "9"}, "followers must be 0 to 8, not 9"),
        ({"acks": "all"}, "acks: must be leader or insync"),
        ({"http": "127.0.0.1:7780"}, "not available in this version: use --http off"),
        ({"shards": "0"}, "shards must be 1 to"),
        ({"proxies": "0"}, "proxies must be 1 to"),
        ({"split_at": "a,b", "partition": "hash"}, "use --partition range"),
        ({"listen": "unix:/x"}, "must be HOST:PORT"),
        ({"log_level": "loud"}, "log_level must be one of"),
    ],
)
def test_a_cluster_config_checks_itself(flags, words):
    with pytest.raises(ConfigError, match=words):
        load("cluster", flags=flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"endpoints": "10.0.0.1:2379"}, "an etcd endpoint is http://HOST:PORT"),
        ({"endpoints": "http://10.0.0.1"}, "an etcd endpoint is http://HOST:PORT"),
        ({"endpoints": "ftp://a:1"}, "an etcd endpoint is http://HOST:PORT"),
        ({"endpoints": "http://a:1/v3"}, "an etcd endpoint is http://HOST:PORT"),
        ({"endpoints": "http://a:99999"}, "etcd endpoint 'http://a:99999': Port out of range"),
        ({"endpoints": "http://a:1,https://b:1"}, "must all be http or all be https"),
        ({"endpoints": "http://a:1", "ca": "ca.pem"}, "have no meaning with http endpoints"),
        ({"endpoints": "https://a:1", "cert": "c.pem"}, "cert and key are needed together"),
        ({"user": "sherd"}, "user and password_file are needed together"),
        ({"prefix": "sherd/"}, "end with no slash"),
        ({"prefix": ""}, "prefix must be printable"),
        ({"request_seconds": "0"}, "request_seconds must be over 0"),
    ],
)
def test_an_etcd_config_checks_itself(flags, words):
    with pytest.raises(ConfigError, match=words):
        load("etcd", flags=flags)


def test_a_password_in_an_etcd_endpoint_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="holds no user or password") as caught:
        load("etcd", flags={"endpoints": "http://sherd:hunter2@a:1"})
    assert "hunter2" not in str(caught.value)


def test_flags_of_etcd_say_so():
    environ = {"SHERD_ETCD_ENDPOINTS": "http://a:1,http://[::1]:2379", "SHERD_ETCD_REQUEST_SECONDS": "500ms"}
    config = load("etcd", environ=environ)
    assert config == EtcdConfig(("http://a:1", "http://[::1]:2379"), request_seconds=0.5)
    assert changed_flags("etcd", config) == [
        "--etcd-endpoints=http://a:1,http://[::1]:2379",
        "--etcd-request-seconds=0.5",
    ]
    with pytest.raises(ConfigError, match="--etcd-silence-seconds: "):
        load("etcd", flags={"silence_seconds": "soon"})


def test_environment_settings_do_not_reach_children_twice():
    environ = {"SHERD_ENGINE_FSYNC": "os", "SHERD_INTERPRETED": "1", "SHERD_CONNECT": "x", "PATH": "/bin"}
    assert without_settings(environ, SECTIONS) == {"SHERD_INTERPRETED": "1", "SHERD_CONNECT": "x", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("section", "config"),
    [
        ("engine", EngineOptions(fsync="always", cache_bytes=3 * MIB, block_bytes=1025)),
        ("bounds", Bounds(drain_s=0.25, frame_bytes_per_s=1000.0)),
        ("limits", Limits(value_bytes_max=64 * MIB)),
        ("cluster", ClusterConfig(split_at=("a", "m"), shards=2)),
    ],
)
def test_flags_give_another_process_the_same_config(section, config):
    flags = [flag.removeprefix("--").split("=", 1) for flag in changed_flags(section, config)]
    assert load(section, flags={name.replace("-", "_"): value for name, value in flags}) == config
    assert changed_flags(section, type(config)()) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_words_and_a_class_default_that_its_text_gives_back(section):
    for setting in settings_of(section, SECTIONS[section]):
        assert setting.help, setting.name
        assert setting.help[-1] in ".:)", setting.name
        if setting.default is not None:
            assert setting.parse(setting.to_text(setting.default)) == setting.default, setting.name


def test_nested_configs_are_sections_of_their_own():
    names = {setting.name for setting in settings_of("shard", ShardConfig)}
    assert names == set(get_type_hints(ShardConfig)) - {"engine", "limits"}


def test_only_fsync_bears_on_durability():
    bearing = [s.name for section in SECTIONS for s in settings_of(section, SECTIONS[section]) if s.durability]
    assert bearing == ["fsync"]


def test_the_reference_is_current():
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), "run python -m sherd.cli.reference"


def test_flags_of_a_command_come_by_section():
    config = sources_of(None, {"cluster__shards": "3", "engine__fsync": None}).load("cluster", ClusterConfig)
    assert config.shards == 3


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("64KiB", 65536), ("1.5MiB", 1572864), ("2 GiB", 2**31), ("10MB", 10**7), ("7B", 7)],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size
    assert parse_bytes(exact_bytes(size)) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5", "64kib", "MiB", "1 2", "1e3", "0.3KiB", "\u0661KiB"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.5", 0.5), ("100ms", 0.1), ("250us", 0.00025), ("2s", 2.0), ("5min", 300.0), ("1h", 3600)]
)
def test_durations(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1d", "1 m"])
def test_what_is_no_duration(text):
    with pytest.raises(ConfigError):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**40, "3.0 TiB"), (5 * 2**50, "5120.0 TiB")],
)
def test_sizes_for_people(size, text):
    assert format_bytes(size) == text
