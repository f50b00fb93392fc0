"""One desk signs for one account with one key: jobs one after another, each kept before it is answered.

A desk reads what it needs when it takes the key's lane, and knows from then on which nonce is next. What it decides is
written together with what it was decided on; where that is no longer true, it reads again and decides again. Whatever
goes wrong, the desk forgets all it knows and begins anew from the record.

Jobs wait in the order they came. At most as many actions are out as the venue's nonces allow (`model/lane.py`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal
from services.vault.app.job import Answer, Job
from services.vault.app.maker import Maker
from services.vault.model import signing as model
from services.vault.model.account import Account
from services.vault.model.lane import Lane, Outcome
from services.vault.model.signing import CallerKey, Kept, Leg, Report, SignedAction, Wanted
from services.vault.ports import Batch, Clock, Desk, Secrets, Signing
from services.venues.actions import Action

BATCH_MAX: Final = 64
"""Actions signed in one write."""
JOBS_MAX: Final = 20_000
"""Jobs that may wait at one desk; one more is refused."""
TRIES: Final = 8
LOOK_S: Final = 0.4
"""How often an account is looked at while jobs wait, so that a freeze reaches them within a second."""


class DeskWorker:
    """The desk of one account and one key; `caller` is the key where it is not ours."""

    def __init__(
        self, account_id: UUID, caller: CallerKey | None, *, signing: Signing, secrets: Secrets, maker: Maker,
        clock: Clock, key_died: Callable[[Account, UUID, str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._account_id = account_id
        self._caller = caller
        self._signing = signing
        self._secrets = secrets
        self._maker = maker
        self._clock = clock
        self._key_died = key_died
        self._desk: Desk | None = None
        self._arrived: deque[Job] = deque()
        self._waiting: OrderedDict[tuple[UUID, int], list[Job]] = OrderedDict()
        self._newest: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.used = clock.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked of it."""
        return self._task is None

    async def ask(self, job: Job, patience_s: float) -> Answer:
        """Do a job and return its answer; raises LIMIT_REACHED where it finds no room in time."""
        if len(self._arrived) + len(self._waiting) >= JOBS_MAX:
            self._next(JOBS_MAX)
            if len(self._arrived) + len(self._waiting) >= JOBS_MAX:
                raise model.waited(1.0)
        self.used = self._clock.monotonic()
        self._arrived.append(job)
        self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="vault-desk")
        try:
            done, _ = await asyncio.wait((job.answer,), timeout=patience_s)
        except asyncio.CancelledError:
            if not job.is_taken:
                job.answer.cancel()
            raise
        if not done and not job.is_taken:
            job.answer.cancel()
            raise model.waited(1.0)
        return await job.answer

    async def review(self, action: Action) -> Refusal | None:
        """Say why an action would not be signed now; None where it would be. Takes no nonce, and waits in no line."""
        self.used = self._clock.monotonic()
        desk = self._desk
        if desk is None or not await self._signing.is_current(desk):
            desk = await self._signing.desk(self._account_id, self._caller)
            if self._task is None:
                self._desk = desk
        return await self._maker.review(desk, action)

    def forget(self) -> None:
        """Read everything anew next time."""
        self._desk = None

    async def _work(self) -> None:
        try:
            while self._arrived or self._waiting:
                self._wake.clear()
                try:
                    moved = await self._round()
                except Exception as error:  # whatever it was: begin anew from the record
                    self._fail_all(error)
                    continue
                if not moved:
                    await self._pause()
                    await self._look_again()
        finally:
            self._task = None
            self._newest.clear()

    def _fail_all(self, error: Exception) -> None:
        self._desk = None
        jobs = [*self._arrived, *(job for jobs in self._waiting.values() for job in jobs)]
        self._arrived.clear()
        self._waiting.clear()
        for job in jobs:
            job.fail(error)

    async def _pause(self) -> None:
        """Wait for the next job, or until something that is out has expired."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _look_again(self) -> None:
        """Begin anew where the account changed while jobs wait: a freeze is theirs too."""
        if self._desk is not None and not self._arrived:
            try:
                if not await self._signing.is_current(self._desk):
                    self._desk = None
            except Exception as error:
                self._fail_all(error)

    async def _round(self) -> bool:
        """Do what can be done now; say whether anything was."""
        arrived = [job for job in self._drain() if not job.answer.done()]
        self._taken(arrived)
        try:
            settling, accepting = await self._sort(arrived) if arrived else ([], [])
        except Exception as error:
            for job in arrived:
                job.fail(error)
            raise
        if settling or accepting:
            await self._keep(settling, accepting)
        signed = await self._sign_waiting()
        await self._note(arrived)
        return bool(arrived) or signed

    def _drain(self) -> list[Job]:
        count = min(len(self._arrived), 4 * BATCH_MAX)
        return [self._arrived.popleft() for _ in range(count)]

    @staticmethod
    def _taken(jobs: list[Job]) -> None:
        for job in jobs:
            job.is_taken = True

    async def _sort(
        self, arrived: list[Job], *, surely: bool = False
    ) -> tuple[list[tuple[Job, Kept]], list[tuple[Job, Kept]]]:
        """Answer what was done before, put what is to be signed in line, and return outcomes and signatures.

        While the lane is held, what is to be signed with a first fence is taken for new without a look: was it signed
        before, its write is refused, and it is sorted again, `surely`.
        """
        kept, legs = self._signing.recent([job.leg for job in arrived])
        desk = None if surely else self._desk
        is_sure = desk is not None and self._maker.refusal(desk, self._caller) is None
        looked = []
        for job in arrived:
            is_here = job.leg.name in kept
            job.is_unseen = is_sure and job.wanted is not None and job.leg.fence <= 1 and not is_here
            if not job.is_unseen and (job.wanted is not None or not is_here):
                looked.append(job.leg)  # bytes are given from the record alone
        if looked:
            seen, fences = await self._signing.known(looked)
            kept, legs = kept | seen, legs | fences
        settling: list[tuple[Job, Kept]] = []
        accepting: list[tuple[Job, Kept]] = []
        for job in arrived:
            account_id, fence = legs.get(job.leg.leg_id, (self._account_id, 0))
            newest = max(fence, self._newest.get(job.leg.leg_id, 0))
            found = kept.get(job.leg.name)
            if job.leg.fence < newest:
                job.fail(model.fenced(job.leg, newest))
            elif account_id != self._account_id:
                job.fail(model.reused(job.leg))
            elif job.wanted is not None:
                self._newest[job.leg.leg_id] = job.leg.fence
                await self._line_up(job, job.wanted, found)
            elif found is None:
                job.fail(model.never_signed(job.leg))
            elif job.report is not None:
                self._outcome(job, job.report, found, settling)
            else:
                accepting.append((job, found))
        return settling, accepting

    async def _line_up(self, job: Job, wanted: Wanted, found: Kept | None) -> None:
        if found is not None:
            if found.digest != wanted.digest or (found.key_id is None) != (wanted.signer is not None):
                job.fail(model.reused(job.leg))
            else:
                job.give(await self._answer(found))
            return
        line = self._waiting.get(job.leg.name)
        if line is None:
            self._waiting[job.leg.name] = [job]
        elif line[0].wanted is not None and line[0].wanted.digest == wanted.digest:
            line.append(job)
        else:
            job.fail(model.reused(job.leg))
            return
        job.is_taken = False

    def _outcome(self, job: Job, report: Report, found: Kept, settling: list[tuple[Job, Kept]]) -> None:
        same = next((other for other, _ in settling if other.leg.name == job.leg.name), None)
        before = found.outcome if same is None or same.report is None else same.report.outcome
        if before is None or (before is Outcome.LAPSED and same is None):
            settling.append((job, found))
        elif before is report.outcome:
            job.give(None)
        else:
            job.fail(model.contradicted(job.leg, before, report.outcome))

    async def _answer(self, kept: Kept) -> SignedAction:
        """Return what was signed before; without its bytes where they were wiped."""
        is_fresh = self._desk is None
        desk = await self._ready()
        body = b""
        if kept.sealed_body is not None:
            try:
                body = await self._secrets.open_body(desk.account, kept.sealed_body, kept.about)
            except DomainError:
                if is_fresh:
                    raise
                self._desk = None
                return await self._answer(kept)
        return SignedAction(kept=kept, venue=desk.account.venue, body=body)

    async def _ready(self) -> Desk:
        if self._desk is None:
            self._desk = await self._signing.desk(self._account_id, self._caller)
        return self._desk

    async def _note(self, arrived: list[Job]) -> None:
        """Remember the fences of what has to wait, so that an older holder is refused whatever happens meanwhile."""
        fences = {job.leg.leg_id: job.leg.fence for job in arrived if job.leg.name in self._waiting}
        if fences:
            await self._signing.note_fences(self._account_id, fences)

    # --- outcomes and callers' signatures ---------------------------------------------------------------------------

    async def _keep(self, settling: list[tuple[Job, Kept]], accepting: list[tuple[Job, Kept]]) -> None:
        jobs = [job for job, _ in (*settling, *accepting)]
        try:
            for _ in range(TRIES):
                is_fresh = self._desk is None
                desk = await self._ready()
                try:
                    made = [(job, await self._maker.accepted(desk, kept, job.signature)) for job, kept in accepting]
                    good = [(job, found) for job, found in made if isinstance(found, Kept)]
                    written = await self._signing.write(self._settled(desk, settling, [kept for _, kept in good]))
                except DomainError as error:
                    if is_fresh or error.reason is not Reason.KEY_SEALED:
                        raise
                    self._desk = None
                    continue
                self._desk = written
                if written is None:
                    continue
                for job, _ in settling:
                    job.give(None)
                for job, found in made:
                    job.give(await self._answer(found) if isinstance(found, Kept) else found)
                await self._bury(written, settling)
                return
            raise model.held_elsewhere()
        except Exception as error:
            for job in jobs:
                job.fail(error)
            raise

    def _settled(self, desk: Desk, settling: list[tuple[Job, Kept]], accepted: list[Kept]) -> Batch:
        lane, day = desk.lane, self._maker.used_today(desk)
        audit: list[tuple[str, dict[str, object]]] = []
        reports = []
        for job, kept in settling:
            report = job.report
            assert report is not None
            reports.append(report)
            if lane is not None and kept.lane_id == lane.lane_id and kept.outcome is None:
                lane = lane.settle(kept.nonce, report.outcome)
            if report.outcome.gives_back and kept.outcome is None and kept.sign_time.date() == self._maker.today():
                day = max(Decimal(0), day - kept.notional)
            words = {"leg": str(kept.leg_id), "number": kept.number, "nonce": kept.nonce, "code": report.venue_code}
            audit.append(("action.settled", {**words, "outcome": report.outcome.value}))
        for kept in accepted:
            words = {"leg": str(kept.leg_id), "number": kept.number, "nonce": kept.nonce}
            audit.append(("action.signed_by_caller", words))
        fences = {job.leg.leg_id: job.leg.fence for job, _ in settling}
        return Batch(
            desk=desk, lane=lane, audit=audit, day_notional=day, settled=reports, accepted=accepted, fences=fences
        )

    async def _bury(self, desk: Desk, settling: list[tuple[Job, Kept]]) -> None:
        for job, kept in settling:
            if job.report is not None and job.report.outcome is Outcome.KEY_UNKNOWN and kept.key_id is not None:
                words = "The venue does not know the key any more: revoked, replaced or pruned there."
                await self._key_died(desk.account, kept.key_id, words)
                self._desk = None

    # --- signing ----------------------------------------------------------------------------------------------------

    async def _sign_waiting(self) -> bool:
        """Sign as many of those in line as there is room for; say whether anything moved."""
        if not self._next(1):
            return False
        for _ in range(TRIES):
            is_fresh = self._desk is None
            desk = await self._ready()
            if self._refuse_all(desk):
                return True
            lane = await self._synced(desk)
            if lane is None:
                continue
            count = min(lane.room(self._maker.now_ms()), BATCH_MAX)
            line = self._next(count)
            if not line:
                return False
            self._taken([job for jobs in line for job in jobs])
            wanted = [jobs[0].wanted for jobs in line if jobs[0].wanted is not None]
            try:
                answers, batch = await self._maker.make(desk, lane, wanted)
                written = await self._signing.write(batch) if batch.signed else desk
            except DomainError as error:
                if is_fresh or error.reason is not Reason.KEY_SEALED:
                    raise
                self._desk = None  # master keys were rotated since it was read
                continue
            # A refusal is as good as what it was decided on: limits may have been raised since.
            if written is None or (len(batch.signed) < len(line) and not await self._signing.is_current(written)):
                kept = written is not None and bool(batch.signed)
                self._desk = None
                await self._reline(line)
                if kept:
                    return True
                continue
            self._desk = written
            unsure = []
            for jobs, answer in zip(line, answers, strict=True):
                if isinstance(answer, Refusal) and jobs[0].is_unseen:
                    unsure.append(jobs)
                    continue
                self._waiting.pop(jobs[0].leg.name, None)
                for job in jobs:
                    job.give(answer)
            if unsure:
                await self._reline(unsure)
            return True
        raise model.held_elsewhere()

    async def _reline(self, line: list[list[Job]]) -> None:
        """Look again at jobs whose write was refused: they may have been signed by somebody else meanwhile."""
        jobs = [job for jobs in line for job in jobs]
        for job in jobs:
            self._waiting.pop(job.leg.name, None)
        later = self._waiting
        self._waiting = OrderedDict()
        await self._sort(jobs, surely=True)
        self._waiting.update(later)

    def _next(self, count: int) -> list[list[Job]]:
        """Return the first `count` in line for whom somebody still waits, and forget those before them who left."""
        line: list[list[Job]] = []
        gone = []
        for name, jobs in self._waiting.items():
            if len(line) >= count:
                break
            newest = self._newest.get(name[0], 0)
            for job in jobs:
                if job.leg.fence < newest:
                    job.fail(model.fenced(job.leg, newest))
            jobs[:] = [job for job in jobs if not job.answer.done()]
            if jobs:
                line.append(jobs)
            else:
                gone.append(name)
        for name in gone:
            del self._waiting[name]
        return line

    def _refuse_all(self, desk: Desk) -> bool:
        """Refuse everything in line where nothing can be signed at all; say whether that was so."""
        refusal = self._maker.refusal(desk, self._caller)
        if refusal is None:
            return False
        for jobs in self._waiting.values():
            for job in jobs:
                job.give(refusal)
        self._waiting.clear()
        self._desk = None
        return True

    async def _synced(self, desk: Desk) -> Lane | None:
        """Return the lane with its next nonce known; None where what had lapsed was settled first."""
        lane = desk.lane
        assert lane is not None
        if not lane.is_ordered:
            return lane
        lapsed = lane.lapsed(self._maker.now_ms())
        if not lapsed and (lane.nonce is not None or lane.out):
            return lane
        slot = self._caller.api_key_index if self._caller is not None else desk.key.api_key_index if desk.key else None
        found = await self._maker.venue(desk).next_nonce(desk.account, slot or 0)
        lane = lane.observed(found)
        if lane.is_shared and desk.key is not None and self._caller is None:
            await self._key_died(
                desk.account, desk.key.key_id, "Somebody else uses the key too: set up one that is ours alone."
            )
            self._desk = None
            return None
        if lapsed:
            leg = Leg(*lapsed.name, 0)
            words = {"leg": str(leg.leg_id), "number": leg.number, "nonce": lapsed.nonce, "venue_nonce": found}
            batch = Batch(
                desk=desk, lane=lane, audit=[("action.lapsed", words)], day_notional=self._maker.used_today(desk),
                settled=[Report(leg=leg, outcome=Outcome.LAPSED)],
            )  # fmt: skip
            self._desk = await self._signing.write(batch)
            return None
        self._desk = replace(desk, lane=lane)
        return lane
