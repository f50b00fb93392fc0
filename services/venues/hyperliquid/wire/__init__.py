"""Hyperliquid's protocol, as pure functions between bytes and values.

`values` says what is wrong and turns texts into exact numbers, `frames` decodes what a public socket says, `info` the
answers of `POST /info` about markets, `universe` turns the lists of markets into listings, `events` turns frames into
the house's events. For an account: `actions` makes what is signed, `answers` reads what came of it, `account` decodes
orders, fills and positions, `refusals` knows the venue's words for no. Nothing here knows of sockets, time or retries.

Source: Hyperliquid's API documentation, and the wire as measured in 2025 and 2026 where the two disagree.
"""
