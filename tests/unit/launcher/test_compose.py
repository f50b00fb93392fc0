"""docker-compose.yml and the Dockerfile name only what exists: there may be no engine at hand to try them."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.launcher import certificates, plan
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


def service_of(part: str) -> str:
    return part.replace("_", "-")


@pytest.mark.parametrize("room", plan.ROOMS, ids=lambda room: room.name)
def test_every_room_of_the_plan_runs_here_with_what_the_plan_would_give_it(room: plan.Room) -> None:
    about = OURS[service_of(room.name)]
    given, other = about["environment"], room.name != "auth"
    assert about["command"] == ["python", "-m", f"services.{room.name}"]
    folder = Path("/certificates")
    assert given["PERPMESH_TLS_CERT"] == str(certificates.cert_of(folder, room.name))
    assert given["PERPMESH_TLS_KEY"] == str(certificates.key_of(folder, room.name))
    assert given["PERPMESH_TLS_CA"] == str(folder / certificates.AUTHORITY)
    assert any(mount.get("volume") == {"subpath": room.name} for mount in about["volumes"])
    callers = ["edge", *(one.name for one in plan.ROOMS if room.name in one.peers)]
    assert sorted(given["PERPMESH_CALLERS"].split(",")) == sorted(callers)
    assert set(room.secrets.values()) | set(room.listeners.values()) <= set(given)
    assert not room.keeps_master_keys or "PERPMESH_VAULT_MASTER_KEY" in given
    assert given.get("PERPMESH_AUTH_URL") == ("http://auth:7103" if other else None)
    for peer, variable in room.peers.items():
        if peer in room.optional_peers and all(one.name != peer for one in plan.ROOMS):
            continue  # not built yet
        name, _, listener = peer.partition(".")
        setting = (
            next(one for one in plan.ROOMS if one.name == name).listeners[listener] if listener else "PERPMESH_LISTEN"
        )
        listens = OURS[service_of(name)]["environment"][setting].rpartition(":")[2]
        assert given[variable] == f"{service_of(name)}:{listens}"
    assert not (room.uses_valkey and "PERPMESH_VALKEY_URL" not in given)
    if room.uses_postgres or room.needs_postgres:
        assert given["PERPMESH_POSTGRES_URL"].startswith(f"postgresql://{room.name}:")
        assert f"room {room.name} " in COMPOSE["services"]["postgres-rooms"]["command"][2]
        migrate = OURS[f"migrate-{service_of(room.name)}"]
        assert migrate["command"][-1] == room.name
        assert migrate["environment"] == {"PERPMESH_POSTGRES_URL": given["PERPMESH_POSTGRES_URL"]}
        assert f"migrate-{service_of(room.name)}" in about["depends_on"]
    upstreams = OURS["edge-config"]["environment"]["PERPMESH_EDGE_UPSTREAMS"].split(",")
    assert f"{room.name}={service_of(room.name)}:{given['PERPMESH_LISTEN'].rpartition(':')[2]}" in upstreams
    if room.answers_for_all:
        served = [service for one in plan.ROOMS for service in one.services]
        assert given["PERPMESH_DESCRIBED_SERVICES"].split(",") == served


def test_what_rooms_are_told_of_the_simulator_is_where_it_listens_for_them() -> None:
    there = OURS["simulator"]["environment"]
    told = {value for about in OURS.values() for value in re.findall(r"simulator:(\d+)", str(about.get("environment")))}
    faces = ("HYPERLIQUID", "LIGHTER", "CONTROL")
    assert told == {there[f"PERPMESH_SIMULATOR_{face}_PORT"] for face in faces}
    assert {there["PERPMESH_SIMULATOR_HOST"], there["PERPMESH_SIMULATOR_CONTROL_HOST"]} == {"0.0.0.0"}


def test_networks_and_volumes_are_declared_and_only_the_edge_has_a_port() -> None:
    for name, about in COMPOSE["services"].items():
        assert set(about["networks"]) <= set(COMPOSE["networks"]), name
        mounts = [one["source"] if isinstance(one, dict) else one.split(":")[0] for one in about.get("volumes", ())]
        assert {mount for mount in mounts if not mount.startswith("./")} <= set(COMPOSE["volumes"]), name
        assert all((ROOT / mount).is_file() for mount in mounts if mount.startswith("./")), name
        assert set(about.get("depends_on", ())) <= set(COMPOSE["services"]), name
        assert ("ports" in about) == (name == "edge")


def test_no_password_or_secret_has_a_default_and_the_head_of_the_file_makes_each() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+(?:PASSWORD|SECRET))", text))
    made = re.search(r"for name in ([^;]+);", text)
    assert made is not None
    assert set(re.findall("[A-Z_]+", made[1])) == wanted
    for name in wanted:
        assert len(re.findall(rf"\$\{{{name}\b", text)) == text.count(f"${{{name}:?"), name


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
    assert hosts == {service_of(room.name) for room in plan.ROOMS}
    assert all("transport_socket" in cluster for cluster in config["static_resources"]["clusters"][:-1])
    assert (tmp_path / "perpmesh.binpb").is_file()


def test_certificates_are_made_once_and_each_part_has_its_own(tmp_path: Path) -> None:
    parts = set(plan.part_names(plan.ROOMS))
    assert main(["certificates", str(tmp_path)]) == 0
    first = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    assert {path.relative_to(tmp_path).parts[0] for path in first} == parts
    assert {path.stat().st_mode & 0o777 for path in first} == {0o600}
    assert len({path.read_bytes() for path in tmp_path.glob("*/authority.pem")}) == 1
    assert main(["certificates", str(tmp_path)]) == 0
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == first
    (tmp_path / "auth" / "auth.key").unlink()
    assert main(["certificates", str(tmp_path)]) == 0
    assert (tmp_path / "edge" / "edge.key").read_bytes() != first[tmp_path / "edge" / "edge.key"]


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
