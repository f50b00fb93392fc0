"""What the vault keeps, in PostgreSQL, and how it is sealed."""
