"""Hyperliquid's public protocol, as pure functions from bytes to values.

`values` says what is wrong and turns texts into exact numbers, `frames` decodes what a socket says, `info` decodes the
answers of `POST /info`, `universe` turns the lists of markets into listings, `events` turns frames into the house's
events. Nothing here knows of sockets, time or retries.

Source: Hyperliquid's API documentation, and the wire as measured in 2025 and 2026 where the two disagree.
"""
