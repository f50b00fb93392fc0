"""Lighter's REST paths about accounts, and the door for transactions.

Reads take the token in the header `Authorization` or the parameter `auth`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from services.simulator.acks import spoil
from services.simulator.connection import Rim
from services.simulator.crypto.ethereum import checksummed
from services.simulator.crypto.poseidon import hash_elements, to_bytes
from services.simulator.dialects.lighter import accounts
from services.simulator.dialects.lighter.holders import READ_TOKENS_MAX, TIERS, Holder, ReadToken, Row
from services.simulator.dialects.lighter.printing import Json
from services.simulator.dialects.lighter.private import FAUCET_USDC, LighterPrivate
from services.simulator.dialects.lighter.query import Query
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.dialects.lighter.trades import user_trade
from services.simulator.exchange.account import Account
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import MICRO, Order

INDEX_MAX = (1 << 48) - 2
ALL_MARKETS = 255
CLIENTS_MAX = 20
MOVES_MAX = 50
"""Rows of one page of the histories of money; the venue does not say how many it gives."""
TIER_PAUSE_S = 86_400
encode = msgspec.json.Encoder().encode
Answer = Callable[[Query], dict[str, Json]]


class AccountRest:
    """Answers about accounts."""

    def __init__(self, private: LighterPrivate, rim: Rim) -> None:
        """Take the private half."""
        self._private = private
        self._rim = rim
        self._exchange = private.exchange
        self._holders = private.holders

    def reads(self) -> dict[str, Answer]:
        """Return the answers to GET by path."""
        return {
            "account": self._account, "accountsByL1Address": self._by_wallet, "apikeys": self._keys,
            "nextNonce": self._next_nonce,
            "accountLimits": self._limits, "accountMetadata": self._metadata,
            "accountActiveOrders": self._active, "accountInactiveOrders": self._inactive,
            "accountOrders": self._by_client, "pnl": self._pnl, "positionFunding": self._funding,
            "liquidations": self._liquidations, "tx": self._tx, "txFromL1TxHash": self._no_tx,
            "accountTxs": self._txs, "tokens": self._tokens,
            "transfer/history": lambda query: self._moves(query, "transfers", ("transfer",)),
            "deposit/history": lambda query: self._moves(query, "deposits", ("deposit",)),
            "withdraw/history": lambda query: self._moves(query, "withdraws", ("withdraw",)),
            "transferFeeInfo": lambda _query: {"transfer_fee_usdc": 0}, "feeTiers": lambda _query: FEE_TIERS,
            "getMakerOnlyApiKeys": self._maker_only, "l1Metadata": self._wallet, "faucet": self._faucet,
            "withdrawalDelay": lambda _query: {"seconds": 14_400}, "leaseOptions": lambda _query: {"options": []},
            "announcement": lambda _query: {"announcements": []},
            "publicPoolsMetadata": lambda _query: {"public_pools": []},
            "referral/points": lambda query: self._known(query, {"referrals": [], "user_total_points": 0}),
        }  # fmt: skip

    def writes(self) -> dict[str, Answer]:
        """Return the answers to POST by path, the transactions apart."""
        return {
            "changeAccountTier": self._change_tier, "setMakerOnlyApiKeys": self._set_maker_only,
            "tokens/create": self._create_token, "tokens/revoke": self._revoke_token,
            "notification/ack": lambda query: self._known(query, {}),
        }  # fmt: skip

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Take one transaction, as a form of either kind."""
        form = await request.post()
        kind = str(form.get("tx_type") or "")
        if not kind.isdigit():
            return _refuse(RefusedError(20001, "invalid param : field tx_type is not set"))
        return await self._answer(request, [int(kind)], [str(form.get("tx_info") or "")], "/api/v1/sendTx",
                                  protected=str(form.get("price_protection", "true")) != "false", one=True)  # fmt: skip

    async def send_batch(self, request: web.Request) -> web.StreamResponse:
        """Take a batch: JSON texts of the types and of the transactions."""
        form = await request.post()
        try:
            kinds = msgspec.json.decode(str(form.get("tx_types") or ""), type=list[int])
            infos = msgspec.json.decode(str(form.get("tx_infos") or ""), type=list[str])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return _refuse(RefusedError(21501))
        return await self._answer(request, kinds, list(infos), "/api/v1/sendTxBatch", protected=True, one=False)

    async def _answer(
        self, request: web.Request, kinds: list[int], infos: list[Json], path: str, *, protected: bool, one: bool
    ) -> web.StreamResponse:
        try:
            body = self._private.send(kinds, infos, path, protected=protected)
        except RefusedError as refusal:
            return _refuse(refusal)
        spoiled = spoil(self._rim, path, str(kinds[0]))
        if spoiled.delay_s:
            await self._rim.clock.sleep(spoiled.delay_s)
        if spoiled.lost and request.transport is not None:
            request.transport.abort()
        if spoiled.error is not None:
            text = spoiled.text or "internal server error"
            return _json(spoiled.status, {"code": 29500, "message": text})
        if one and isinstance(body["tx_hash"], list):
            body["tx_hash"] = body["tx_hash"][0]
        return _json(200, body)

    # -- accounts

    def _holder(self, query: Query) -> Holder:
        return self._holders.get(query.number("account_index", 0, INDEX_MAX))

    def _authorized(self, query: Query) -> Holder:
        """Return the account asked about, after its token was checked."""
        index = query.number("account_index", 0, INDEX_MAX)
        self._holders.authorize(query.token(), index, self._private.now_s())
        return self._holders.get(index)

    def _known(self, query: Query, body: dict[str, Json]) -> dict[str, Json]:
        self._authorized(query)
        return body

    def _state(self, holder: Holder) -> Account:
        return self._exchange.state.accounts[holder.index]

    def _account(self, query: Query) -> dict[str, Json]:
        value = query.text("value")
        if query.text("by", None, ("index", "l1_address")) == "index":
            found = [self._holders.get(int(value) if value.isdigit() else -1)]
        else:
            found = self._holders.all_of(_wallet_number(value))
        if not found:
            raise RefusedError(21100)
        only = query.text("active_only", "false") == "true"
        return {"total": len(found), "accounts": [self._detailed(holder, only=only) for holder in found]}

    def _detailed(self, holder: Holder, *, only: bool) -> dict[str, Json]:
        account, state = self._state(holder), self._exchange.state
        markets = [market for market in accounts.known_markets(account) if not only or account.size(market)]
        approvals: list[Json] = [
            {"account_index": index, "name": "", "max_perps_taker_fee": item.taker, "max_perps_maker_fee": item.maker,
             "max_spot_taker_fee": item.spot_taker, "max_spot_maker_fee": item.spot_maker,
             "approval_expiry": item.expiry_ms} for index, item in holder.approvals.items()
        ]  # fmt: skip
        return accounts.summary(state, account, holder) | {
            "account_index": holder.index, "name": "", "description": "", "can_invite": True,
            "referral_points_percentage": "", "can_rfq": False, "can_rfq_market_ids": None,
            "created_at": holder.created_s, "metadata": {"color": ""},
            "positions": [accounts.position(state, account, name, self._private.symbols[name]) for name in markets],
            "assets": [accounts.asset(state, account)], "shares": [], "pending_unlocks": [],
            "approved_integrators": approvals, "agent_enabled": False,
        }  # fmt: skip

    def _by_wallet(self, query: Query) -> dict[str, Json]:
        wallet = _wallet_number(query.text("l1_address"))
        found = self._holders.all_of(wallet)
        if not found:
            raise RefusedError(21100)
        rows = [accounts.summary(self._exchange.state, self._state(holder), holder) for holder in found]
        kept = ("code", "account_type", "account_trading_mode", "index", "l1_address", "cancel_all_time",
                "total_order_count", "total_isolated_order_count", "pending_order_count", "available_balance",
                "status", "collateral", "transaction_time")  # fmt: skip
        return {"l1_address": checksummed(wallet), "sub_accounts": [{name: row[name] for name in kept} for row in rows]}

    def _wallet(self, query: Query) -> dict[str, Json]:
        return {"l1_address": query.text("l1_address"), "can_invite": True, "referral_points_percentage": ""}

    def _keys(self, query: Query) -> dict[str, Json]:
        holder, slot = self._holder(query), query.number("api_key_index", 0, 255, 255)
        rows = [
            {"account_index": holder.index, "api_key_index": number, "nonce": key.nonce,
             "public_key": key.public.hex(), "transaction_time": key.at_us}
            for number, key in sorted(holder.keys.items()) if slot in (255, number)
        ]  # fmt: skip
        if not rows and slot != 255:
            raise RefusedError(21109)
        return {"api_keys": rows}

    def _next_nonce(self, query: Query) -> dict[str, Json]:
        index, slot = query.number("account_index", 0, INDEX_MAX), query.number("api_key_index", 0, 254)
        return {"nonce": self._holders.nonce(index, slot)}

    def _limits(self, query: Query) -> dict[str, Json]:
        holder = self._authorized(query)
        tier = self._state(holder).tier
        rates = self._exchange.state.rules.rates(tier, 0)
        return {
            "max_llp_percentage": 100, "max_llp_amount": "0.000000", "user_tier": tier,
            "can_create_public_pool": False, "user_tier_name": tier, "current_maker_fee_tick": rates.maker // MICRO,
            "current_taker_fee_tick": rates.taker // MICRO, "leased_lit": "0.00000000",
            "effective_lit_stakes": "0.00000000", "user_tier_last_update": holder.tier_changed_s,
        }  # fmt: skip

    def _metadata(self, query: Query) -> dict[str, Json]:
        value = query.text("value")
        holder = self._holders.get(int(value) if value.isdigit() else -1)
        row = {"account_index": holder.index, "name": "", "description": "", "can_invite": True,
               "referral_points_percentage": "", "created_at": holder.created_s}  # fmt: skip
        return {"account_metadatas": [row]}

    def _change_tier(self, query: Query) -> dict[str, Json]:
        holder, tier = self._authorized(query), query.text("new_tier")
        account = self._state(holder)
        if tier not in TIERS:
            raise RefusedError(62002)
        if tier == account.tier:
            raise RefusedError(62003)
        if any(held.size for held in account.positions.values()):
            raise RefusedError(62004)
        if account.orders:
            raise RefusedError(62005)
        now = self._private.now_s()
        if holder.tier_changed_s and now - holder.tier_changed_s < TIER_PAUSE_S:
            raise RefusedError(62006)
        account.tier, holder.tier_changed_s = tier, now
        return {}

    def _maker_only(self, query: Query) -> dict[str, Json]:
        return {"api_key_indexes": sorted(self._authorized(query).maker_only)}

    def _set_maker_only(self, query: Query) -> dict[str, Json]:
        holder, text = self._authorized(query), query.text("api_key_indexes")
        words = [word for word in text.strip("[]").replace(" ", "").split(",") if word]
        if not all(word.isdigit() and 3 < int(word) < 255 for word in words):
            raise RefusedError(21110)
        holder.maker_only = {int(word) for word in words}
        return {}

    # -- orders and history

    def _print(self, orders: list[Order]) -> list[Json]:
        terms, height = self._exchange.state.terms, self._private.height()
        return [accounts.order(item, terms(item.wanted.market), height, snapshot=True) for item in orders]

    def _chosen(self, query: Query, orders: list[Order]) -> list[Order]:
        market = query.number("market_id", 0, 4094, ALL_MARKETS)
        return [item for item in orders if market in (ALL_MARKETS, int(item.wanted.market))]

    def _active(self, query: Query) -> dict[str, Json]:
        account = self._state(self._authorized(query))
        return {"orders": self._print(self._chosen(query, list(account.orders.values())[::-1]))}

    def _inactive(self, query: Query) -> dict[str, Json]:
        holder, limit = self._authorized(query), query.number("limit", 1, 100)
        done = [item for item in reversed(self._private.records.of(holder.index).orders.values()) if not item.live]
        done = self._chosen(query, [item for item in done if accounts.is_shown(item)])
        start = query.number("cursor", 0, 1 << 50, 0) if query.text("cursor", "") else 0
        rows = self._print(done[start : start + limit])
        more = str(start + limit) if start + limit < len(done) else ""
        return {"orders": rows, "next_cursor": more}

    def _by_client(self, query: Query) -> dict[str, Json]:
        holder = self._authorized(query)
        words = query.text("client_order_indexes").split(",")
        if len(words) > CLIENTS_MAX or not all(word.isdigit() for word in words):
            raise RefusedError(20001, "invalid param : client_order_indexes")
        record = self._private.records.of(holder.index)
        found = [item for word in words if (item := record.order(word)) is not None and accounts.is_shown(item)]
        return {"orders": self._print(found)}

    def _pnl(self, query: Query) -> dict[str, Json]:
        value = query.text("value")
        holder = self._holders.get(int(value) if value.isdigit() else -1)
        put = sum(item.amount for item in self._private.records.of(holder.index).moves)
        figures = accounts.summary(self._exchange.state, self._state(holder), holder)
        gained = float(str(figures["total_asset_value"])) - put / MICRO
        row: dict[str, Json] = {"timestamp": self._private.now_s(), "trade_pnl": gained, "inflow": put / MICRO}
        zero = ("outflow", "pool_pnl", "pool_inflow", "pool_outflow", "pool_total_shares", "spot_inflow",
                "spot_outflow", "staked_lit", "staking_inflow", "staking_outflow", "staking_pnl", "trade_spot_pnl",
                "volume")  # fmt: skip
        return {"resolution": query.text("resolution", "1h"), "pnl": [row | dict.fromkeys(zero, 0.0)]}

    def _funding(self, query: Query) -> dict[str, Json]:
        holder, limit = self._holder(query), query.number("limit", 1, 100)
        terms, rows = self._exchange.state.terms, list(self._private.records.of(holder.index).fundings)[::-1][:limit]
        printed = [accounts.funding(item, terms(item.market), item.at_us) for item in rows]
        return {"position_fundings": printed, "next_cursor": ""}

    def _liquidations(self, query: Query) -> dict[str, Json]:
        holder, limit = self._authorized(query), query.number("limit", 1, 100)
        rows = list(self._private.records.of(holder.index).liquidations)[::-1][:limit]
        printed = [accounts.liquidation(item, self._exchange.state) for item in rows]
        return {"liquidations": printed, "next_cursor": ""}

    def trades(self, query: Query, index: int) -> list[Json]:
        """Return an account's newest trades, for the path that also shows everyone's."""
        limit, market = query.number("limit", 1, 100), query.number("market_id", 0, 4094, ALL_MARKETS)
        terms, height = self._exchange.state.terms, self._private.height()
        rows = [item for item, _ in reversed(self._private.records.of(index).trades)
                if market in (ALL_MARKETS, int(item.market))]  # fmt: skip
        return [user_trade(item, height, _decimals(terms(item.market)), index) for item in rows[:limit]]

    def _moves(self, query: Query, name: str, kinds: tuple[str, ...]) -> dict[str, Json]:
        holder = self._authorized(query)
        rows = [item for item in self._private.records.of(holder.index).moves if item.kind in kinds][::-1]
        start, known = query.number("cursor", 0, 1 << 50, 0) if query.text("cursor", "") else 0, self._holders
        shown = rows[start : start + MOVES_MAX]
        more = str(start + MOVES_MAX) if start + MOVES_MAX < len(rows) else ""
        return {name: [accounts.move(item, known) for item in shown], "cursor": more}

    # -- transactions

    def _row(self, row: Row) -> dict[str, Json]:
        return accounts.transaction(row, self._holders.get(row.account).wallet)

    def _tx(self, query: Query) -> dict[str, Json]:
        by, value = query.text("by", None, ("hash", "sequence_index")), query.text("value").removeprefix("0x")
        found = self._holders.rows.get(value) if by == "hash" else next(
            (row for row in self._holders.rows.values() if str(row.sequence) == value), None
        )  # fmt: skip
        if found is None:
            raise RefusedError(21500)
        return self._row(found)

    def _no_tx(self, query: Query) -> dict[str, Json]:
        query.text("hash")
        raise RefusedError(21500)

    def _txs(self, query: Query) -> dict[str, Json]:
        value = query.text("value")
        limit = query.number("limit", 1, 100)
        self._holders.authorize(query.token(), int(value) if value.isdigit() else None, self._private.now_s())
        rows = self._holders.rows_of(int(value) if value.isdigit() else -1, limit)
        return {"txs": [self._row(row) for row in rows]}

    # -- tokens and test money

    def _token_row(self, holder: Holder, item: ReadToken) -> dict[str, Json]:
        return {
            "token_id": item.id, "api_token": item.token, "name": item.name, "account_index": holder.index,
            "expiry": item.expiry_s, "sub_account_access": item.sub_access, "revoked": item.revoked,
            "scopes": item.scopes,
        }  # fmt: skip

    def _tokens(self, query: Query) -> dict[str, Json]:
        holder = self._authorized(query)
        return {"api_tokens": [self._token_row(holder, item) for item in holder.tokens]}

    def _create_token(self, query: Query) -> dict[str, Json]:
        holder, expiry = self._authorized(query), query.number("expiry", 0, 1 << 40)
        if sum(not item.revoked for item in holder.tokens) >= READ_TOKENS_MAX:
            raise RefusedError(21515)
        number = len(holder.tokens) + 1
        access = query.text("sub_account_access", "false") == "true"
        secret = to_bytes(hash_elements([holder.index, number, expiry, self._private.now_ms()], 4)).hex()
        text = f"ro:{holder.index}:{'all' if access else 'single'}:{expiry}:{secret}"
        item = ReadToken(number, text, query.text("name"), expiry, access, query.text("scopes", "read.*"))
        holder.tokens.append(item)
        return self._token_row(holder, item)

    def _revoke_token(self, query: Query) -> dict[str, Json]:
        holder, number = self._authorized(query), query.number("token_id", 0, 1 << 40)
        for item in holder.tokens:
            if item.id == number:
                item.revoked = True
                return self._token_row(holder, item)
        raise RefusedError(20001, "invalid param : token_id")

    def _faucet(self, query: Query) -> dict[str, Json]:
        wallet = _wallet_number(query.text("l1_address"))
        self._private.open_account(wallet, FAUCET_USDC, 0, "", {}, None)
        return {}


def _wallet_number(text: str) -> int:
    digits = text.removeprefix("0x")
    if len(digits) != 40 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise RefusedError(21103)
    return int(digits, 16)


def _refuse(refusal: RefusedError) -> web.Response:
    return _json(refusal.status, refusal.body())


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type="application/json")


FEE_TIERS: dict[str, Json] = {
    "user_tiers": [
        {"name": name, "level": level, "maker_fee_ticks": maker, "taker_fee_ticks": taker, "required_lit_stakes": 0,
         "required_volume": 0}
        for level, (name, maker, taker) in enumerate((("standard", 0, 0), ("plus", 50, 50), ("premium", 40, 280)))
    ],
    "bo_tiers": [], "staking_tiers": [],
}  # fmt: skip


def _decimals(terms: Terms) -> tuple[int, int]:
    return terms.price_decimals, terms.size_decimals
