"""Hyperliquid's public market data.

`wire` turns its messages into values, `plan` decides what to subscribe within its limits, `feed` keeps what has been
said in order and without repeats, `http` asks its REST interface, `venue` owns the sockets and ties the rest together.
"""
