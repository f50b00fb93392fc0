"""Server streams: the present, a mark, changes, heartbeats, gaps, resumption, and an end that is said.

Two kinds. `Latest` collapses: a slow reader gets the newest value of each key and the numbers of those it missed.
`Feed` is lossless within a bound: every reader walks one shared ring, and one that falls off its end is told what it
lost. Either way a reader costs the same few hundred bytes however slow it is, and nobody else anything.

A value is serialized and framed once, by its publisher, and the same bytes go to every stream. Streams are woken by
their publisher, not by timers; one ticker per hub finds those that owe a heartbeat.

Cursors name a position in the hub's one line of changes: `<kind><epoch>-<position>`. The epoch changes with every
start, so a cursor from before it is recognized and refused with what is available.
"""

from services.chassis.watch.feed import Feed
from services.chassis.watch.hub import Entry, Framing, Hub, Subscription, WatchRequest
from services.chassis.watch.latest import Latest

__all__ = ["Entry", "Feed", "Framing", "Hub", "Latest", "Subscription", "WatchRequest"]
