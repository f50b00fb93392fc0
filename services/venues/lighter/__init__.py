"""Lighter: the rim toward one exchange.

`wire` reads its words, `feed` keeps its chains, `venue` is its `port.Venue`.
"""
