"""The room's tables in PostgreSQL: what the fold writes, and what calls read."""
