-- What is known of the registered tables among `touched(target)`, as a JSON array: what they are registered as, what they
-- were seen like last, and what no plan covers. search_path is pinned by the calling function.
SELECT jsonb_agg(jsonb_build_object(
    'oid', c.oid::bigint,
    'kind', s.kind,
    'column', s.column_name,
    'column_now', (SELECT a.attname FROM pg_attribute a
                   WHERE a.attrelid = c.oid AND a.attnum = t.column_number AND NOT a.attisdropped),
    'settled', COALESCE(t.settled, false),
    'known', t.missing,
    'owner', CASE WHEN r.rolsuper OR r.rolbypassrls THEN r.rolname END,
    'rules', ARRAY(SELECT w.rulename::text FROM pg_rewrite w WHERE w.ev_class = c.oid ORDER BY w.rulename)) ORDER BY c.oid)::text
FROM touched
JOIN pg_class c ON c.oid = touched.target
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_authid r ON r.oid = c.relowner
JOIN (SELECT schema_name, table_name, column_name, 'scoped' AS kind FROM orgscope.scoped_table
      UNION ALL SELECT schema_name, table_name, NULL, kind FROM orgscope.unscoped_table) s
  ON s.schema_name = n.nspname AND s.table_name = c.relname
LEFT JOIN orgscope.table_state t ON t.target = c.oid
