"""The inward face of the room: messages to values, values to messages, and the streams."""
