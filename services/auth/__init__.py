"""The auth room: users, wallets, challenges, sessions, tokens, and the keys that sign tokens.

It asks nobody, save a chain's RPC address for contract wallets where one is configured. Everyone asks it for its public
keys and for what was revoked, over a small page on a private port; users ask it for the rest through the edge.
"""
