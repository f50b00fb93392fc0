"""The plan says what runs; nothing in it runs."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from services.launcher import edge_plan
from services.launcher.config import Config, Layout
from services.launcher.embedded import valkey_users
from services.launcher.plan import (
    Ground,
    Kind,
    Process,
    Programs,
    Room,
    built,
    plan,
    port_names,
    secret_names,
    wants_simulator,
)

ROOMS = (
    Room(name="market_data", services=("perpmesh.marketdata.v1.MarketDataService",), answers_for_all=True,
         uses_venues=True, uses_valkey=True),
    Room(name="stream", web=True, peers={"market_data": "PERPMESH_MARKET_DATA_ADDRESS"}),
)  # fmt: skip
STATE = Path("/state")


def ground(config: Config | None = None, rooms: tuple[Room, ...] = ROOMS, *, simulator: bool = True) -> Ground:
    names = port_names(rooms, simulator=simulator, scale=(config or Config()).scale)
    return Ground(
        config=config or Config(),
        layout=Layout(state=STATE, sockets=STATE / "run"),
        programs=Programs(python=Path("python"), postgres=Path("pg"), valkey=Path("valkey"), envoy=Path("envoy")),
        checkout=Path("/checkout"),
        postgres_home=STATE / "postgres",
        postgres_sockets=STATE / "run" / "postgres",
        environ={"PATH": "/bin", "PERPMESH_SIMULATOR_SEED": "7"},
        rooms=rooms,
        simulator=simulator,
        ports={name: 7000 + number for number, name in enumerate(names)},
        secrets={name: f"{name}-password" for name in secret_names(rooms)},
    )


def by_name(of: Ground) -> dict[str, Process]:
    return {process.name: process for process in plan(of)}


def test_rooms_get_the_addresses_of_their_peers_before_those_run() -> None:
    processes, of = by_name(ground()), ground()
    assert processes["stream"].env["PERPMESH_MARKET_DATA_ADDRESS"] == f"127.0.0.1:{of.ports['market_data']}"
    assert processes["market_data"].env["PERPMESH_LISTEN"] == f"127.0.0.1:{of.ports['market_data']}"
    assert processes["market_data"].env["PERPMESH_LIGHTER_URL"] == f"http://127.0.0.1:{of.ports['simulator.lighter']}"
    assert processes["simulator"].env["PERPMESH_SIMULATOR_LIGHTER_PORT"] == str(of.ports["simulator.lighter"])


def test_a_room_gets_no_setting_it_does_not_read() -> None:
    stream = by_name(ground())["stream"].env
    assert not {"PERPMESH_VALKEY_URL", "PERPMESH_POSTGRES_URL", "PERPMESH_VENUES"} & set(stream)


def test_passwords_are_in_no_command_line() -> None:
    assert not [p.name for p in plan(ground()) if any("password" in part for part in p.argv)]


def test_a_room_that_keeps_state_has_a_role_of_its_own_and_never_the_administrators() -> None:
    keeper = Room(name="keeper", uses_postgres=True, secrets={"page": "PERPMESH_PAGE_SECRET"})
    assert secret_names((*ROOMS, keeper)) == ("valkey", "postgres", "postgres.keeper", "valkey.market_data", "page")
    of = ground(rooms=(*ROOMS, keeper))
    env = by_name(of)["keeper"].env
    assert env["PERPMESH_POSTGRES_URL"].startswith("postgresql://keeper:postgres.keeper-password@/postgres?host=")
    assert env["PERPMESH_PAGE_SECRET"] == "page-password"
    for name, process in by_name(of).items():
        assert of.secrets["postgres"] not in " ".join(process.env.values()).split(":"), name
        assert "PERPMESH_PAGE_SECRET" not in process.env or name == "keeper"


def test_settings_of_rooms_pass_through() -> None:
    assert by_name(ground())["simulator"].env["PERPMESH_SIMULATOR_SEED"] == "7"


@pytest.mark.parametrize("venues", ["mainnet", "testnet"])
def test_real_venues_start_no_simulator_and_no_address_of_one(venues: str) -> None:
    config = Config(venues=venues)
    assert not wants_simulator(config)
    processes = by_name(ground(config, simulator=False))
    assert "simulator" not in processes
    assert processes["market_data"].env["PERPMESH_VENUES"] == venues
    assert "PERPMESH_LIGHTER_URL" not in processes["market_data"].env


def test_an_address_replaces_the_simulator_for_its_venue_alone() -> None:
    config = Config(lighter_url="http://127.0.0.1:9")
    assert wants_simulator(config)
    env = by_name(ground(config))["market_data"].env
    assert env["PERPMESH_LIGHTER_URL"] == "http://127.0.0.1:9"
    assert env["PERPMESH_HYPERLIQUID_URL"].startswith("http://127.0.0.1:70")
    assert not wants_simulator(dataclasses.replace(config, hyperliquid_url="http://127.0.0.1:8"))


def test_ready_waits_for_postgres_only_when_a_room_needs_it() -> None:
    assert not by_name(ground())["postgres"].holds_up
    needs = (*ROOMS, Room(name="auth", needs_postgres=True))
    assert by_name(ground(rooms=needs))["postgres"].holds_up
    assert all(process.holds_up for name, process in by_name(ground()).items() if name != "postgres")


def test_rooms_are_ended_before_what_they_stand_on() -> None:
    rounds = {process.name: process.stop_round for process in plan(ground())}
    assert rounds["market_data"] < rounds["envoy"] < rounds["valkey"] == rounds["postgres"]


def test_postgres_is_ended_so_that_open_sessions_cannot_hold_it() -> None:
    postgres = by_name(ground())["postgres"]
    assert (postgres.stop_signal, postgres.hurry_signal) == (signal.SIGINT, signal.SIGQUIT)
    assert postgres.unprivileged
    assert postgres.kind is Kind.SERVER


def test_no_server_opens_a_port_beside_the_edge() -> None:
    processes = by_name(ground())
    assert "listen_addresses=" in processes["postgres"].argv
    assert processes["valkey"].ready == STATE / "run" / "valkey.sock"


def test_a_room_that_scales_has_replicas_and_its_callers_know_them_all_their_own_first() -> None:
    rooms = tuple(dataclasses.replace(room, scales=True) for room in ROOMS)
    keeper = Room(name="keeper", uses_postgres=True, uses_valkey=True, may_touch=("~keeper:*",))
    of = ground(Config(scale=2), (*rooms, keeper))
    processes = by_name(of)
    assert {"market_data", "market_data.2", "stream", "stream.2", "keeper"} <= set(processes)
    assert "keeper.2" not in processes
    for name, process in processes.items():
        room = name.partition(".")[0]
        assert process.argv[-1] == f"services.{room}" or process.kind is Kind.SERVER
    at = [f"127.0.0.1:{of.ports[name]}" for name in ("market_data", "market_data.2")]
    assert processes["stream"].env["PERPMESH_MARKET_DATA_ADDRESS"] == ",".join(at)
    assert processes["stream.2"].env["PERPMESH_MARKET_DATA_ADDRESS"] == ",".join(reversed(at))
    listening = [process.env["PERPMESH_LISTEN"] for process in processes.values() if "PERPMESH_LISTEN" in process.env]
    assert len(set(listening)) == len(listening) == 5
    edge = edge_plan.edge_of(of)
    assert [one.port for one in edge.services["perpmesh.marketdata.v1.MarketDataService"]] == [
        of.ports["market_data"],
        of.ports["market_data.2"],
    ]
    assert len(edge.web) == 2


def test_every_room_is_a_user_of_its_own_in_valkey_and_touches_its_own_keys() -> None:
    keeper = Room(name="keeper", uses_valkey=True, may_touch=("~keeper:*", "&auth:ended"))
    of = ground(rooms=(*ROOMS, keeper))
    lines = list(valkey_users(of))
    assert lines[0] == "user default off\n"
    (mine,) = [line for line in lines if line.startswith("user keeper ")]
    assert mine == "user keeper on >valkey.keeper-password ~keeper:* &auth:ended +@all -@admin -@dangerous\n"
    assert by_name(of)["keeper"].env["PERPMESH_VALKEY_URL"].startswith("unix://keeper:valkey.keeper-password@")
    assert not any(
        of.secrets["valkey"] in value for process in plan(of) for value in process.env.values() if "keeper" in value
    )


def test_a_room_is_built_when_it_can_be_run_and_its_peers_can(tmp_path: Path) -> None:
    (tmp_path / "services" / "stream").mkdir(parents=True)
    (tmp_path / "services" / "stream" / "__main__.py").touch()
    assert built(ROOMS, tmp_path) == ()
    (tmp_path / "services" / "market_data").mkdir()
    (tmp_path / "services" / "market_data" / "__main__.py").touch()
    assert [room.name for room in built(ROOMS, tmp_path)] == ["market_data", "stream"]


def test_the_edge_knows_every_room_by_what_it_serves() -> None:
    of = ground()
    edge = edge_plan.edge_of(of)
    assert edge.services["perpmesh.marketdata.v1.MarketDataService"][0].port == of.ports["market_data"]
    assert edge.answers_for_all[0].port == of.ports["market_data"]
    assert edge.web[0].port == of.ports["stream"]
