"""Whom the room talks to: its own replicas, over the bus."""
