"""What the room asks of others: execution's log, and market_data."""
