"""The door's use cases: let a socket in, act on what it says, follow upstream what it wants, send what it may have."""
