"""Orders, legs, fills and the log in PostgreSQL."""
