-- Where the server has TimescaleDB (shared_preload_libraries = 'timescaledb'): run as an administrator after room.sql and
-- before the room's first migration, which then makes hypertables in place of partitions.
--
--     psql -v room=market_data -f deploy/postgres/timescaledb.sql postgresql://admin@host/database
--
-- Tried on TimescaleDB 2.23 compiled to WebAssembly (`make timescale`), not on a server: see docs/paths/history.md.
\set ON_ERROR_STOP on
CREATE SCHEMA IF NOT EXISTS timescale;
CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA timescale;
GRANT USAGE ON SCHEMA timescale TO :"room";
