"""Owns books, prices, public trades and funding of every market at every venue, merged into one view.

Asks: the venues (services.venues), and Valkey as a cache of the latest prices.
Asked by: clients through the edge, stream (its Watch calls), later routing and portfolio.

A frame's way from a venue's socket to a client's screen is told in docs/paths/tick.md.
"""
