INSERT INTO orgscope.table_state AS t (target, schema_name, table_name, column_number, settled, missing)
SELECT c.oid, n.nspname, c.relname,
       (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2::name AND a.attnum > 0),
       $3::boolean, ARRAY(SELECT jsonb_array_elements_text($4::jsonb))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid
ON CONFLICT (target) DO UPDATE
SET column_number = COALESCE(EXCLUDED.column_number, t.column_number), settled = EXCLUDED.settled, missing = EXCLUDED.missing,
    schema_name = EXCLUDED.schema_name, table_name = EXCLUDED.table_name
