"""Hyperliquid, as the vault needs it."""
