"""Lighter, as the vault needs it."""
