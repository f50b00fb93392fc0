"""The edge's configuration follows the contract and says what it bounds."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from perpmesh.errors.v1 import reason_pb2

from services.launcher.edge import Edge, EdgeError, Upstream, read_contract, render
from services.launcher.edge_errors import ERRORS

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = (ROOT / "envoy" / "edge.yaml").read_text()
MARKET_DATA = "perpmesh.marketdata.v1.MarketDataService"
HERE = (Upstream(host="127.0.0.1", port=7001),)
EDGE = Edge(
    host="127.0.0.1",
    port=8080,
    admin_port=9901,
    descriptors=ROOT / "gen" / "perpmesh.binpb",
    access_log=Path("/tmp/access.log"),
    services={MARKET_DATA: HERE},
    answers_for_all=HERE,
    web=(Upstream(host="127.0.0.1", port=7002),),
    cors_origins=("https://a.example", "https://b.example"),
)


def rendered(edge: Edge = EDGE) -> dict[str, Any]:
    return json.loads(render(TEMPLATE, edge))  # type: ignore[no-any-return]


def manager(config: dict[str, Any]) -> dict[str, Any]:
    listener = config["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]  # type: ignore[no-any-return]


def routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    return manager(config)["route_config"]["virtual_hosts"][0]["routes"]  # type: ignore[no-any-return]


def http_filter(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in manager(config)["http_filters"] if item["name"] == name)


ALONE = dataclasses.replace(EDGE, alone=frozenset({MARKET_DATA}))


@pytest.mark.parametrize("edge", [EDGE, ALONE], ids=["with replicas", "alone"])
def test_every_public_call_of_a_served_service_has_one_route_that_suits_it(edge: Edge) -> None:
    by_path = {route["match"]["path"]: route for route in routes(rendered(edge)) if "path" in route["match"]}
    served = [call for call in read_contract(EDGE.descriptors).calls if call.service == MARKET_DATA]
    assert len(served) > 10
    for call in served:
        action = by_path[call.path]["route"]
        assert action["cluster"] == MARKET_DATA
        if call.streams:
            assert (action["timeout"], action["idle_timeout"]) == ("0s", "60s"), call
        else:
            assert action["timeout"] == "15s", call
        policy = action["retry_policy"]
        allowed = UNSENT | {"reset", "cancelled"} if call.reads and not call.streams else UNSENT
        assert set(policy["retry_on"].split(",")) == allowed, call
        # A room that runs once is waited for while it is restarted; else there is another replica.
        assert policy["num_retries"] == (24 if edge is ALONE else 2), call
        assert ("retry_host_predicate" in policy) == (edge is EDGE), call


UNSENT = {"connect-failure", "refused-stream", "reset-before-request"}
"""How a call fails that no room has seen (RFC 9113, 8.7 for the second)."""


def test_a_call_with_side_effects_is_sent_again_only_where_no_room_has_seen_it() -> None:
    service = "perpmesh.execution.v1.ExecutionService"
    config = rendered(dataclasses.replace(EDGE, services={service: HERE}))
    place = next(r for r in routes(config) if r["match"].get("path") == f"/{service}/PlaceOrder")
    assert set(place["route"]["retry_policy"]["retry_on"].split(",")) == UNSENT


def test_what_the_end_of_a_room_that_runs_once_broke_off_goes_again_where_it_can_be_done_but_once() -> None:
    service = "perpmesh.execution.v1.ExecutionService"
    config = rendered(dataclasses.replace(EDGE, services={service: HERE}, alone=frozenset({service})))
    by_path = {
        one["match"]["path"]: one["route"] for one in routes(config) if "path" in one["match"] and "route" in one
    }
    again = {
        path.rpartition("/")[2]
        for path, route in by_path.items()
        if set(route.get("retry_policy", {}).get("retry_on", "").split(",")) == UNSENT | {"reset", "cancelled"}
    }
    assert {"PlaceOrder", "CancelOrder", "GetOrder", "ListOrders"} <= again
    assert not any(name.startswith("Watch") for name in again)


def test_new_orders_are_counted_by_themselves_and_cancels_are_not() -> None:
    service = "perpmesh.execution.v1.ExecutionService"
    config = rendered(dataclasses.replace(EDGE, services={service: HERE}, orders_max=7))
    by_path = {
        one["match"]["path"]: one["route"] for one in routes(config) if "path" in one["match"] and "route" in one
    }
    hurried = {path.rpartition("/")[2] for path, route in by_path.items() if route.get("priority") == "HIGH"}
    assert hurried == {"PlaceOrder", "BatchPlaceOrders"}
    assert by_path[f"/{service}/PlaceOrder"]["retry_policy"] == by_path[f"/{service}/CancelOrder"]["retry_policy"]
    cluster = next(one for one in config["static_resources"]["clusters"] if one["name"] == service)
    bounds = {one["priority"]: one["max_requests"] for one in cluster["circuit_breakers"]["thresholds"]}
    assert bounds == {"DEFAULT": 10_000, "HIGH": 7}


def test_public_services_that_nobody_serves_are_answered_and_internal_ones_are_not_routed() -> None:
    text = json.dumps(routes(rendered()))
    unserved = next(r for r in routes(rendered()) if r["match"].get("prefix") == "/perpmesh.auth.v1.AuthService/")
    assert unserved["direct_response"]["status"] == 501
    for internal in ("SignerService", "OperatorService", "PlannerService"):
        assert internal not in text


def test_rest_is_offered_for_public_services_only() -> None:
    services = http_filter(rendered(), "envoy.filters.http.grpc_json_transcoder")["typed_config"]["services"]
    assert MARKET_DATA in services
    assert not any("Signer" in name or "Operator" in name or "Planner" in name for name in services)


def test_the_transcoder_comes_before_all_that_decides_by_call() -> None:
    names = [item["name"] for item in manager(rendered())["http_filters"]]
    assert names.index("envoy.filters.http.grpc_json_transcoder") < names.index("envoy.filters.http.grpc_stats")
    assert names[-1] == "envoy.filters.http.router"


@pytest.mark.parametrize("status", sorted(ERRORS))
def test_reasons_and_categories_of_the_edge_are_those_of_the_contract(status: int) -> None:
    error = ERRORS[status]
    value = reason_pb2.Reason.DESCRIPTOR.values_by_name[f"REASON_{error.reason}"]
    info = value.GetOptions().Extensions[reason_pb2.info]
    assert f"CATEGORY_{error.category.upper()}" == reason_pb2.Category.Name(info.category)
    from google.rpc import code_pb2

    assert code_pb2.Code.Name(error.code) == info.code


def test_each_error_is_told_in_the_callers_protocol_with_the_same_words() -> None:
    mappers = manager(rendered())["local_reply_config"]["mappers"]
    of_429 = [m for m in mappers if '"default_value": 429' in json.dumps(m["filter"])]
    web, grpc, rest = of_429
    headers = {h["header"]["key"]: h["header"]["value"] for h in web["headers_to_add"]}
    details = headers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    body = rest["body_format_override"]["json_format"]
    assert headers["grpc-status"] == str(status.code) == str(body["code"]) == "8"
    assert headers["grpc-message"] == status.message == body["message"]
    assert grpc["body_format_override"]["text_format_source"]["inline_string"] == status.message
    assert info.reason == body["details"][0]["reason"] == "LIMIT_REACHED"
    assert dict(info.metadata) == body["details"][0]["metadata"] == {"category": "system"}


def test_messages_of_the_edge_can_be_headers() -> None:
    for error in ERRORS.values():
        assert error.message.isascii()
        assert error.message.isprintable()
        assert "%" not in error.message


def test_the_hardening_is_in_place() -> None:
    config, edge = rendered(), manager(rendered())
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert edge["use_remote_address"] is True
    assert edge["normalize_path"] is True
    assert edge["merge_slashes"] is True
    assert edge["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert edge["max_request_headers_kb"] == 16
    assert edge["request_headers_timeout"] == "5s"
    assert edge["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
    assert edge["upgrade_configs"] == [{"upgrade_type": "websocket", "enabled": False}]
    assert http_filter(config, "envoy.filters.http.body_size_limit")["typed_config"]["max_request_bytes"] == 65536
    assert {action["name"] for action in config["overload_manager"]["actions"]} == {
        "envoy.overload_actions.shrink_heap",
        "envoy.overload_actions.stop_accepting_requests",
    }
    upgrades = [r for r in routes(config) if "upgrade_configs" in r.get("route", {})]
    assert [r["match"] for r in upgrades] == [{"path": "/v1/ws"}]


def test_one_stalled_stream_cannot_hold_up_the_others_of_its_connection() -> None:
    cluster = next(c for c in rendered()["static_resources"]["clusters"] if c["name"] == MARKET_DATA)
    (options,) = cluster["typed_extension_protocol_options"].values()
    http2 = options["explicit_http_config"]["http2_protocol_options"]
    assert (
        http2["initial_connection_window_size"] >= http2["max_concurrent_streams"] * http2["initial_stream_window_size"]
    )


def test_origins_of_other_pages_are_listed_one_by_one() -> None:
    cors = manager(rendered())["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert cors["allow_origin_string_match"] == [{"exact": "https://a.example"}, {"exact": "https://b.example"}]
    assert {"PATCH", "DELETE"} <= set(cors["allow_methods"].split(", "))


def test_replicas_are_checked_and_a_single_address_is_not() -> None:
    two = (*HERE, Upstream(host="market-data-2", port=7001))
    single = next(c for c in rendered()["static_resources"]["clusters"] if c["name"] == MARKET_DATA)
    edge = dataclasses.replace(EDGE, services={MARKET_DATA: two})
    pair = next(c for c in rendered(edge)["static_resources"]["clusters"] if c["name"] == MARKET_DATA)
    assert "health_checks" not in single
    assert pair["health_checks"]
    assert (single["type"], pair["type"]) == ("STATIC", "STRICT_DNS")
    assert len(pair["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2


def test_two_doors_share_their_sockets_by_a_cookie_and_one_needs_none() -> None:
    two = dataclasses.replace(EDGE, web=(*HERE, Upstream(host="127.0.0.1", port=7009)))
    for edge, sticky in ((EDGE, False), (two, True)):
        config = rendered(edge)
        door = next(route for route in routes(config) if route["match"].get("path") == "/v1/ws")
        assert bool(door["route"]["hash_policy"]) == sticky
        web = next(c for c in config["static_resources"]["clusters"] if c["name"] == "web")
        assert (web["lb_policy"] == "RING_HASH") == sticky
        assert ("health_checks" in web) == sticky


def test_a_service_that_the_contract_lacks_is_refused() -> None:
    with pytest.raises(EdgeError, match="make gen"):
        rendered(dataclasses.replace(EDGE, services={"perpmesh.none.v1.NoService": HERE}))


def test_a_missing_descriptor_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="make gen"):
        rendered(dataclasses.replace(EDGE, descriptors=tmp_path / "none.binpb"))


def test_a_name_without_a_value_is_refused() -> None:
    with pytest.raises(EdgeError, match="nothing_gives_this"):
        render(TEMPLATE + "\nnode: {id: '${nothing_gives_this}'}\n", EDGE)
