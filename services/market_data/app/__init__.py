"""The use cases: take what venues say, keep it true, show it."""
