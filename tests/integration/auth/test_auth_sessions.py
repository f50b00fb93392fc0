"""Sessions, refresh tokens, wallets, API tokens and preferences, over the room's own gRPC."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import grpc
import pytest
from perpmesh.auth.v1 import auth_service_pb2 as pb
from perpmesh.auth.v1 import session_pb2, user_pb2

from services.domain.errors import Reason
from tests.support.auth import AuthRoom, bearer, challenge, refusal, sign_in
from tests.support.postgres import Postgres
from tests.support.wallet import Wallet

LINK = pb.CreateChallengeRequest.PURPOSE_LINK_WALLET
UNLINK = pb.CreateChallengeRequest.PURPOSE_UNLINK_WALLET


def _refresh(token: str) -> pb.RefreshSessionRequest:
    return pb.RefreshSessionRequest(refresh_token=token)


async def _lives(auth: AuthRoom, access_token: str) -> bool:
    try:
        await auth.stub.GetUser(pb.GetUserRequest(), metadata=bearer(access_token))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return False
        raise
    return True


async def test_a_refresh_token_is_good_for_one_use_and_its_successor_for_the_next(auth: AuthRoom) -> None:
    done = await sign_in(auth.stub, Wallet())
    seen = {done.refresh_token}
    for _ in range(5):
        done = await auth.stub.RefreshSession(_refresh(done.refresh_token))
        assert done.refresh_token not in seen
        seen.add(done.refresh_token)
        assert await _lives(auth, done.access_token)


async def test_the_same_client_gets_the_same_successor_again_within_the_grace(auth: AuthRoom) -> None:
    first = await sign_in(auth.stub, Wallet())
    answers = await asyncio.gather(*(auth.stub.RefreshSession(_refresh(first.refresh_token)) for _ in range(50)))
    assert len({one.refresh_token for one in answers}) == 1
    assert await _lives(auth, answers[0].access_token)


async def test_another_client_with_the_old_token_ends_the_whole_session(auth: AuthRoom) -> None:
    first = await sign_in(auth.stub, Wallet())
    second = await auth.stub.RefreshSession(_refresh(first.refresh_token))
    thief = (("x-user-agent", "thief/1.0"),)
    error = await refusal(auth.stub.RefreshSession(_refresh(first.refresh_token), metadata=thief))
    assert error.reason is Reason.TOKEN_INVALID
    assert (await refusal(auth.stub.RefreshSession(_refresh(second.refresh_token)))).reason is Reason.TOKEN_INVALID
    assert not await _lives(auth, second.access_token)


async def test_a_token_whose_successor_was_used_ends_the_session_even_within_the_grace(auth: AuthRoom) -> None:
    first = await sign_in(auth.stub, Wallet())
    second = await auth.stub.RefreshSession(_refresh(first.refresh_token))
    third = await auth.stub.RefreshSession(_refresh(second.refresh_token))
    assert (await refusal(auth.stub.RefreshSession(_refresh(first.refresh_token)))).reason is Reason.TOKEN_INVALID
    assert not await _lives(auth, third.access_token)


async def test_a_late_reuse_by_the_same_client_ends_the_session(auth: AuthRoom, auth_postgres: Postgres) -> None:
    first = await sign_in(auth.stub, Wallet())
    second = await auth.stub.RefreshSession(_refresh(first.refresh_token))
    connection = await asyncpg.connect(auth_postgres.url())
    await connection.execute(
        "UPDATE auth.refresh_tokens SET use_time = use_time - interval '11 s' WHERE session_id = $1",
        uuid.UUID(first.session.session_id),
    )
    await connection.close()
    assert (await refusal(auth.stub.RefreshSession(_refresh(first.refresh_token)))).reason is Reason.TOKEN_INVALID
    assert not await _lives(auth, second.access_token)


@pytest.mark.parametrize(
    "text", ["pmr_", "pmr_" + "A" * 43, "pma_" + "A" * 43, "x", "pmr_" + "é" * 43, "pmr_" + "A" * 42 + "B"]
)
async def test_what_is_no_refresh_token_is_refused(auth: AuthRoom, text: str) -> None:
    assert (await refusal(auth.stub.RefreshSession(_refresh(text)))).reason is Reason.TOKEN_INVALID


async def test_sessions_are_listed_revoked_singly_and_all_together(auth: AuthRoom) -> None:
    wallet = Wallet()
    signed = [await sign_in(auth.stub, wallet) for _ in range(4)]
    me = bearer(signed[0].access_token)
    listed = (await auth.stub.ListSessions(pb.ListSessionsRequest(), metadata=me)).sessions
    assert {one.session_id for one in listed} == {one.session.session_id for one in signed}
    assert [one.session_id for one in listed if one.current] == [signed[0].session.session_id]
    await auth.stub.RevokeSession(pb.RevokeSessionRequest(session_id=signed[1].session.session_id), metadata=me)
    assert not await _lives(auth, signed[1].access_token)
    again = pb.RevokeSessionRequest(session_id=signed[1].session.session_id)
    await auth.stub.RevokeSession(again, metadata=me)
    listed = (await auth.stub.ListSessions(pb.ListSessionsRequest(), metadata=me)).sessions
    assert signed[1].session.session_id not in {one.session_id for one in listed}
    done = await auth.stub.RevokeAllSessions(pb.RevokeAllSessionsRequest(keep_current=True), metadata=me)
    assert done.revoked_count == 2
    assert [await _lives(auth, one.access_token) for one in signed] == [True, False, False, False]
    assert (await auth.stub.RevokeAllSessions(pb.RevokeAllSessionsRequest(), metadata=me)).revoked_count == 1
    assert not await _lives(auth, signed[0].access_token)


async def test_pages_of_sessions_hold_every_session_once(auth: AuthRoom) -> None:
    wallet = Wallet()
    signed = [await sign_in(auth.stub, wallet) for _ in range(7)]
    me = bearer(signed[0].access_token)
    found: list[str] = []
    token = ""
    while True:
        page = await auth.stub.ListSessions(pb.ListSessionsRequest(page_size=3, page_token=token), metadata=me)
        found += [one.session_id for one in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == sorted(one.session.session_id for one in signed)
    other = await sign_in(auth.stub, Wallet())
    first = await auth.stub.ListSessions(pb.ListSessionsRequest(page_size=3), metadata=me)
    stolen = pb.ListSessionsRequest(page_size=3, page_token=first.next_page_token)
    assert (
        await refusal(auth.stub.ListSessions(stolen, metadata=bearer(other.access_token)))
    ).reason is Reason.CURSOR_INVALID


async def test_a_foreign_session_is_as_unknown_as_one_that_never_was(auth: AuthRoom) -> None:
    mine, theirs = await sign_in(auth.stub, Wallet()), await sign_in(auth.stub, Wallet())
    me = bearer(mine.access_token)
    answers = []
    for session_id in (theirs.session.session_id, str(uuid.uuid4())):
        error = await refusal(auth.stub.RevokeSession(pb.RevokeSessionRequest(session_id=session_id), metadata=me))
        answers.append((error.reason, error.message))
    assert answers[0] == answers[1] == (Reason.RESOURCE_UNKNOWN, "There is no such session.")
    assert await _lives(auth, theirs.access_token)


async def test_wallets_are_linked_by_their_own_signature_and_unlinked_but_for_the_last(auth: AuthRoom) -> None:
    first, second = Wallet(), Wallet()
    done = await sign_in(auth.stub, first)
    me = bearer(done.access_token)
    issued = await challenge(auth.stub, second, token=done.access_token, purpose=LINK)
    request = pb.LinkWalletRequest(message=issued.message, signature=second.sign(issued.message))
    user = (await auth.stub.LinkWallet(request, metadata=me)).user
    assert [one.address for one in user.wallets] == [first.address, second.address]
    assert (await refusal(auth.stub.LinkWallet(request, metadata=me))).metadata["check"] == "nonce"
    by_second = await sign_in(auth.stub, second)
    assert (
        await auth.stub.GetUser(pb.GetUserRequest(), metadata=bearer(by_second.access_token))
    ).user.user_id == user.user_id

    issued = await challenge(auth.stub, first, token=done.access_token, purpose=UNLINK)
    unlink = pb.UnlinkWalletRequest(
        address=second.address, message=issued.message, signature=first.sign(issued.message)
    )
    user = (await auth.stub.UnlinkWallet(unlink, metadata=me)).user
    assert [one.address for one in user.wallets] == [first.address]
    assert not await _lives(auth, by_second.access_token)
    issued = await challenge(auth.stub, first, token=done.access_token, purpose=UNLINK)
    last = pb.UnlinkWalletRequest(address=first.address, message=issued.message, signature=first.sign(issued.message))
    assert (await refusal(auth.stub.UnlinkWallet(last, metadata=me))).reason is Reason.WALLET_LAST


async def test_a_challenge_for_one_purpose_or_user_is_refused_for_another(auth: AuthRoom) -> None:
    mine, theirs, wallet = await sign_in(auth.stub, Wallet()), await sign_in(auth.stub, Wallet()), Wallet()
    issued = await challenge(auth.stub, wallet)
    request = pb.LinkWalletRequest(message=issued.message, signature=wallet.sign(issued.message))
    error = await refusal(auth.stub.LinkWallet(request, metadata=bearer(mine.access_token)))
    assert error.metadata["check"] == "purpose"
    issued = await challenge(auth.stub, wallet, token=theirs.access_token, purpose=LINK)
    request = pb.LinkWalletRequest(message=issued.message, signature=wallet.sign(issued.message))
    error = await refusal(auth.stub.LinkWallet(request, metadata=bearer(mine.access_token)))
    assert error.metadata["check"] == "user"
    issued = await challenge(auth.stub, wallet, token=mine.access_token, purpose=LINK)
    sign = pb.CreateSessionRequest(message=issued.message, signature=wallet.sign(issued.message))
    assert (await refusal(auth.stub.CreateSession(sign))).metadata["check"] == "purpose"
    assert (await refusal(challenge(auth.stub, wallet, purpose=LINK))).reason is Reason.TOKEN_MISSING


async def test_a_wallet_of_another_user_cannot_be_linked(auth: AuthRoom) -> None:
    taken = Wallet()
    await sign_in(auth.stub, taken)
    mine = await sign_in(auth.stub, Wallet())
    issued = await challenge(auth.stub, taken, token=mine.access_token, purpose=LINK)
    request = pb.LinkWalletRequest(message=issued.message, signature=taken.sign(issued.message))
    error = await refusal(auth.stub.LinkWallet(request, metadata=bearer(mine.access_token)))
    assert error.reason is Reason.WALLET_TAKEN


async def test_twins_of_a_new_wallet_that_sign_in_at_once_are_one_user(auth: AuthRoom) -> None:
    wallet = Wallet()
    signed = await asyncio.gather(*(sign_in(auth.stub, wallet) for _ in range(10)))
    users = [await auth.stub.GetUser(pb.GetUserRequest(), metadata=bearer(one.access_token)) for one in signed]
    assert len({one.user.user_id for one in users}) == 1


def _token_request(**fields: object) -> pb.CreateApiTokenRequest:
    given = {"request_id": str(uuid.uuid4()), "name": "bot", "scopes": [session_pb2.SCOPE_READ], **fields}
    return pb.CreateApiTokenRequest(**given)  # type: ignore[arg-type]


async def test_an_api_token_is_shown_once_exchanged_and_revoked(auth: AuthRoom) -> None:
    done = await sign_in(auth.stub, Wallet())
    me = bearer(done.access_token)
    request = _token_request()
    made = await auth.stub.CreateApiToken(request, metadata=me)
    assert made.secret.startswith(made.api_token.prefix)
    again = await auth.stub.CreateApiToken(request, metadata=me)
    assert (again.secret, again.api_token.api_token_id) == ("", made.api_token.api_token_id)
    other = _token_request(request_id=request.request_id, name="another")
    assert (await refusal(auth.stub.CreateApiToken(other, metadata=me))).reason is Reason.REQUEST_ID_REUSED
    exchanged = await auth.stub.ExchangeApiToken(pb.ExchangeApiTokenRequest(secret=made.secret))
    assert list(exchanged.scopes) == [session_pb2.SCOPE_READ]
    bot = bearer(exchanged.access_token)
    await auth.stub.GetUser(pb.GetUserRequest(), metadata=bot)
    update = pb.UpdatePreferencesRequest(preferences=user_pb2.Preferences(max_slippage_bps=5))
    denied = await refusal(auth.stub.UpdatePreferences(update, metadata=bot))
    assert (denied.reason, denied.metadata["scope"]) == (Reason.PERMISSION_DENIED, "trade")
    for manage in (
        auth.stub.ListSessions(pb.ListSessionsRequest(), metadata=bot),
        auth.stub.RevokeAllSessions(pb.RevokeAllSessionsRequest(), metadata=bot),
        auth.stub.ListApiTokens(pb.ListApiTokensRequest(), metadata=bot),
    ):
        assert (await refusal(manage)).metadata["needs"] == "session"
    listed = (await auth.stub.ListApiTokens(pb.ListApiTokensRequest(), metadata=me)).api_tokens
    assert [one.api_token_id for one in listed] == [made.api_token.api_token_id]
    assert listed[0].HasField("last_use_time")
    await auth.stub.RevokeApiToken(pb.RevokeApiTokenRequest(api_token_id=made.api_token.api_token_id), metadata=me)
    assert not await _lives(auth, exchanged.access_token)
    error = await refusal(auth.stub.ExchangeApiToken(pb.ExchangeApiTokenRequest(secret=made.secret)))
    assert error.reason is Reason.TOKEN_INVALID
    assert not (await auth.stub.ListApiTokens(pb.ListApiTokensRequest(), metadata=me)).api_tokens
    ended = await auth.stub.ListApiTokens(pb.ListApiTokensRequest(include_ended=True), metadata=me)
    assert ended.api_tokens[0].HasField("revoke_time")


async def test_preferences_are_set_singly_reset_by_name_and_checked(auth: AuthRoom) -> None:
    me = bearer((await sign_in(auth.stub, Wallet())).access_token)

    async def update(names: tuple[str, ...] = (), **fields: object) -> user_pb2.Preferences:
        request = pb.UpdatePreferencesRequest(preferences=user_pb2.Preferences(**fields), update_fields=names)  # type: ignore[arg-type]
        answer: user_pb2.Preferences = (await auth.stub.UpdatePreferences(request, metadata=me)).preferences
        return answer

    await update(max_slippage_bps=0, venues=["lighter"], time_zone="Europe/Berlin")
    kept = await update(display_currency="EUR")
    assert (kept.max_slippage_bps, list(kept.venues), kept.display_currency) == (0, ["lighter"], "EUR")
    assert kept.HasField("max_slippage_bps")
    kept = await update(("venues",), max_slippage_bps=7)
    assert (list(kept.venues), kept.max_slippage_bps) == ([], 0)
    user = (await auth.stub.GetUser(pb.GetUserRequest(), metadata=me)).user
    assert user.preferences == kept
    for names, fields, field in (
        (("nonsense",), {"locale": "de"}, "update_fields[0]"),
        ((), {"venues": ["lighter"], "excluded_venues": ["lighter"]}, "preferences.excluded_venues"),
        ((), {"display_currency": "DOGE"}, "preferences.display_currency"),
        ((), {"time_zone": "Mars/Base"}, "preferences.time_zone"),
        ((), {"max_slippage_bps": 10_001}, "preferences.max_slippage_bps"),
    ):
        error = await refusal(update(names, **fields))  # type: ignore[arg-type]
        assert (error.reason, error.metadata["field"]) == (Reason.FIELD_INVALID, field)


async def test_nothing_secret_lies_in_the_database_in_clear(auth: AuthRoom, auth_postgres: Postgres) -> None:
    wallet = Wallet()
    done = await sign_in(auth.stub, wallet)
    renewed = await auth.stub.RefreshSession(_refresh(done.refresh_token))
    made = await auth.stub.CreateApiToken(_token_request(), metadata=bearer(done.access_token))
    secrets = [done.refresh_token, renewed.refresh_token, made.secret, done.access_token, renewed.access_token]
    needles = [text.split("_", 1)[-1] for text in secrets]
    connection = await asyncpg.connect(auth_postgres.url())
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'auth'")
    dump = ""
    for row in tables:
        rows = await connection.fetch(f"SELECT t::text AS line FROM auth.{row['tablename']} t")
        dump += "\n".join(one["line"] for one in rows)
    await connection.close()
    assert wallet.address in dump
    for needle in needles:
        assert needle not in dump
    assert made.api_token.prefix in dump
