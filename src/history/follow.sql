-- Column $1 of the tables that the command has touched is now called $2.
WITH RECURSIVE touched (oid) AS (
    SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass
    UNION SELECT i.inhrelid FROM touched t JOIN pg_inherits i ON i.inhparent = t.oid
)
UPDATE orgscope.scoped_table s
SET history = jsonb_set(s.history, '{exclude}', (s.history -> 'exclude') - $1 || jsonb_build_array($2))
FROM touched t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.schema_name = n.nspname AND s.table_name = c.relname AND s.history -> 'exclude' ? $1
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2::name)
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $1::name)
