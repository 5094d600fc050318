-- Shared tables above a table that this command has changed: whoever reads them reads it as well.
UNION SELECT p.oid
FROM pg_event_trigger_ddl_commands() d
JOIN pg_inherits i ON i.inhrelid = d.objid
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
JOIN orgscope.unscoped_table u ON u.schema_name = n.nspname AND u.table_name = p.relname AND u.kind = 'shared'
WHERE d.classid = 'pg_class'::regclass
