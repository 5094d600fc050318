-- Tables that this command may have changed ($1 is its tag). REASSIGN OWNED does not say which.
SELECT DISTINCT CASE d.classid
    WHEN 'pg_class'::regclass THEN COALESCE((SELECT x.indrelid FROM pg_index x WHERE x.indexrelid = d.objid), d.objid)
    WHEN 'pg_policy'::regclass THEN (SELECT p.polrelid FROM pg_policy p WHERE p.oid = d.objid)
    WHEN 'pg_trigger'::regclass THEN (SELECT t.tgrelid FROM pg_trigger t WHERE t.oid = d.objid)
    WHEN 'pg_rewrite'::regclass THEN (SELECT w.ev_class FROM pg_rewrite w WHERE w.oid = d.objid)
    WHEN 'pg_constraint'::regclass THEN (SELECT k.conrelid FROM pg_constraint k WHERE k.oid = d.objid)
    END AS target
FROM pg_event_trigger_ddl_commands() d
UNION
SELECT c.oid
FROM orgscope.scoped_table s
JOIN pg_namespace n ON n.nspname = s.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.table_name
JOIN pg_authid r ON r.oid = c.relowner AND (r.rolsuper OR r.rolbypassrls)
WHERE $1 = 'REASSIGN OWNED'
