"""The inward faces of the vault."""
