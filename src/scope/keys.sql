-- The foreign keys between the tables of a tree ($1), by their organization column ($2, or when that is NULL the one each is
-- registered with), and the scoped tables, themselves included, as one JSON value. Not those that a partition has from its
-- parent: they follow the parent's.
-- search_path is pinned by the calling function, so every printed name is qualified.
SELECT COALESCE(jsonb_agg(jsonb_build_object(
    'quoted', quote_ident(k.conname),
    'child', format('%I.%I', cn.nspname, c.relname),
    'parent', format('%I.%I', pn.nspname, p.relname),
    'child_oid', c.oid::bigint,
    'parent_oid', p.oid::bigint,
    'columns', pairs.columns,
    'parent_columns', pairs.parent_columns,
    'equal', pairs.equal,
    'nullable', pairs.nullable,
    'composite', pairs.composite,
    'matched_fully', k.confmatchtype = 'f',
    'on_delete', k.confdeltype,
    'on_update', k.confupdtype,
    'set_columns', COALESCE((SELECT jsonb_agg(quote_ident(a.attname) ORDER BY s.n)
                             FROM unnest(k.confdelsetcols) WITH ORDINALITY s (attnum, n)
                             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = s.attnum), '[]'),
    'deferrable', k.condeferrable,
    'deferred', k.condeferred,
    'validated', k.convalidated,
    -- The catalog has these columns since PostgreSQL 18.
    'enforced', COALESCE((to_jsonb(k) ->> 'conenforced')::boolean, true),
    'temporal', COALESCE((to_jsonb(k) ->> 'conperiod')::boolean, false),
    'comment', quote_literal(obj_description(k.oid, 'pg_constraint'))) ORDER BY k.conname, c.oid), '[]')::text
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
LEFT JOIN orgscope.scoped_table cs ON cs.schema_name = cn.nspname AND cs.table_name = c.relname
LEFT JOIN orgscope.scoped_table ps ON ps.schema_name = pn.nspname AND ps.table_name = p.relname
CROSS JOIN LATERAL (
    SELECT COALESCE(bool_or(ca.attname = CASE WHEN c.oid = ANY ($1::oid[]) THEN COALESCE($2, cs.column_name::text) ELSE cs.column_name::text END
                            AND pa.attname = CASE WHEN p.oid = ANY ($1::oid[]) THEN COALESCE($2, ps.column_name::text) ELSE ps.column_name::text END),
                    false) AS composite,
           jsonb_agg(quote_ident(ca.attname) ORDER BY u.n) AS columns,
           jsonb_agg(quote_ident(pa.attname) ORDER BY u.n) AS parent_columns,
           COALESCE(jsonb_agg(quote_ident(ca.attname) ORDER BY u.n) FILTER (WHERE NOT ca.attnotnull), '[]') AS nullable,
           -- The key's own operator, in the referenced column's collation: as PostgreSQL compares.
           jsonb_agg(format('p.%I %s c.%I%s', pa.attname,
                            CASE WHEN onsp.nspname = 'pg_catalog' THEN o.oprname::text
                                 ELSE format('OPERATOR(%I.%s)', onsp.nspname, o.oprname) END,
                            ca.attname,
                            CASE WHEN pa.attcollation <> ca.attcollation
                                 THEN (SELECT format(' COLLATE %I.%I', ln.nspname, l.collname) FROM pg_collation l
                                       JOIN pg_namespace ln ON ln.oid = l.collnamespace WHERE l.oid = pa.attcollation)
                                 ELSE '' END) ORDER BY u.n) AS equal
    FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY u (child, parent, operator, n)
    JOIN pg_attribute ca ON ca.attrelid = c.oid AND ca.attnum = u.child
    JOIN pg_attribute pa ON pa.attrelid = p.oid AND pa.attnum = u.parent
    JOIN pg_operator o ON o.oid = u.operator JOIN pg_namespace onsp ON onsp.oid = o.oprnamespace
) pairs
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY ($1::oid[]) OR k.confrelid = ANY ($1::oid[]))
  AND (c.oid = ANY ($1::oid[]) OR cs.column_name IS NOT NULL)
  AND (p.oid = ANY ($1::oid[]) OR ps.column_name IS NOT NULL)
