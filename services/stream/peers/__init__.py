"""market_data behind the door's port, through its generated stubs."""
