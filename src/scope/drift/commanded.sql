-- Scoped tables that the command names or changes: those of commands.sql, what a new partition or child belongs to, and what
-- GRANT and REVOKE name ($1: tables, $2: schemas of which they name all). Not while a restore puts a table together.
UNION SELECT i.inhparent
FROM pg_event_trigger_ddl_commands() d JOIN pg_inherits i ON i.inhrelid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.command_tag LIKE 'CREATE %'
UNION SELECT unnest($1::oid[])
UNION SELECT oid FROM pg_class WHERE relnamespace = ANY ($2::oid[])
