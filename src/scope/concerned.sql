-- Whether the command just run touched a scoped table, or a table above or below one. One look-up for each: no plan that
-- reads the whole registry.
SELECT 'yes'
FROM (SELECT DISTINCT objid AS oid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass) touched
CROSS JOIN LATERAL (
    SELECT touched.oid
    UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = touched.oid
    UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = touched.oid
) near
WHERE (SELECT true FROM pg_class c
       JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN orgscope.scoped_table s ON s.schema_name = n.nspname AND s.table_name = c.relname
       WHERE c.oid = near.oid)
LIMIT 1
