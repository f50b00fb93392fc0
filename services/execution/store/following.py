"""What a change of one leg brings about for its order's others, in the same transaction: exits, and their ends.

So there is no moment in which an entry's fill is durable and its exits are not wanted yet: a crash loses nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.chassis.postgres import Connection
from services.execution.model import exits, remedy
from services.execution.model.order import Order, concluded
from services.execution.store.rows import LEG, LEG_CHANGES, due_of, leg_row, marks

ADD_LEG: Final = f"INSERT INTO legs ({', '.join(LEG)}, due_time) VALUES ({marks(len(LEG) + 1)})"  # noqa: S608
CHANGE_LEG: Final = f"UPDATE legs SET ({', '.join(LEG_CHANGES)}) = ROW({marks(len(LEG_CHANGES), 2)}) WHERE leg_id = $1"  # noqa: S608
_HURRY: Final = "UPDATE legs SET due_time = $2 WHERE leg_id = $1"
_RIPEN: Final = """
    UPDATE legs SET due_time = coalesce(due_time, $2) WHERE order_id = $1 AND state = 'HELD' AND lease_time IS NULL"""


async def followed(
    connection: Connection, before: Order, after: Order, now: datetime, *, ripe: bool = False, hurry: bool = False
) -> Order:
    """Keep what changed of an order's legs and what follows from it; return the order as it then stands.

    `hurry` has every leg that changed looked at now, not only those that changed by what followed.
    """
    made = remedy.follow(exits.follow(after, now, ripe=ripe), now)
    if made is before:
        return before
    known = {leg.leg_id: leg for leg in before.legs}
    told = {leg.leg_id: leg for leg in after.legs}
    for leg in made.legs:
        old = known.get(leg.leg_id)
        if old is None:
            await connection.execute(ADD_LEG, *leg_row(leg, made), due_of(leg, now))
        elif leg != old:
            await connection.execute(CHANGE_LEG, leg.leg_id, *leg_row(leg, made, LEG_CHANGES))
            if (hurry or leg != told[leg.leg_id]) and not leg.is_final:
                await connection.execute(_HURRY, leg.leg_id, now)
    if exits.waits(before, made):
        await connection.execute(_RIPEN, made.order_id, now + timedelta(seconds=exits.WAIT_S))
    if made.version == before.version:
        made = replace(made, version=before.version + 1, update_time=now)
    return concluded(made, now)
