"""Mistakes that were made elsewhere, or could be made here, as edits of the source: one text in place of another.

Each names the row of the fault catalogue it belongs to (`docs/faults.md`), and the standing tests that must find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RECORD: Final = "tests/integration/execution/test_orders_record.py"
FAULTS: Final = "tests/integration/execution/test_execution_faults.py"
CRASH: Final = "tests/integration/execution/test_execution_crash.py"
LEG: Final = "tests/unit/execution/test_leg.py"
REFEREE: Final = "tests/referee/venue_trading/test_trading_faults.py"
SPOILED: Final = f"{FAULTS}::test_an_answer_that_is_not_true_is_unknown_and_never_a_refusal"
MAINTENANCE: Final = f"{FAULTS}::test_a_venue_in_maintenance_is_waited_for_and_gets_the_order_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An edit of one file, and who must notice."""

    name: str
    fault: str
    """The rows of the fault catalogue that it fails in."""
    path: str
    right: str
    """What stands there; exactly once in the file."""
    wrong: str
    finders: tuple[str, ...]
    """The tests that must fail, as pytest takes them."""
    sample: int = 2
    """How many crash points of each story are tried, where the finder is the crash stories."""


def _mistake(name: str, fault: str, path: str, right: str, wrong: str, *finders: str, sample: int = 2) -> Mistake:
    return Mistake(name=name, fault=fault, path=path, right=right, wrong=wrong, finders=finders, sample=sample)


_WORKER: Final = "services/execution/app/worker.py"
_ORDERS: Final = "services/execution/store/orders.py"
_INTAKE: Final = "services/execution/app/intake.py"
_LEG: Final = "services/execution/model/leg.py"
_EVIDENCE: Final = "services/execution/model/evidence.py"
_SAID: Final = "services/execution/store/statements.py"
_UNIT: Final = "tests/unit/execution/"

MISTAKES: Final = (
    # --- the way of an order
    _mistake(
        "a fresh nonce for each try", "A5, A6", _WORKER,
        "signed = await placing_bytes(self._signer, work, account, place_of(leg))",
        "signed = await self._signer.sign(work, account, place_of(leg), leg.send_count)",
        MAINTENANCE,
    ),
    _mistake(
        "placed anew under another id on a timeout", "A5, A12", "services/execution/app/placing.py",
        "client_id=leg.client_id,",
        'client_id=leg.client_id[:-1] + str(leg.send_count % 10),',
        MAINTENANCE,
    ),
    _mistake(
        "acknowledged before the commit", "A1, A2, E1", _INTAKE,
        "kept = await asyncio.shield(asyncio.ensure_future(self._hand_over(order)))\n"
        "        return kept.answer_to(wanted)",
        "self._late = asyncio.ensure_future(self._hand_over(order))\n        return order",
        f"{FAULTS}::test_a_database_that_is_restarted_loses_no_order_and_no_trade",
    ),
    _mistake(
        "sent before it is noted as sent", "A3, A5", _WORKER,
        "        sent = await self._orders.change(work, sending, due_s=LEASE_S)\n        if sent is None:\n"
        "            return  # another worker holds the leg by now: it sends the same bytes, or has\n"
        "        ref = replace(account.ref, api_key_index=key_index)\n"
        "        submission = await asyncio.shield(venue.submit(ref, signed, again=again))\n",
        "        ref = replace(account.ref, api_key_index=key_index)\n"
        "        submission = await asyncio.shield(venue.submit(ref, signed, again=again))\n"
        "        sent = await self._orders.change(work, sending, due_s=LEASE_S)\n        if sent is None:\n"
        "            return\n",
        f"{CRASH}::test_no_death_loses_doubles_or_invents[hyperliquid-is_canceled_too_late]", sample=60,
    ),
    _mistake(
        "a start does not take up what a death left", "A2, A3", _ORDERS,
        "await connection.execute(sql.RELEASE, self._clock.now())", "pass",
        RECORD,
    ),
    _mistake(
        "the fence is not looked at", "A9, A10", "services/execution/store/writer.py",
        "WHERE l.fence = t.fence FOR UPDATE OF l", "FOR UPDATE OF l",
        RECORD,
    ),
    _mistake(
        "a lease keeps nobody off", "A9", _SAID,
        "AND (lease_time IS NULL OR lease_time < $2) AND ($4 IS FALSE OR", "AND ($4 IS FALSE OR",
        RECORD,
    ),
    _mistake(
        "the vault signs for an old fence", "A9, A10", "services/vault/app/desk.py",
        "            if job.leg.fence < newest:\n                job.fail(model.fenced(job.leg, newest))\n"
        "            elif account_id",
        "            if account_id",
        "tests/integration/vault/test_vault_signer.py::test_an_old_fence_and_another_action_are_refused",
    ),
    _mistake(
        "the same request makes a second order", "A11, E10", _INTAKE,
        "                return known.answer_to(wanted)\n            order_id",
        "            wanted = __import__('dataclasses').replace(wanted, request_id=self.new_id())\n"
        "            order_id",
        f"{SPOILED}[hyperliquid-lost]",
    ),
    _mistake(
        "a request id stands for any content", "A11", "services/execution/model/order.py",
        "        if wanted.digest != self.digest:", "        if wanted.market != self.market:",
        RECORD,
    ),
    _mistake(
        "the size is no part of a request's content", "A11", "services/execution/model/order.py",
        "self.market, self.side.value, plain_text(self.size), str(self.size_in_usd)",
        "self.market, self.side.value, str(self.size_in_usd)",
        f"{_UNIT}test_order.py",
    ),
    _mistake(
        "the same order is taken again while the first is unknown", "A12", "services/execution/app/gate.py",
        "if look.unknown_id is not None and not wanted.allow_while_unknown:", "if False:",
        f"{_UNIT}test_gate.py",
    ),
    # --- what a venue says
    _mistake(
        "Hyperliquid's 502 is a refusal", "A7, B2", "services/venues/hyperliquid/trader.py",
        "            return Submission(outcomes=(Unknown(str(error), error.retry_after_s),) * count, "
        "nonce=NonceFate.UNKNOWN)\n        allotment.spend(now_ns, count)\n        scenes",
        "            no = self._held(signed, str(error), None, again=False)\n"
        "            return Submission(outcomes=no.outcomes, nonce=NonceFate.USED)\n"
        "        allotment.spend(now_ns, count)\n        scenes",
        f"{SPOILED}[hyperliquid-502]",
    ),
    _mistake(
        "what met a 503 counts as never sent", "A7, B2", "services/venues/hyperliquid/trader.py",
        "            return Submission(outcomes=(Unknown(str(error), error.retry_after_s),) * count, "
        "nonce=NonceFate.UNKNOWN)\n        allotment.spend(now_ns, count)\n        scenes",
        "            return self._held(signed, str(error), error.retry_after_s, again=False)\n"
        "        allotment.spend(now_ns, count)\n        scenes",
        f"{REFEREE}::test_an_answer_is_believed_only_as_far_as_it_can_be[hyperliquid-http_status-503]",
    ),
    _mistake(
        "Lighter's 502 is a refusal", "A7, B2", "services/venues/lighter/trader.py",
        "                return Submission(outcomes=(Unknown(str(error), error.retry_after_s),), "
        "nonce=NonceFate.UNKNOWN)\n            body = error.body",
        "                return self._held(str(error), None, False, RefusalReason.VENUE_UNAVAILABLE)\n"
        "            body = error.body",
        f"{SPOILED}[lighter-502]",
    ),
    _mistake(
        "Hyperliquid's bytes are dead before they expire", "A5, A6", "services/venues/hyperliquid/tracing.py",
        "is_over = now_ms > signed.expire_time_ms + SETTLE_MS", "is_over = True",
        "tests/unit/venues/test_tracing.py",
    ),
    _mistake(
        "Lighter's nonce alone proves that nothing landed", "A8, D3", "services/venues/lighter/tracing.py",
        "    if now_ms <= signed.expire_time_ms + SETTLE_MS:", "    if nonce is None:",
        "tests/unit/venues/test_tracing.py",
    ),
    _mistake(
        "an unknown outcome ends by guess", "A5, A6", _WORKER,
        "lose = _same if leg.acknowledge_time else self._teller(Told.LOSE, Evidence.UNSPECIFIED)",
        "lose = self._teller(Told.NEVER_LAND if not may_resend else Told.LOSE, Evidence.UNSPECIFIED)",
        f"{FAULTS}::test_an_order_that_never_reached_a_venue_in_maintenance_is_proven_dead",
    ),
    _mistake(
        "identical bytes are sent without end", "A20, G10", _WORKER,
        "RESEND_MAX: Final = 3\n", "RESEND_MAX: Final = 1_000_000\n",
        f"{FAULTS}::test_an_order_that_never_reached_a_venue_in_maintenance_is_proven_dead",
    ),
    _mistake(
        "a cancel ends an order whose trades are on their way", "A15, A16", _EVIDENCE,
        "    if record.filled is not None and record.filled > leg.filled:\n"
        "        return known  # its trades come first\n",
        "",
        f"{_UNIT}test_evidence.py",
    ),
    _mistake(
        "a trade after the end is not counted", "A15, A16", _LEG,
        "_LATE: Final[dict[Told, LegState]] = {_T.FILL_ALL: _S.FILLED}", "_LATE: Final[dict[Told, LegState]] = {}",
        LEG,
    ),
    _mistake(
        "a trade is counted by each way it is told", "C4, C7", _EVIDENCE,
        'f"{venue}\\0{account_id}\\0{symbol}\\0{trade_id}".encode()',
        'f"{venue}\\0{account_id}\\0{symbol}\\0{trade_id}{__import__(\'uuid\').uuid4()}".encode()',
        f"{_UNIT}test_evidence.py", RECORD,
    ),
    _mistake(
        "a trade told before its order's id is forgotten", "A14, C4", _ORDERS,
        "            leg = await self._adopted(connection, order, leg, now)", "            pass",
        RECORD,
    ),
    _mistake(
        "fees have the wrong sign", "I4", _EVIDENCE,
        "        fee=fill.fee,\n", "        fee=-fill.fee,\n",
        f"{_UNIT}test_evidence.py",
    ),
    # --- streams and reconciliation
    _mistake(
        "nothing is reconciled after a reconnect", "C3, C4", "services/venues/watching.py",
        "                await self._present(ended=ended)\n            except",
        "                if self.reconciled_count == 0:\n                    await self._present(ended=ended)\n"
        "            except",
        "tests/unit/venues/test_watching.py",
    ),
    _mistake(
        "an order that a list misses is left alone", "C4", _SAID,
        "AND update_time < $3 AND client_id <> ALL ($2)", "AND update_time < $3 AND client_id = ANY ($2)",
        RECORD,
    ),
    _mistake(
        "what rests is left alone while its stream is cut", "C3, C4", "services/execution/app/watcher.py",
        "            await self._orders.hasten(account, BLIND_S)", "            pass",
        f"{FAULTS}::test_a_stream_that_is_cut_during_a_fill_tells_each_trade_once_when_it_is_back",
    ),
    _mistake(
        "an update that does not follow is taken", "C5", "services/venues/lighter/track.py",
        "if delta.previous_version == self.version and delta.version > self.version:",
        "if delta.version > self.version:",
        "tests/unit/venues/lighter/test_lighter_feed.py",
    ),
    _mistake(
        "a cursor skips what comes after it", "G1, I7", "services/execution/store/log.py",
        "WHERE user_id = $1 AND kind = $2 AND sequence > $3 ",
        "WHERE user_id = $1 AND kind = $2 AND sequence > $3 + 1 ",
        RECORD,
    ),
    _mistake(
        "what was not kept is said all the same", "E1, F5", "services/execution/store/writer.py",
        "WHERE s.order_id IS NULL OR h.order_id IS NOT NULL ORDER BY s.place", "ORDER BY s.place",
        "tests/integration/execution/test_execution_record.py", RECORD,
    ),
    _mistake(
        "what is said leaves outside the transaction", "E1, F5", _ORDERS,
        '        await connection.execute("INSERT INTO outbox (',
        "        async with self._database.acquire() as other:\n"
        '            await other.execute("INSERT INTO outbox (',
        RECORD,
    ),
    # --- nonces, retries, budgets
    _mistake(
        "slices forget what is out", "A16, I12", "services/execution/model/twap.py",
        "return min(self.target(number, size) - filled - out, CATCH_UP * own)",
        "return min(self.target(number, size) - filled, CATCH_UP * own)",
        f"{_UNIT}test_twap.py",
    ),
    _mistake(
        "a nonce's fate is never told", "D1, D3", "services/execution/app/settling.py",
        "        await signer.settle(work, number, fate)\n", "        pass\n",
        f"{SPOILED}[lighter-lost]",
    ),
    _mistake(
        "a nonce that was used is told as free", "D2, I10", "services/execution/model/fate.py",
        "return Fate.ACCEPTED if isinstance(outcome, Accepted) else Fate.REFUSED_NONCE_USED",
        "return Fate.ACCEPTED if isinstance(outcome, Accepted) else Fate.REFUSED_NONCE_FREE",
        f"{_UNIT}test_evidence.py",
    ),
    _mistake(
        "Lighter's next action is signed before the last one's fate is known", "D1",
        "services/execution/app/canceling.py",
        "        again = not work.leg.is_settled\n", "        again = False\n",
        f"{FAULTS}::test_a_cancel_whose_answer_is_lost_is_followed_and_the_account_goes_on",
    ),
    _mistake(
        "work that fails is tried again at once", "A20, B1", "services/execution/model/retry.py",
        "self.backoff_multiplier ** min(max(0, attempts - 1), 64)", "0",
        f"{_UNIT}test_rules.py",
    ),
    _mistake(
        "work is given up as stuck one try too late", "A20", "services/execution/model/trouble.py",
        "0 < retry.max_attempts <= now.attempts", "0 < retry.max_attempts < now.attempts",
        f"{_UNIT}test_retry.py",
    ),
    _mistake(
        "an open breaker blocks cancels and look-ups", "A19", "services/venues/rest.py",
        "        if not allowed and importance is not Importance.URGENT:", "        if not allowed:",
        "tests/unit/venues/test_rest.py",
    ),
    _mistake(
        "an order is a breaker's probe", "A19", "services/venues/rest.py",
        "if importance is Importance.ORDER and not self._breaker.is_closed():", "if False:",
        "tests/unit/venues/test_rest.py",
    ),
    _mistake(
        "an order in a hurry waits for a budget without end", "B1, I11", "services/execution/app/gate.py",
        "        if wait_s <= BUDGET_WAIT_MAX_S:", "        if wait_s <= 1e9:",
        f"{_UNIT}test_gate.py",
    ),
    # --- limits and halts
    _mistake(
        "a halt is not looked at when orders come in", "H8", "services/execution/app/gate.py",
        "stopped = [self._stops(user_id, one.venue) for one in accounts]", "stopped = [None for _ in accounts]",
        f"{_UNIT}test_gate.py",
    ),
    _mistake(
        "a halt does not stop what waits to be sent", "H8", _WORKER,
        "        return None if work.leg.reduce_only else self._stops(work.order.user_id, work.leg.venue)",
        "        return None",
        f"{FAULTS}::test_a_halt_stops_what_was_taken_in_and_not_sent",
    ),
    _mistake(
        "a close is rounded up", "I12", "services/domain/market.py",
        "return Size(size.quantize(listing.lot, rounding=ROUND_DOWN))",
        "return Size(size.quantize(listing.lot, rounding=ROUND_UP))",
        "tests/unit/domain/test_market.py",
    ),
    _mistake(
        "exits are as large as the order, whatever it filled", "I12", "services/execution/model/exits.py",
        "missing = entry.filled - sum", "missing = entry.size - sum",
        f"{_UNIT}test_exits.py",
    ),
    _mistake(
        "of two exits both stay", "I12", "services/execution/model/exits.py",
        "                work.put(replace(other, cancel_wanted=True))", "                pass",
        f"{_UNIT}test_exits.py",
    ),
    _mistake(
        "a replacement forgets what was filled on the way", "A14, I12", "services/execution/model/replacing.py",
        "+ max(ZERO, consumed - old.filled)", "",
        f"{_UNIT}test_replacing.py",
    ),
    _mistake(
        "slices that were missed are made up in one blow", "I12", "services/execution/model/twap.py",
        "return min(self.target(number, size) - filled - out, CATCH_UP * own)",
        "return self.target(number, size) - filled - out",
        f"{_UNIT}test_twap.py",
    ),
    # --- whose is what
    _mistake(
        "a list lacks its user", "I9", "services/execution/store/lists.py",
        'parts, arguments = ["user_id = $1"], [user_id]', 'parts, arguments = ["$1::uuid IS NOT NULL"], [user_id]',
        RECORD,
    ),
    _mistake(
        "a cache lacks its user", "I9, F6", "services/execution/peers/vault.py",
        "        return await self._accounts(pb.BatchGetSigningAccountsRequest(user_id=str(user_id), page_size=1_000))",
        '        if not hasattr(self, "_kept"):\n'
        "            self._kept = await self._accounts(\n"
        "                pb.BatchGetSigningAccountsRequest(user_id=str(user_id), page_size=1_000)\n            )\n"
        "        return self._kept",
        f"{SPOILED}[hyperliquid-lost]", f"{SPOILED}[lighter-lost]",
    ),
    _mistake(
        "an order's look-up lacks its user", "I9", _ORDERS,
        'return await _whole(connection, "user_id = $1 AND order_id = $2", user_id, order_id)',
        'return await _whole(connection, "$1::uuid IS NOT NULL AND order_id = $2", user_id, order_id)',
        RECORD,
    ),
    _mistake(
        "a canceled command leaves its reply to the next caller", "F6, I9", "services/chassis/valkey.py",
        "            except BaseException:\n                if connection is not None:\n"
        "                    await drop(connection)\n                raise",
        "            except BaseException:\n                self._connection = connection\n                raise",
        "tests/integration/chassis/test_canceled_operations.py",
    ),
)  # fmt: skip
