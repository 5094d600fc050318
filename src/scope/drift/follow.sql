-- Tables that are declared to be outside scoping keep their entry under a new name. The state knows their oid; for one
-- that was restored and not touched since, it is the entry that no longer leads to a table.
WITH now AS (
    SELECT t.target, t.schema_name AS old_schema, t.table_name AS old_table, n.nspname, c.relname
    FROM orgscope.table_state t
    JOIN pg_class c ON c.oid = t.target
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (t.schema_name <> n.nspname OR t.table_name <> c.relname)
      AND NOT EXISTS (SELECT FROM orgscope.table_state o
                      WHERE o.schema_name = t.schema_name AND o.table_name = t.table_name AND o.target <> t.target)
    UNION ALL
    SELECT NULL, u.schema_name, u.table_name, n.nspname, c.relname
    FROM pg_event_trigger_ddl_commands() d
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
                    OR d.classid = 'pg_namespace'::regclass AND c.relnamespace = d.objid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN orgscope.unscoped_table u
      ON u.table_name = c.relname OR u.schema_name = n.nspname AND d.classid = 'pg_class'::regclass
    WHERE to_regclass(format('%I.%I', u.schema_name, u.table_name)) IS NULL
      AND NOT EXISTS (SELECT FROM orgscope.table_state t WHERE t.schema_name = u.schema_name AND t.table_name = u.table_name)
      AND NOT EXISTS (SELECT FROM orgscope.unscoped_table o WHERE o.schema_name = n.nspname AND o.table_name = c.relname)
), states AS (
    UPDATE orgscope.table_state t SET schema_name = now.nspname, table_name = now.relname FROM now WHERE t.target = now.target
)
UPDATE orgscope.unscoped_table u SET schema_name = now.nspname, table_name = now.relname
FROM now WHERE u.schema_name = now.old_schema AND u.table_name = now.old_table
