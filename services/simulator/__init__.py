"""An exchange in a box that speaks both venues' dialects; what the mesh runs against when no real venue is wanted.

It owns a synthetic market (or replays a recording, plays a script, or follows the real venues' prices) and an exchange
over it with accounts, margin and money, and asks nobody else (docs/simulator.md). It is on no production path: nothing
imports it and only configuration points at it. It shares no code with `services.venues` or
`services.domain`, so that the two cannot agree by making the same mistake. Everything it sends is synthetic and says
so: an `x-perpmesh-simulated` header on every HTTP reply, a banner at start and a notice in its control state.
"""
