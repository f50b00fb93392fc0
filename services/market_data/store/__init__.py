"""What the room keeps: the latest prices in Valkey as a cache, and history in PostgreSQL."""
