"""deploy/kubernetes says of every room what `make up` says: no cluster is at hand to try it."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.launcher import certificates
from services.launcher.__main__ import main
from services.launcher.plan import ROOMS, Room

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
KNOWN = set((FOLDER.parents[1] / "services" / "settings.txt").read_text().split())
VERSIONS = {
    "Namespace": "v1",
    "ConfigMap": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "NetworkPolicy": "networking.k8s.io/v1",
}


@functools.cache
def documents() -> list[dict[str, Any]]:
    return [one for name in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((FOLDER / name).read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in documents() if one["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")
OURS = {
    (name, container["name"]): container
    for name, deployment in DEPLOYMENTS.items()
    for container in (
        *deployment["spec"]["template"]["spec"]["containers"],
        *deployment["spec"]["template"]["spec"].get("initContainers", ()),
    )
    if container["image"] == "perpmesh"
}


def test_every_file_is_listed_and_every_kind_has_its_version() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}
    for one in documents():
        assert one["apiVersion"] == VERSIONS[one["kind"]], one["metadata"]["name"]


@pytest.mark.parametrize("key", sorted(OURS))
def test_containers_of_ours_run_what_exists_with_settings_that_exist(key: tuple[str, str]) -> None:
    container = OURS[key]
    python, flag, module, *_ = container["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None
    names = {one["name"] for one in container["env"]}
    names |= set(of_kind("ConfigMap")["mesh"]["data"]) if "envFrom" in container else set()
    assert names <= KNOWN
    assert not [one for one in container["env"] if "SECRET" in one["name"] and not one["name"].endswith("_FILE")]


def test_services_probes_budgets_and_policies_meet_the_pods_they_speak_of() -> None:
    for name, deployment in DEPLOYMENTS.items():
        spec = deployment["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        pod = spec["template"]["spec"]
        ports = {port["name"]: port["containerPort"] for one in pod["containers"] for port in one["ports"]}
        service = of_kind("Service")[name]["spec"]
        assert service["selector"].items() <= labels.items()
        for port in service["ports"]:
            assert port.get("targetPort", port["port"]) in {*ports, *ports.values()}
        for container in pod["containers"]:
            for probe in ("readinessProbe", "livenessProbe"):
                assert next(iter(container[probe].values()))["port"] in ports
        secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert secrets <= {one["name"] for one in KUSTOMIZATION["secretGenerator"]}
        if labels.get("part") == "room":
            assert service["clusterIP"] == "None"
            assert name in of_kind("PodDisruptionBudget")
            room = next(room for room in ROOMS if room.name.replace("_", "-") == name)
            assert room.scales == (spec["replicas"] > 1)
    for policy in of_kind("NetworkPolicy").values():
        assert any(selects(policy["spec"]["podSelector"], labels) for labels in LABELS.values())
    for scaler in of_kind("HorizontalPodAutoscaler").values():
        assert scaler["spec"]["scaleTargetRef"]["name"] in DEPLOYMENTS


LABELS = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in DEPLOYMENTS.items()}
WEB, KEYS, SIGNER, FIGURES, CACHE, DATABASE = 443, 7103, 7204, 9100, 6379, 5432


def named(room: str) -> str:
    return room.replace("_", "-")


def given(room: Room) -> dict[str, str]:
    """The variables of a room's container that stand in its file."""
    return {one["name"]: one.get("value", "") for one in OURS[named(room.name), named(room.name)]["env"]}


def port_of(room: str) -> int:
    found = next(one for one in ROOMS if one.name == room)
    return int(given(found)["PERPMESH_LISTEN"].rpartition(":")[2])


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_room_runs_here_with_what_the_plan_would_give_it(room: Room) -> None:
    mine, name = given(room), named(room.name)
    mesh = of_kind("ConfigMap")["mesh"]["data"]
    folder = Path("/certificates")
    assert mine["PERPMESH_TLS_CERT"] == str(certificates.cert_of(folder, room.name))
    assert mine["PERPMESH_TLS_KEY"] == str(certificates.key_of(folder, room.name))
    assert mesh["PERPMESH_TLS_CA"] == str(folder / certificates.AUTHORITY)
    callers = ["edge", *(one.name for one in ROOMS if room.name in one.peers)]
    assert sorted(mine["PERPMESH_CALLERS"].split(",")) == sorted(callers)
    assert mesh["PERPMESH_AUTH_URL"] == f"http://auth:{KEYS}"
    for peer, variable in room.peers.items():
        part, _, listener = peer.partition(".")
        port = SIGNER if listener else port_of(part)
        assert mine[variable] == f"{named(part)}:{port}"
    assert all(f"{variable}_FILE" in mine for variable in room.secrets.values())
    assert not room.keeps_master_keys or "PERPMESH_VAULT_MASTER_KEY_FILE" in mine
    assert room.uses_valkey == ("PERPMESH_VALKEY_URL_FILE" in mine)
    keeps = room.uses_postgres or room.needs_postgres
    assert keeps == ("PERPMESH_POSTGRES_URL_FILE" in mine)
    if keeps:
        assert OURS[name, "migrate"]["command"][-1] == room.name
    files = {one["name"]: one["files"] for one in KUSTOMIZATION["secretGenerator"]}
    wanted = {Path(value).name for key, value in mine.items() if key.endswith("_FILE")}
    assert {Path(one).name for one in files[name]} == wanted
    assert len(files[f"{name}-tls"]) == 3
    if room.answers_for_all:
        assert mine["PERPMESH_DESCRIBED_SERVICES"].split(",") == [one for each in ROOMS for one in each.services]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a pod selector takes a pod of these labels: what Kubernetes says of matchLabels and of In."""
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def opens(way: str, mine: str, other: str, port: int) -> bool:
    """Whether some policy of the pod `mine` lets it talk with the pod `other` in one direction, at a port."""
    side = "from" if way == "ingress" else "to"
    rules = [
        rule
        for policy in of_kind("NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], LABELS[mine])
        for rule in policy["spec"].get(way, ())
    ]
    return any(
        ("ports" not in rule or port in {one["port"] for one in rule["ports"]})
        and (side not in rule or any(selects(one["podSelector"], LABELS[other]) for one in rule[side] if pod(one)))
        for rule in rules
    )


def pod(peer: dict[str, Any]) -> bool:
    return "podSelector" in peer and "namespaceSelector" not in peer


def test_parts_reach_what_the_plan_says_and_nothing_else_and_the_signer_is_for_execution_alone() -> None:
    """Every pair of parts at every port: both the caller's policies and the called one's must open it."""
    wanted = {("edge", named(room.name), port_of(room.name)) for room in ROOMS}
    wanted |= {(named(room.name), "auth", KEYS) for room in ROOMS if not room.has_page} | {("edge", "auth", KEYS)}
    for room in ROOMS:
        for peer in room.peers:
            part, _, listener = peer.partition(".")
            wanted.add((named(room.name), named(part), SIGNER if listener else port_of(part)))
        if room.uses_valkey:
            wanted.add((named(room.name), "valkey", CACHE))
    ports = {port for _, _, port in wanted} | {WEB, FIGURES, DATABASE, 8080}
    open_ways = {
        (caller, called, port)
        for caller in LABELS
        for called in LABELS
        for port in ports
        if opens("egress", caller, called, port) and opens("ingress", called, caller, port)
    }
    assert {way for way in open_ways if way[0] != way[1]} == wanted
    assert {caller for caller, _, port in open_ways if port == SIGNER} == {"execution"}
    nobody = of_kind("NetworkPolicy")["nobody"]["spec"]
    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, "what is not opened is shut"


def test_only_rooms_with_a_database_reach_one_and_only_those_that_ask_venues_reach_the_internet() -> None:
    policies = of_kind("NetworkPolicy")
    keepers = {named(one.name) for one in ROOMS if one.uses_postgres or one.needs_postgres}
    askers = {named(one.name) for one in ROOMS if one.uses_venues or one.has_page}
    for name, expected in (("database", keepers), ("internet", askers)):
        assert {part for part in LABELS if selects(policies[name]["spec"]["podSelector"], LABELS[part])} == expected
    outside = {
        name
        for name, policy in policies.items()
        for rule in policy["spec"].get("egress", ())
        for one in rule.get("to", [{"ipBlock": {}}])
        if "ipBlock" in one
    }
    assert outside == {"database", "internet"}


def test_the_edge_is_told_names_that_are_services_and_checks_what_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in OURS["edge", "render"]["env"]:
        if "value" in one:
            monkeypatch.setenv(one["name"], one["value"])
    assert main(["edge", str(tmp_path)]) == 0
    clusters = json.loads((tmp_path / "edge.json").read_text())["static_resources"]["clusters"]
    upstreams = {one["name"]: one.get("value", "") for one in OURS["edge", "render"]["env"]}["PERPMESH_EDGE_UPSTREAMS"]
    for room in ROOMS:
        assert f"{room.name}={named(room.name)}:{port_of(room.name)}" in upstreams.split(",")
    for cluster in clusters:
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        assert endpoint["endpoint"]["address"]["socket_address"]["address"] in of_kind("Service")
        assert cluster["type"] == "STRICT_DNS"
        assert "outlier_detection" in cluster
    assert (tmp_path / "openapi.json").is_file()
