"""Owns positions, balances, account state, funding payments and performance. Never calls a venue.

Not built yet: the contract is in proto/perpmesh/portfolio/v1.
"""
