"""What is true of accounts, keys, set-ups, limits and nonces; pure."""
