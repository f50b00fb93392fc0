"""docker-compose.yml and the Dockerfile name only what exists: there may be no engine at hand to try them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.launcher.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: about for name, about in COMPOSE["services"].items() if about["image"] == "perpmesh"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_container_of_ours_runs_a_module_that_exists_with_settings_that_exist(name: str) -> None:
    python, flag, module, *_ = OURS[name]["command"]
    assert (python, flag) == ("python", "-m")
    found = importlib.util.find_spec(module)
    assert found is not None
    assert not found.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__") is not None
    known = set((ROOT / "services" / "settings.txt").read_text().split())
    assert set(OURS[name].get("environment", {})) <= known


def test_networks_and_volumes_are_declared_and_only_the_edge_has_a_port() -> None:
    for name, about in COMPOSE["services"].items():
        assert set(about["networks"]) <= set(COMPOSE["networks"]), name
        volumes = {volume.split(":")[0] for volume in about.get("volumes", ())}
        assert {volume for volume in volumes if not volume.startswith("./")} <= set(COMPOSE["volumes"]), name
        assert all((ROOT / volume).is_file() for volume in volumes if volume.startswith("./")), name
        assert ("ports" in about) == (name == "edge")


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, times in (("VALKEY", 2), ("POSTGRES", 2), ("MARKET_DATA", 2)):
        assert text.count(f"{{{name}_PASSWORD:?") == text.count(f"{{{name}_PASSWORD") == times, name


def test_what_the_image_copies_is_not_kept_out_of_the_build() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [line.split()[1] for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if "COPY" in line]
    assert set(copied) == admitted


def test_the_edges_container_is_told_where_the_rooms_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS["edge-config"]["environment"].items():
        if "$" not in value:
            monkeypatch.setenv(name, value)
    assert main(["edge", str(tmp_path)]) == 0
    config = json.loads((tmp_path / "edge.json").read_text())
    hosts = {
        endpoint["endpoint"]["address"]["socket_address"]["address"]
        for cluster in config["static_resources"]["clusters"]
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    }
    assert hosts == {"market-data", "stream"}
    assert set(COMPOSE["services"]) >= hosts
    assert (tmp_path / "perpmesh.binpb").is_file()


def test_a_wrong_upstream_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, said in (
        ("", "such as market_data=market-data:7001"),
        ("moon=a:1", "none of"),
        ("stream", "room=host:port"),
    ):
        monkeypatch.setenv("PERPMESH_EDGE_UPSTREAMS", value)
        assert main(["edge", str(tmp_path)]) == 1
        assert said in capsys.readouterr().err
