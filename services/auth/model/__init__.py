"""The pure rules of signing in: texts, times, families of refresh tokens, preferences, the schedule of keys."""
