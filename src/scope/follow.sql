-- The command names the table or schema as it is now; what the registry calls it is the entry that no longer leads to a
-- table. Runs under the search_path of whoever renames, so everything is qualified.
UPDATE orgscope.scoped_table s
SET schema_name = now.nspname, table_name = now.relname
FROM (
    SELECT DISTINCT n.nspname, c.relname, d.classid
    FROM pg_catalog.pg_event_trigger_ddl_commands() d
    JOIN pg_catalog.pg_class c
      ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid OPERATOR(pg_catalog.=) d.objid
      OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass AND c.relnamespace OPERATOR(pg_catalog.=) d.objid
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    JOIN pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) c.oid
    JOIN pg_catalog.pg_proc f ON f.oid OPERATOR(pg_catalog.=) t.tgfoid
      AND f.pronamespace OPERATOR(pg_catalog.=) 'orgscope'::pg_catalog.regnamespace
    WHERE n.nspname OPERATOR(pg_catalog.<>) 'orgscope'
      AND NOT EXISTS (
          SELECT FROM orgscope.scoped_table r
          WHERE r.schema_name OPERATOR(pg_catalog.=) n.nspname AND r.table_name OPERATOR(pg_catalog.=) c.relname)
) now
WHERE pg_catalog.to_regclass(pg_catalog.format('%I.%I', s.schema_name, s.table_name)) IS NULL
  AND (now.relname OPERATOR(pg_catalog.=) s.table_name
       OR now.nspname OPERATOR(pg_catalog.=) s.schema_name
          AND now.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass)
