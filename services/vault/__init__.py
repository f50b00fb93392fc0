"""Owns venue accounts and the only keys that can trade; signs allow-listed actions, hands out nonces.

Not built yet: the contract is in proto/perpmesh/vault/v1.
"""
