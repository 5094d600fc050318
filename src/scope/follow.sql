-- The command names the table or schema as it is now. What the registry calls it says the table's state; for one that was
-- restored and not touched since, it is the entry that no longer leads to a table. Whether a table has guards is looked up for
-- each that the command names: no plan that reads all triggers.
UPDATE orgscope.scoped_table s
SET schema_name = now.nspname, table_name = now.relname
FROM (
    SELECT n.nspname, c.relname, d.classid, t.schema_name AS old_schema, t.table_name AS old_table
    FROM (SELECT DISTINCT classid, objid FROM pg_event_trigger_ddl_commands()) d
    CROSS JOIN LATERAL (
        SELECT oid, relname, relnamespace FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid
        UNION ALL
        SELECT oid, relname, relnamespace FROM pg_class WHERE d.classid = 'pg_namespace'::regclass AND relnamespace = d.objid
    ) c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN orgscope.table_state t ON t.target = c.oid
    WHERE n.nspname <> 'orgscope'
      AND (SELECT true FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
           WHERE t.tgrelid = c.oid AND f.pronamespace = 'orgscope'::regnamespace LIMIT 1)
      AND (SELECT count(*) FROM orgscope.scoped_table r WHERE r.schema_name = n.nspname AND r.table_name = c.relname) = 0
) now
WHERE s.schema_name = now.old_schema AND s.table_name = now.old_table
   OR to_regclass(format('%I.%I', s.schema_name, s.table_name)) IS NULL
      AND (now.relname = s.table_name OR now.nspname = s.schema_name AND now.classid = 'pg_class'::regclass)
