"""Owns positions, balances, account state, funding payments and performance. Never calls a venue.

It reads execution's log with a cursor of its own and asks market_data for mark prices and the venues' margin rules.
The page, bots and the command line ask it; so do routing and execution (`AccountStateService`).
"""
