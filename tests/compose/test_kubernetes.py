"""The example manifests: complete, consistent with each other, and setting what exists."""

import re
from typing import Any

import pytest
import yaml
from support.compose_file import COMPOSE_DIR
from support.role_settings import coordinator_of, etcd_of, proxy_of, shard_of

from sherd.common.net.address import parse_address
from sherd.common.version import VERSION

SHARDS = 4
LOADS = ["Deployment", "StatefulSet"]
SETTINGS = {"coordinator": coordinator_of, "shard": shard_of, "proxy": proxy_of}
DIRECTORY = COMPOSE_DIR / "kubernetes"


def objects() -> list[dict[str, Any]]:
    """All that is applied for a cluster of four shards, as the comments in the files say."""
    found = []
    for path in sorted(DIRECTORY.iterdir()):
        text = path.read_text()
        copies = [text.replace("NUMBER", str(n)) for n in range(1, SHARDS + 1)] if path.stem == "shard" else [text]
        for copy in copies:
            found += yaml.safe_load_all(copy)
    return found


ALL = objects()


def of(*kinds: str) -> dict[str, dict[str, Any]]:
    found = {one["metadata"]["name"]: one for one in ALL if one["kind"] in kinds}
    assert len(found) == sum(one["kind"] in kinds for one in ALL), "a name is there twice"
    return found


def pod(load: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = load["spec"]["template"]["spec"]
    return spec


def labels(load: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = load["spec"]["template"]["metadata"]["labels"]
    return found


def container(load: dict[str, Any]) -> dict[str, Any]:
    (one,) = pod(load)["containers"]
    return dict(one)


def environ(load: dict[str, Any], number: int = 1) -> dict[str, str]:
    """What a pod's container is given, as Kubernetes makes it: pod ``number`` of its set."""
    one = container(load)
    found: dict[str, str] = {}
    for source in one["envFrom"]:
        found |= of("ConfigMap")[source["configMapRef"]["name"]]["data"]
    facts = {
        "status.podIP": "10.1.2.3",
        "metadata.name": f"{load['metadata']['name']}-{number}",
        "metadata.labels['apps.kubernetes.io/pod-index']": str(number),
    }
    for variable in one["env"]:
        value = variable["value"] if "value" in variable else facts[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
    return found


def test_there_is_one_of_each() -> None:
    assert set(of("Deployment")) == {"sherd-coordinator", "sherd-proxy"}
    assert set(of("StatefulSet")) == {f"sherd-shard-{number}" for number in range(1, SHARDS + 1)}


@pytest.mark.parametrize("name", of(*LOADS))
def test_the_environment_is_settings_with_lawful_values(name: str) -> None:
    load = of(*LOADS)[name]
    assert pod(load)["enableServiceLinks"] is False, "services' variables would be taken for settings"
    for number in range(1, load["spec"]["replicas"] + 1):
        given = environ(load, number)
        assert all(isinstance(value, str) for value in given.values())
        (role,) = container(load)["args"]
        config = SETTINGS[role](given)
        listen = parse_address(config.listen)
        assert etcd_of(given).endpoints
        assert given["SHERD_CONNECT"] == f"127.0.0.1:{listen.port}"
        assert [port["containerPort"] for port in container(load)["ports"]] == [listen.port]
        if role == "shard":
            assert (f"sherd-shard-{config.id}", config.replica) == (name, str(number))
            assert config.advertise == f"{name}-{number}.{load['spec']['serviceName']}:{listen.port}"


def test_the_pods_of_a_shard_are_its_replicas() -> None:
    shape = coordinator_of(environ(of("Deployment")["sherd-coordinator"]))
    sets = of("StatefulSet").values()
    assert shape.shards == len(sets)
    for load in sets:
        assert load["spec"]["replicas"] == (shape.followers or 0) + 1
        assert load["spec"]["ordinals"] == {"start": 1}
        assert load["spec"]["updateStrategy"] == {"type": "OnDelete"}
        (claim,) = load["spec"]["volumeClaimTemplates"]
        (mount,) = container(load)["volumeMounts"]
        assert mount["name"] == claim["metadata"]["name"]
        assert shard_of(environ(load)).data.startswith(f"{mount['mountPath']}/")


@pytest.mark.parametrize("name", of(*LOADS))
def test_one_disruption_at_a_time(name: str) -> None:
    load = of(*LOADS)[name]
    selected = load["spec"]["selector"]["matchLabels"]
    assert selected == labels(load)
    budget = of("PodDisruptionBudget")[name]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": selected}}
    if name != "sherd-proxy":
        (rule,) = pod(load)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert rule == {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": selected}}


@pytest.mark.parametrize("name", of(*LOADS))
def test_every_pod_is_watched_bounded_and_confined(name: str) -> None:
    load = of(*LOADS)[name]
    one = container(load)
    assert one["image"] == f"sherd:{VERSION}"
    for probe in ("livenessProbe", "readinessProbe"):
        assert one[probe]["exec"]["command"][:2] == ["sherd", "ping"]
        assert one[probe]["timeoutSeconds"] > 5, "shorter than the question's own deadline"
    assert one["resources"]["limits"]["memory"]
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert pod(load)["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod(load)['securityContext']['runAsUser']}:" in (COMPOSE_DIR / "Dockerfile").read_text()


@pytest.mark.parametrize("name", of("Service"))
def test_services_find_pods(name: str) -> None:
    spec = of("Service")[name]["spec"]
    found = [load for load in of(*LOADS).values() if spec["selector"].items() <= labels(load).items()]
    assert found
    for load in found:
        ports = {port["name"]: port["containerPort"] for port in container(load)["ports"]}
        assert [(ports[port["targetPort"]], port["port"]) for port in spec["ports"]] == [
            (port["port"], port["port"]) for port in spec["ports"]
        ]
    if any(load["kind"] == "StatefulSet" for load in found):
        assert spec["clusterIP"] == "None"
        assert spec["publishNotReadyAddresses"] is True
        assert {load["spec"]["serviceName"] for load in found} == {name}
