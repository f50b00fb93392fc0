"""The inward faces of execution."""
