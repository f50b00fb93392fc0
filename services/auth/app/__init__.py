"""The use cases of the auth room: read, decide, write."""
