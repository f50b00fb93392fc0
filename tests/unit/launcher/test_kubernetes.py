"""deploy/kubernetes names only what exists: no cluster is at hand to try it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.launcher.__main__ import main
from services.launcher.plan import ROOMS

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
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        pods = [one["spec"]["template"]["metadata"]["labels"] for one in DEPLOYMENTS.values()]
        assert not selector or any(selector.items() <= labels.items() for labels in pods)
    for scaler in of_kind("HorizontalPodAutoscaler").values():
        assert scaler["spec"]["scaleTargetRef"]["name"] in DEPLOYMENTS


def test_the_edge_is_told_names_that_are_services_and_checks_what_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in OURS["edge", "render"]["env"]:
        if "value" in one:
            monkeypatch.setenv(one["name"], one["value"])
    assert main(["edge", str(tmp_path)]) == 0
    clusters = json.loads((tmp_path / "edge.json").read_text())["static_resources"]["clusters"]
    for cluster in clusters:
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        assert endpoint["endpoint"]["address"]["socket_address"]["address"] in of_kind("Service")
        assert cluster["type"] == "STRICT_DNS"
        assert "outlier_detection" in cluster
    assert (tmp_path / "openapi.json").is_file()
