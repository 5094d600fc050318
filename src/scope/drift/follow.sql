-- Tables that are declared to be outside scoping keep their entry under a new name: the state knows their oid.
WITH now AS (
    SELECT t.target, t.schema_name AS old_schema, t.table_name AS old_table, n.nspname, c.relname
    FROM orgscope.table_state t
    JOIN pg_class c ON c.oid = t.target
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.schema_name <> n.nspname OR t.table_name <> c.relname
), states AS (
    UPDATE orgscope.table_state t SET schema_name = now.nspname, table_name = now.relname FROM now WHERE t.target = now.target
)
UPDATE orgscope.unscoped_table u SET schema_name = now.nspname, table_name = now.relname
FROM now WHERE u.schema_name = now.old_schema AND u.table_name = now.old_table
