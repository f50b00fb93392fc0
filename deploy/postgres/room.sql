-- One room's role and schema: it owns its schema and sees no other. Run as an administrator, once for each room, again
-- to change its password:
--
--     PERPMESH_ROOM_PASSWORD=... psql -v room=market_data -f deploy/postgres/room.sql postgresql://admin@host/database
--
-- The password comes by the environment, since a command line is seen by everyone on the machine. `make up` runs this
-- file as it is. Then `python -m services.chassis.migrate market_data` as that role.
\set ON_ERROR_STOP on
\getenv password PERPMESH_ROOM_PASSWORD
SET client_min_messages = warning;
SET log_statement = 'none';

SELECT format('CREATE ROLE %I', :'room') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'room') \gexec
ALTER ROLE :"room" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
ALTER ROLE :"room" SET search_path = :"room";

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), :'room') \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS :"room" AUTHORIZATION :"room";
