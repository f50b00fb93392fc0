"""Owns users, challenges, sessions, tokens and the token-signing keys.

Not built yet: the contract is in proto/perpmesh/auth/v1.
"""
