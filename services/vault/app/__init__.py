"""The use cases of the vault."""
