"""The operator's commands: a freeze of everything, the master keys, and the proof of the audit chains."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError, load
from services.chassis.postgres import Database, PostgresConfig
from services.chassis.telemetry import log
from services.vault.model.audit import Row, first_broken
from services.vault.ports import Chance
from services.vault.store.master_keys import FileRing, MasterKeys, Ring, make_ring_file, read_ring
from services.vault.store.rows import ACCOUNT_COLUMNS, KEY_COLUMNS, account_of, key_of
from services.vault.store.sealing import Sealer, data_about
from services.vault.store.transit import Transit

ROOM: Final = "vault"
_BATCH: Final = 100


class MasterSettings(Protocol):
    """Where the master keys are (`config.MasterKeyConfig`)."""

    @property
    def keys(self) -> str: ...
    @property
    def store(self) -> Path | None: ...
    @property
    def transit_url(self) -> str: ...
    @property
    def transit_key(self) -> str: ...
    @property
    def transit_token(self) -> str: ...


async def master_keys(
    settings: MasterSettings, database: Database, chance: Chance, http: aiohttp.ClientSession
) -> MasterKeys:
    """Return what wraps data keys. Raises `ConfigError` where something that is sealed could not be opened."""
    used = await used_ids(database)
    masters: MasterKeys
    if settings.transit_url:
        masters = Transit(settings.transit_url, settings.transit_key, settings.transit_token, http)
    elif settings.keys:
        masters = Ring(read_ring(settings.keys, "PERPMESH_VAULT_MASTER_KEY"), chance)
    else:
        masters = _file_ring(settings, used, chance)
    for master_key_id in used:
        if not await masters.opens(master_key_id):
            raise ConfigError(
                f"The master key {master_key_id} is not here, and {used[master_key_id]} keys are sealed under it: "
                "restore it where the vault's master keys are. Nothing is lost; the right key opens them again."
            )
    return masters


def _file_ring(settings: MasterSettings, used: dict[str, int], chance: Chance) -> FileRing:
    path = settings.store
    assert path is not None
    if not path.exists():
        if used:
            raise ConfigError(
                f"The master keys are not in {path}, and {sum(used.values())} keys are sealed under "
                f"{', '.join(used)}: restore the file. Nothing is lost; the right key opens them again."
            )
        make_ring_file(path, chance)
        log.event("vault.master_key_made", path=str(path))
    return FileRing(path, chance)


async def used_ids(database: Database) -> dict[str, int]:
    """Return the ids of the master keys that something is sealed under, and how much."""
    async with database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT master_key_id, count(*) AS count FROM (SELECT master_key_id FROM keys UNION ALL "
            "SELECT master_key_id FROM accounts) AS every WHERE master_key_id IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
    return {row["master_key_id"]: row["count"] for row in rows}


def _about_key(row: Any) -> bytes:
    return key_of(row).about


def _about_account(row: Any) -> bytes:
    return data_about(account_of(row))


async def rewrap(database: Database, masters: MasterKeys, chance: Chance) -> int:
    """Wrap every data key under the current master key, a few at a time, while the vault works; return how many."""
    sealer, done = Sealer(masters, chance, SYSTEM), 0
    for table, columns, read in (
        ("keys", KEY_COLUMNS, _about_key),
        ("accounts a", ACCOUNT_COLUMNS, _about_account),
    ):
        name = table.split()[0]
        own = "key_id" if name == "keys" else "account_id"
        while True:
            async with database.acquire() as connection:
                rows = await connection.fetch(
                    f"SELECT {columns} FROM {table} WHERE master_key_id <> $1 LIMIT $2",  # noqa: S608 - names of ours
                    await masters.current(),
                    _BATCH,
                )
                for row in rows:
                    wrapped = await sealer.rewrapped(row["master_key_id"], row["wrapped_key"], read(row))
                    await connection.execute(
                        f"UPDATE {name} SET master_key_id = $2, wrapped_key = $3 "  # noqa: S608 - names of ours
                        f"WHERE {own} = $1 AND wrapped_key = $4",
                        row[own],
                        *wrapped,
                        row["wrapped_key"],
                    )
            done += len(rows)
            if not rows:
                break
    return done


async def verify_audit(database: Database, masters: MasterKeys, chance: Chance) -> list[str]:
    """Check every account's chain; return what is wrong, a sentence each."""
    sealer, wrong = Sealer(masters, chance, SYSTEM), []
    async with database.acquire() as connection:
        accounts = await connection.fetch(f"SELECT {ACCOUNT_COLUMNS} FROM accounts a")  # noqa: S608
        for one in accounts:
            account = account_of(one)
            rows = await connection.fetch(
                "SELECT seq, kind, detail, hash FROM audit WHERE account_id = $1 ORDER BY seq", account.account_id
            )
            chain = [Row(row["seq"], row["kind"], row["detail"], row["hash"]) for row in rows]
            broken = first_broken(await sealer.audit_key(account), chain, (account.audit_seq, account.audit_hash))
            if broken is not None:
                wrong.append(f"The audit of account {account.account_id} does not hold from row {broken} on.")
    return wrong


async def freeze(database: Database, reason: str | None) -> None:
    """Stop all signing for a reason, or let it go on where that is None."""
    async with database.acquire() as connection:
        await connection.execute(
            "UPDATE room SET version = version + 1, freeze_time = CASE WHEN $1::text IS NULL THEN NULL ELSE now() END, "
            "freeze_reason = coalesce($1, '')",
            reason,
        )


@dataclass(frozen=True, kw_only=True)
class _Known:
    postgres: PostgresConfig
    master: MasterSettings


def command(arguments: Sequence[str], config_type: type[Any], chance: Chance) -> int:
    """Run one command of the operator's; return the exit code."""
    try:
        config = load(config_type, os.environ)
        return asyncio.run(_run(arguments, _Known(postgres=config.postgres, master=config.master), chance))
    except ConfigError as error:
        sys.stderr.write(f"vault: {error}\n")
        return 2


async def _run(arguments: Sequence[str], config: _Known, chance: Chance) -> int:
    database = await Database.open(ROOM, config.postgres)
    try:
        async with aiohttp.ClientSession() as http:
            name = arguments[0]
            if name == "freeze-all":
                await freeze(database, " ".join(arguments[1:])[:500])
                return _say("nothing is signed any more; `unfreeze-all` lifts it")
            if name == "unfreeze-all":
                await freeze(database, None)
                return _say("signing goes on")
            masters = await master_keys(config.master, database, chance, http)
            return await _with_masters(name, database, masters, chance)
    finally:
        await database.close()


async def _with_masters(name: str, database: Database, masters: MasterKeys, chance: Chance) -> int:
    if name == "verify-audit":
        wrong = await verify_audit(database, masters, chance)
        for sentence in wrong:
            sys.stderr.write(f"{sentence}\n")
        return 1 if wrong else _say("every audit chain holds")
    if name == "rewrap":
        return _say(f"{await rewrap(database, masters, chance)} data keys are under {await masters.current()} now")
    if name in ("rotate-master-key", "drop-master-keys"):
        if not isinstance(masters, FileRing):
            raise ConfigError(
                "These master keys are not kept by the vault: put a new one first where they are kept, restart the "
                "vaults one by one, then run `rewrap`."
            )
        if name == "rotate-master-key":
            made = masters.add()
            count = await rewrap(database, masters, chance)
            return _say(f"{count} data keys are under the new master key {made}; the old ones still open backups")
        used = await used_ids(database)
        dropped = masters.drop({one for one in masters.ids() if one not in used}, SYSTEM.time_ns() / 1e9)
        return _say(f"dropped {', '.join(dropped) or 'none'}; backups sealed under them cannot be opened any more")
    raise ConfigError(
        f"There is no command {name}: freeze-all, unfreeze-all, rotate-master-key, rewrap, drop-master-keys or "
        "verify-audit would pass."
    )


def _say(sentence: str) -> int:
    sys.stdout.write(f"{sentence}\n")
    return 0
