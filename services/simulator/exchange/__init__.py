"""The exchange itself: accounts, orders, margin and money; pure and seeded, commands in, events out, time given.

One `core.Exchange` is one venue. It knows nothing of HTTP, JSON or signatures, and asks the world one thing: the
`Street`, the synthetic crowd of `services.simulator.market`, for its levels and prices. How users and crowd meet:

* The crowd's levels are maker orders. A user's taker consumes them at their price, and the crowd refills in time.
* At one price the crowd stands before every user, as if it had come first; users among themselves stand by time.
* When the crowd moves onto a user's resting order (an ask of the crowd at or below a user's bid), the crowd trades
  through it: the user is the maker, at the user's own price, for at most what the crowd shows there.
* A taker of the crowd that trades at a price has first traded with every user whose price was strictly better.
* What users rest is shown in the public book on top of the crowd's size, so no published book is ever crossed.

Money is counted in millionths of a dollar (10^-6), the unit in which both venues settle: a price times a size is a
whole number of them on every perpetual market of either venue. Every unit that leaves one purse enters another
(`treasury.Treasury.audit`).
"""
