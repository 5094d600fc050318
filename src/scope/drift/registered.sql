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
    'rules', ARRAY(SELECT w.rulename::text FROM pg_rewrite w WHERE w.ev_class = c.oid ORDER BY w.rulename),
    'children', ARRAY(SELECT h.relname::text FROM pg_inherits i JOIN pg_class h ON h.oid = i.inhrelid
                      WHERE i.inhparent = c.oid AND s.kind = 'shared' ORDER BY h.relname),
    -- Keys to scoped tables that should have the organization and do not.
    'plain_keys', ARRAY(
        SELECT k.conname::text
        FROM pg_constraint k
        JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
        JOIN orgscope.scoped_table ps ON ps.schema_name = pn.nspname AND ps.table_name = p.relname
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.column_name AND NOT a.attisdropped
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0 AND NOT a.attnum = ANY (k.conkey)
          AND s.kind = 'scoped' AND s.options ->> 'foreign_keys' IS DISTINCT FROM 'report'
          -- The catalog has these columns since PostgreSQL 18: such keys stay as they are.
          AND COALESCE((to_jsonb(k) ->> 'conenforced')::boolean, true) AND NOT COALESCE((to_jsonb(k) ->> 'conperiod')::boolean, false)
        ORDER BY k.conname)) ORDER BY c.oid)::text
FROM touched
JOIN pg_class c ON c.oid = touched.target
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_authid r ON r.oid = c.relowner
JOIN (SELECT schema_name, table_name, column_name, 'scoped' AS kind, options FROM orgscope.scoped_table
      UNION ALL SELECT schema_name, table_name, NULL, kind, NULL FROM orgscope.unscoped_table u
      WHERE NOT EXISTS (SELECT FROM orgscope.scoped_table o WHERE o.schema_name = u.schema_name AND o.table_name = u.table_name)) s
  ON s.schema_name = n.nspname AND s.table_name = c.relname
LEFT JOIN orgscope.table_state t ON t.target = c.oid
