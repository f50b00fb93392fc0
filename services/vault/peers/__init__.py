"""What the vault asks of the venues."""
