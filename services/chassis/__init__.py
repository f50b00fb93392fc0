"""Floor 1. What makes a room a process. It knows nothing of trading."""
