"""market_data and portfolio behind routing's ports."""
