"""What the auth room keeps: PostgreSQL is the record, Valkey holds challenges and a cached list of sessions."""
