"""Calls that ask once: values, retries, deadlines, headers, and errors with all that the mesh said."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh_client import FieldViolation as Violation
from perpmesh_client import Perpmesh, PerpmeshError, Tuning

from services.domain.errors import DomainError, FieldViolation, Reason
from tests.integration.client.conftest import FAST
from tests.integration.client.scripted_mesh import Cut, FreezableLink, ScriptedMesh, hang, steps
from tests.unit.client.client_messages import funding, market, order_book, price, trade, venue


async def test_every_call_returns_values(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.answer("GetPrice", pb.GetPriceResponse(price=price()))
    server.answer("BatchGetPrices", pb.BatchGetPricesResponse(prices=[price(), price("ETH-PERP")]))
    server.answer("GetOrderBook", pb.GetOrderBookResponse(book=order_book()))
    server.answer("ListTrades", pb.ListTradesResponse(trades=[trade(2), trade(1)], earliest_sequence=1))
    server.answer("ListFundingRates", pb.ListFundingRatesResponse(funding_rates=[funding()]))
    server.answer("GetMarket", pb.GetMarketResponse(market=market()))
    server.answer("ListVenues", pb.ListVenuesResponse(venues=[venue()]))
    assert (await mesh.price("BTC-PERP")).market == "BTC-PERP"
    assert [item.market for item in await mesh.prices("BTC-PERP", "ETH-PERP")] == ["BTC-PERP", "ETH-PERP"]
    assert (await mesh.book("BTC-PERP", depth=5, include_stale=True)).sequence == 1
    assert [item.sequence for item in await mesh.trades("BTC-PERP", limit=7, venues=["lighter"])] == [2, 1]
    assert [item.market for item in await mesh.funding_rates()] == ["BTC-PERP"]
    assert (await mesh.market("BTC-PERP")).base == "BTC"
    assert [item.venue for item in await mesh.venues()] == ["lighter"]
    assert server.requests["GetOrderBook"][0] == pb.GetOrderBookRequest(market="BTC-PERP", depth=5, include_stale=True)
    assert server.requests["ListTrades"][0] == pb.ListTradesRequest(market="BTC-PERP", page_size=7, venues=["lighter"])


async def test_lists_are_read_to_their_last_page(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.answer(
        "ListMarkets",
        pb.ListMarketsResponse(markets=[market("A-PERP")], next_page_token="two"),
        pb.ListMarketsResponse(markets=[market("B-PERP")]),
    )
    assert [item.market for item in await mesh.markets(venues=["lighter"])] == ["A-PERP", "B-PERP"]
    assert [request.page_token for request in server.requests["ListMarkets"]] == ["", "two"]
    assert [list(request.venues) for request in server.requests["ListMarkets"]] == [["lighter"], ["lighter"]]


async def test_an_error_carries_reason_category_fields_metadata_and_the_wait(
    server: ScriptedMesh, mesh: Perpmesh
) -> None:
    server.answer(
        "GetPrice",
        DomainError(
            Reason.FIELD_INVALID,
            "The request is malformed.",
            metadata={"given": "btc"},
            fields=(FieldViolation("market", 'must be a canonical name, such as "BTC-PERP"'),),
            retry_after_s=1.5,
        ),
    )
    with pytest.raises(PerpmeshError) as caught:
        await mesh.price("btc")
    error = caught.value
    assert (error.code, error.reason, error.category) == ("INVALID_ARGUMENT", "FIELD_INVALID", "trading")
    assert error.message == "The request is malformed."
    assert error.fields == (Violation(field="market", description='must be a canonical name, such as "BTC-PERP"'),)
    assert error.metadata["given"] == "btc"
    assert error.retry_after == timedelta(seconds=1.5)
    assert str(error) == 'The request is malformed. market: must be a canonical name, such as "BTC-PERP"'


async def test_unavailable_is_tried_again_and_nothing_else_is(server: ScriptedMesh, mesh: Perpmesh) -> None:
    busy = DomainError(Reason.DRAINING, "The room is stopping.")
    server.answer("GetPrice", busy, Cut(grpc.StatusCode.UNAVAILABLE), pb.GetPriceResponse(price=price(sequence=4)))
    assert (await mesh.price("BTC-PERP")).sequence == 4
    assert len(server.requests["GetPrice"]) == 3
    server.answer("GetMarket", DomainError(Reason.MARKET_UNKNOWN, "No venue lists X-PERP."))
    with pytest.raises(PerpmeshError, match="No venue lists"):
        await mesh.market("X-PERP")
    assert len(server.requests["GetMarket"]) == 1


async def test_attempts_and_deadline_bound_a_call(server: ScriptedMesh) -> None:
    server.answer("GetPrice", DomainError(Reason.NO_LIVE_VENUE, "Every venue is recovering."))
    tuning = Tuning(call_attempts_max=3, backoff_first_s=0.01, backoff_max_s=0.02)
    async with Perpmesh(server.address, tuning=tuning) as mesh:
        with pytest.raises(PerpmeshError, match="Every venue is recovering") as caught:
            await mesh.price("BTC-PERP")
    assert caught.value.reason == "NO_LIVE_VENUE"
    assert len(server.requests["GetPrice"]) == 3


async def test_a_wait_longer_than_the_deadline_is_not_waited(server: ScriptedMesh) -> None:
    server.answer("GetPrice", DomainError(Reason.DRAINING, "Come back later.", retry_after_s=30))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Perpmesh(server.address, tuning=FAST) as mesh:
        with pytest.raises(PerpmeshError, match="Come back later"):
            await mesh.price("BTC-PERP")
    assert loop.time() - began < 1
    assert len(server.requests["GetPrice"]) == 1


async def test_a_token_is_fetched_for_every_call_and_every_opening_of_a_stream(server: ScriptedMesh) -> None:
    fetched = 0

    async def token() -> str:
        nonlocal fetched
        fetched += 1
        return f"token-{fetched}"

    server.answer("GetPrice", pb.GetPriceResponse(price=price()))
    opened = pb.WatchPricesResponse(cursor="c1", price=price())
    server.stream("WatchPrices", steps(opened, Cut(grpc.StatusCode.UNAVAILABLE)), steps(opened, hang()))
    async with Perpmesh(server.address, token=token, metadata={"X-Team": "desk"}, tuning=FAST) as mesh:
        await mesh.price("BTC-PERP")
        watch = mesh.watch_prices("BTC-PERP")
        async with asyncio.timeout(5):
            await anext(watch)
            await anext(watch)
    sent = server.metadata["GetPrice"] + server.metadata["WatchPrices"]
    assert [entry["authorization"] for entry in sent] == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]
    assert {entry["x-team"] for entry in sent} == {"desk"}
    assert sent[0]["user-agent"].startswith("perpmesh-python/")


async def test_a_call_that_nothing_answers_does_not_leave_the_dead_connection_to_the_next(server: ScriptedMesh) -> None:
    link = FreezableLink(server.port)
    await link.start()
    server.answer("GetPrice", pb.GetPriceResponse(price=price()))
    async with Perpmesh(f"127.0.0.1:{link.port}", tuning=Tuning(call_timeout_s=0.4)) as mesh:
        await mesh.price("BTC-PERP")
        link.freeze()
        with pytest.raises(PerpmeshError) as caught:
            await mesh.price("BTC-PERP")
        assert caught.value.code == "DEADLINE_EXCEEDED"
        assert (await mesh.price("BTC-PERP")).market == "BTC-PERP"
        assert link.accepted == 2
    await link.close()


async def test_tls_trusts_the_given_authority_and_no_other() -> None:
    key, certificate = _certificate()
    tls = ScriptedMesh()
    await tls.start(credentials=grpc.ssl_server_credentials([(key, certificate)]))
    tls.answer("GetPrice", pb.GetPriceResponse(price=price()))
    async with Perpmesh(f"https://localhost:{tls.port}", root_certificates=certificate, tuning=FAST) as mesh:
        assert (await mesh.price("BTC-PERP")).market == "BTC-PERP"
    async with Perpmesh(f"https://localhost:{tls.port}", tuning=FAST) as stranger:
        with pytest.raises(PerpmeshError, match="Nothing answers at https://localhost") as caught:
            await stranger.price("BTC-PERP")
    assert caught.value.code == "UNAVAILABLE"
    assert len(tls.requests["GetPrice"]) == 1
    await tls.close()


def _certificate() -> tuple[bytes, bytes]:
    """Return a private key and a certificate for localhost signed with it, both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


async def test_a_closed_client_says_how_to_use_it(server: ScriptedMesh) -> None:
    async with Perpmesh(server.address) as mesh:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await mesh.price("BTC-PERP")
