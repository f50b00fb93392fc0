"""Lighter's questions about one account over REST, each under the request budget. Raises `VenueError`.

A token goes in the header `Authorization`; one that is refused is made anew, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from services.venues.account import AccountState, Fees, Fill, OrderRecord, Transfer
from services.venues.actions import OrderReference
from services.venues.lighter.tokens import Tokens
from services.venues.lighter.wire import account as wire
from services.venues.lighter.wire import ledger
from services.venues.lighter.wire.account import Markets
from services.venues.lighter.wire.numbers import WireError
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest, RestRefusedError
from services.venues.trading import AccountRef

PAGE: Final = 100
PAGES_MAX: Final = 100
ENDED_PAGES_MAX: Final = 10
BAD_TOKEN: Final = 20013
NOT_FOUND: Final = frozenset((21500,))
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any])

MOVES_PAGES_MAX: Final = 20

T = TypeVar("T")
Row = TypeVar("Row", ledger.RawDeposit, ledger.RawWithdrawal, ledger.RawTransfer)


class AccountHttp:
    """Questions about accounts."""

    def __init__(self, rest: Rest, tokens: Tokens) -> None:
        self._rest = rest
        self._tokens = tokens

    async def state(self, account: AccountRef, markets: Markets) -> AccountState:
        """Return the account."""
        answer = await self._ask(None, "account", by="index", value=account.index)
        rows = _convert(answer.get("accounts"), list[wire.RawAccount], "account")
        row = next((row for row in rows if row.index == account.index), None)
        if row is None:
            raise VenueError(f"Lighter knows no account {account.index}")
        return _made(lambda: wire.account_state(row, markets), "account")

    async def fees(self, account: AccountRef) -> Fees:
        """Return what the account pays."""
        answer = await self._ask(account, "accountLimits", account_index=account.index)
        return wire.fees(_convert(answer, wire.RawLimits, "accountLimits"))

    async def open_orders(self, account: AccountRef, markets: Markets) -> tuple[OrderRecord, ...]:
        """Return all open orders."""
        answer = await self._ask(account, "accountActiveOrders", account_index=account.index)
        return _orders(answer, markets)

    async def order(self, account: AccountRef, reference: OrderReference, markets: Markets) -> OrderRecord | None:
        """Return one order, by our id or the venue's: directly, among the open ones, or among the latest ended ones.

        What `accountOrders` keeps of ended orders is not documented, so what it does not know is looked for in the
        `ENDED_PAGES_MAX` newest pages of ended orders before it counts as unknown.
        """

        def is_it(record: OrderRecord) -> bool:
            if reference.client_id:
                return record.client_id == reference.client_id
            return record.order_id == reference.order_id

        if reference.client_id:
            answer = await self._ask(
                account, "accountOrders", account_index=account.index, client_order_indexes=reference.client_id
            )
            found = [record for record in _orders(answer, markets) if is_it(record)]
        else:
            found = [record for record in await self.open_orders(account, markets) if is_it(record)]
        cursor = ""
        for _ in range(0 if found else ENDED_PAGES_MAX):
            answer = await self._ask(
                account, "accountInactiveOrders", account_index=account.index, limit=PAGE, **_cursor(cursor)
            )
            found += [record for record in _orders(answer, markets) if is_it(record)]
            cursor = str(answer.get("next_cursor") or "")
            if found or not cursor:
                break
        return max(found, key=lambda record: record.version, default=None)

    async def ended_orders(self, account: AccountRef, markets: Markets, since_ms: int) -> tuple[OrderRecord, ...]:
        """Return the orders that ended since then, of the `ENDED_PAGES_MAX` newest pages."""
        found: list[OrderRecord] = []
        cursor = ""
        for _ in range(ENDED_PAGES_MAX):
            answer = await self._ask(
                account, "accountInactiveOrders", account_index=account.index, limit=PAGE, **_cursor(cursor)
            )
            rows = _orders(answer, markets)
            found += [record for record in rows if record.update_time_ms >= since_ms]
            cursor = str(answer.get("next_cursor") or "")
            if not cursor or not rows or rows[-1].update_time_ms < since_ms:
                break
        return tuple(record for record in reversed(found) if record.status.is_final)

    async def fills(
        self, account: AccountRef, markets: Markets, *, since_ms: int, until_ms: int | None
    ) -> tuple[Fill, ...]:
        """Return all trades of a time, oldest first, each once; since ever, the newest `PAGE * PAGES_MAX`."""
        found: dict[str, Fill] = {}
        cursor = ""
        for _ in range(PAGES_MAX):
            answer = await self._ask(
                account,
                "trades",
                account_index=account.index,
                sort_by="timestamp",
                sort_dir="desc",
                limit=PAGE,
                **_cursor(cursor),
            )
            rows = _convert(answer.get("trades") or [], list[wire.RawTrade], "trades")
            for row in rows:
                made = _fill(row, markets, account.index)
                if since_ms <= made.time_ms and (until_ms is None or made.time_ms <= until_ms):
                    found[made.fill_id] = made
            cursor = str(answer.get("next_cursor") or "")
            if not cursor or not rows or min(row.timestamp for row in rows) < since_ms:
                return tuple(sorted(found.values(), key=lambda fill: (fill.time_ms, int(fill.fill_id))))
        if since_ms > 0:
            raise VenueError(f"Lighter has more than {PAGE * PAGES_MAX} trades since then; ask for a shorter time")
        return tuple(sorted(found.values(), key=lambda fill: (fill.time_ms, int(fill.fill_id))))

    async def transfers(self, account: AccountRef, *, since_ms: int) -> tuple[Transfer, ...]:
        """Return deposits, withdrawals and transfers since then, oldest first: three questions at least.

        A withdrawal that comes back does so under its old time: the newest page of each history is always looked at.
        """
        who: dict[str, str | int] = {"account_index": account.index}
        wallet = who | {"l1_address": account.address}
        came = await self._rows(account, "deposit/history", "deposits", ledger.RawDeposit, since_ms, wallet)
        left = await self._rows(account, "withdraw/history", "withdraws", ledger.RawWithdrawal, since_ms, who)
        moved = await self._rows(account, "transfer/history", "transfers", ledger.RawTransfer, since_ms, who)
        found = _made(lambda: ledger.deposits(came), "deposit/history")
        found += _made(lambda: ledger.withdrawals(left), "withdraw/history")
        found += _made(lambda: ledger.transfers(moved, account.index), "transfer/history")
        recent = [one for one in found if one.time_ms >= since_ms]
        return tuple(sorted(recent, key=lambda one: (one.time_ms, one.transfer_id)))

    async def _rows(
        self,
        account: AccountRef,
        path: str,
        name: str,
        kind: type[Row],
        since_ms: int,
        who: Mapping[str, str | int],
    ) -> list[Row]:
        """Return the rows of one history, page by page until they are older."""
        found: list[Row] = []
        cursor = ""
        for _ in range(MOVES_PAGES_MAX):
            answer = await self._ask(account, path, **who, **_cursor(cursor))
            rows: list[Row] = _convert(answer.get(name) or [], cast("type[list[Row]]", list[kind]), path)  # type: ignore[valid-type]
            found += rows
            cursor = str(answer.get("cursor") or "")
            oldest = min((ledger.milliseconds(row.timestamp) for row in rows), default=0)
            if not cursor or not rows or oldest < since_ms:
                break
        return found

    async def next_nonce(self, account: AccountRef) -> int:
        """Return the nonce the venue expects of the key next."""
        answer = await self._ask(None, "nextNonce", account_index=account.index, api_key_index=account.api_key_index)
        nonce = answer.get("nonce")
        if not isinstance(nonce, int):
            raise VenueError(f"Lighter's next nonce cannot be read: {nonce!r:.60}")
        return nonce

    async def transaction(self, tx_hash: str) -> wire.RawTx | None:
        """Return what the venue says of a transaction; None where it knows none."""
        try:
            answer = await self._ask(None, "tx", by="hash", value=tx_hash)
        except RestRefusedError as error:
            if _code(error.body) in NOT_FOUND:
                return None
            raise
        return _convert(answer, wire.RawTx, "tx")

    async def _ask(self, account: AccountRef | None, path: str, **fields: str | int) -> dict[str, Any]:
        """Return an answer with code 200; with a token where an account is named. Look-ups pass an open breaker."""
        for attempt in range(2):
            headers: Mapping[str, str] = {}
            if account is not None:
                headers = {"Authorization": (await self._tokens.get(account)).text}
            try:
                body = await self._rest.get(f"/api/v1/{path}", fields, headers=headers, importance=Importance.URGENT)
            except RestRefusedError as error:
                if account is not None and _code(error.body) == BAD_TOKEN and attempt == 0:
                    self._tokens.forget(account)
                    continue
                raise
            try:
                answer = _ANSWER.decode(body)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                raise VenueError(f"Lighter's answer to {path} cannot be read: {error}") from error
            if answer.get("code") != 200:
                words = str(answer.get("message"))[:200]
                raise VenueError(f"Lighter answered {path} with {answer.get('code')}: {words}")
            return answer
        raise AssertionError("the second attempt returns or raises")


def _fill(row: wire.RawTrade, markets: Markets, index: int) -> Fill:
    return _made(lambda: wire.fill(row, markets, index), "trades")


def _cursor(cursor: str) -> dict[str, str | int]:
    return {"cursor": cursor} if cursor else {}


def _orders(answer: Mapping[str, Any], markets: Markets) -> tuple[OrderRecord, ...]:
    rows = _convert(answer.get("orders") or [], list[wire.RawOrder], "orders")
    return _made(lambda: tuple(wire.order_record(row, markets) for row in rows), "orders")


def _convert(value: Any, kind: type[T], what: str) -> T:
    return _made(lambda: wire.convert(value, kind), what)


def _made(make: Callable[[], T], what: str) -> T:
    try:
        return make()
    except WireError as error:
        raise VenueError(f"Lighter's {what} cannot be read: {error}") from error


def _code(body: bytes) -> int:
    try:
        found = _ANSWER.decode(body).get("code")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0
