"""Messages to values, values to messages."""
