-- New permanent tables of this command that are neither scoped nor declared to be outside scoping, and that have the
-- organization column or a copy of scoped rows ($1: what the command has read, as a JSON array of oids). In a database
-- without scoped tables only the default column name counts, and only if $2 says so: a restore creates its tables before
-- it fills the registry.
WITH registered AS (
    SELECT c.oid, s.column_name
    FROM orgscope.scoped_table s
    JOIN pg_namespace n ON n.nspname = s.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.table_name
), names AS (
    SELECT column_name FROM registered
    UNION SELECT 'organization_id' WHERE $2::boolean
), new AS (
    SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS qualified,
           (SELECT a.attname FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND EXISTS (SELECT FROM names)
              AND (a.atttypid = 'uuid'::regtype AND a.attname IN (SELECT column_name FROM names)
                   OR EXISTS (SELECT FROM pg_constraint k
                              WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
                                AND k.confrelid = 'orgscope.organization'::regclass))
            ORDER BY a.attname IN (SELECT column_name FROM names) DESC, a.attnum LIMIT 1) AS column_name,
           EXISTS (SELECT FROM registered r JOIN jsonb_array_elements_text($1::jsonb) source ON source::oid = r.oid) AS copy
    FROM pg_event_trigger_ddl_commands() d
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND c.oid = d.objid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE MATERIALIZED VIEW')
      AND c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND NOT c.relispartition AND NOT d.in_extension
      AND n.nspname NOT IN ('orgscope', 'pg_catalog', 'information_schema')
      AND c.oid NOT IN (SELECT r.oid FROM registered r)
      AND NOT EXISTS (SELECT FROM orgscope.unscoped_table u WHERE u.schema_name = n.nspname AND u.table_name = c.relname)
)
SELECT jsonb_agg(jsonb_build_object('oid', oid::bigint, 'kind', relkind, 'column', column_name, 'literal', quote_literal(qualified),
                                    'copy', copy) ORDER BY oid)::text
FROM new WHERE (column_name IS NOT NULL AND relkind <> 'm') OR copy
