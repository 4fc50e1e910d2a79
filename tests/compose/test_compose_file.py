"""What compose.yaml says: settings that exist, names that agree, and nothing that a container should not have."""

import re

import pytest
from support.compose_file import COMPOSE_DIR, Service, compose_file, services
from support.dockerfile import instructions_of
from support.role_settings import coordinator_of, etcd_of, proxy_of, shard_of

from sherd.common.net.address import parse_address
from sherd.common.version import VERSION

FOUND = services()
SHERDS = {name: service for name, service in FOUND.items() if service.role != "etcd"}
SHARDS, FOLLOWERS = 4, 1
SETTINGS = {"coordinator": coordinator_of, "shard": shard_of, "proxy": proxy_of}


def of(role: str) -> list[Service]:
    return [service for service in FOUND.values() if service.role == role]


def test_there_is_one_of_each() -> None:
    replicas = [f"shard-{shard}-{replica}" for shard in range(1, SHARDS + 1) for replica in range(1, FOLLOWERS + 2)]
    wanted = {"etcd": ["etcd-1", "etcd-2", "etcd-3"], "coordinator": ["coordinator-1", "coordinator-2"]}
    wanted |= {"shard": replicas, "proxy": ["proxy-1", "proxy-2"]}
    assert {role: [service.name for service in of(role)] for role in wanted} == wanted
    assert len(FOUND) == sum(map(len, wanted.values()))


@pytest.mark.parametrize("name", SHERDS)
def test_the_environment_is_settings_with_lawful_values(name: str) -> None:
    service = SHERDS[name]
    config = SETTINGS[service.role](service.environ)
    listen = parse_address(config.listen)
    assert listen.host == "0.0.0.0"
    assert service.environ["SHERD_CONNECT"] == f"127.0.0.1:{listen.port}", "the health check asks another port"
    if service.role != "proxy":
        assert config.advertise == f"{name}:{listen.port}"
    if service.role != "shard":
        assert config.name == name


def test_all_have_the_same_etcd() -> None:
    configs = {etcd_of(service.environ) for service in SHERDS.values()}
    (config,) = configs
    assert config.endpoints == tuple(f"http://{service.name}:2379" for service in of("etcd"))


def test_the_members_of_etcd_agree() -> None:
    cluster = ",".join(f"{service.name}=http://{service.name}:2380" for service in of("etcd"))
    for service in of("etcd"):
        assert service.environ["ETCD_NAME"] == service.name
        assert service.environ["ETCD_INITIAL_CLUSTER"] == cluster
        assert service.environ["ETCD_ADVERTISE_CLIENT_URLS"] == f"http://{service.name}:2379"
        assert service.environ["ETCD_INITIAL_ADVERTISE_PEER_URLS"] == f"http://{service.name}:2380"
        assert service.environ["ETCD_DATA_DIR"] in service.volumes


def test_each_replica_is_there_once() -> None:
    found = [(config.id, config.replica) for config in (shard_of(service.environ) for service in of("shard"))]
    assert sorted(found) == [(shard, str(one)) for shard in range(1, SHARDS + 1) for one in range(1, FOLLOWERS + 2)]
    for service in of("shard"):
        config = shard_of(service.environ)
        assert service.name == f"shard-{config.id}-{config.replica}"
        (target,) = service.volumes
        assert config.data.startswith(f"{target}/"), "what is not on its volume is lost with the container"
    for service in of("coordinator"):
        shape = coordinator_of(service.environ)
        assert (shape.shards, shape.followers) == (SHARDS, FOLLOWERS)


def test_volumes_belong_to_one_service_each() -> None:
    used = [source for service in FOUND.values() for source in service.volumes.values()]
    assert sorted(used) == sorted(compose_file()["volumes"])


def test_clients_reach_the_proxies_from_this_host_alone() -> None:
    published = {service.name: service.ports for service in FOUND.values() if service.ports}
    assert published == {"proxy-1": [("127.0.0.1", 7700, 7700)], "proxy-2": [("127.0.0.1", 7701, 7700)]}
    for service in of("proxy"):
        assert parse_address(proxy_of(service.environ).listen).port == service.ports[0][2]


@pytest.mark.parametrize("name", FOUND)
def test_every_service_is_watched_bounded_and_confined(name: str) -> None:
    fields = FOUND[name].fields
    assert fields["restart"] == "unless-stopped"
    assert fields["cap_drop"] == ["ALL"]
    assert fields["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", fields["mem_limit"])
    assert re.fullmatch(r"\d+s", fields["stop_grace_period"])
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(fields["healthcheck"])
    assert not {"privileged", "network_mode", "container_name", "user"} & set(fields)
    assert "latest" not in fields["image"]
    assert re.search(r":v?\d+\.\d+\.\d+$", fields["image"])


def test_who_waits_for_whom() -> None:
    before = {"etcd": [], "coordinator": of("etcd"), "shard": of("coordinator"), "proxy": of("shard")}
    for service in FOUND.values():
        assert service.depends_on == {other.name: "service_healthy" for other in before[service.role]}


def test_memory_holds_what_the_settings_allow() -> None:
    for service in of("shard"):
        engine = shard_of(service.environ).engine
        assert 3 * engine.memtable_bytes + engine.cache_bytes <= bytes_of(service.fields["mem_limit"]) / 2


def bytes_of(text: str) -> int:
    return int(text[:-1]) << {"m": 20, "g": 30}[text[-1]]


def test_the_image_is_of_this_version() -> None:
    assert {service.fields["image"] for service in SHERDS.values()} == {f"sherd:{VERSION}"}
    for service in SHERDS.values():
        build = service.fields["build"]
        assert (COMPOSE_DIR / build["context"] / build["dockerfile"]).resolve() == COMPOSE_DIR / "Dockerfile"
    labels = next(one.text for one in instructions_of(COMPOSE_DIR / "Dockerfile") if one.name == "LABEL")
    assert f'image.version="{VERSION}"' in labels
