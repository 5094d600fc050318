-- Every ordinary or partitioned table of schema $1 that is nobody's part and no extension's, and what its foreign keys lead
-- to, as one JSON value. $2 is the organization column's name. Runs with search_path pinned.
SELECT jsonb_build_object(
    'schema', n.nspname,
    'tables', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'oid', c.oid::bigint,
            'table', c.relname,
            'qualified', format('%I.%I', n.nspname, c.relname),
            'rows', c.reltuples::bigint,
            'has_column', EXISTS (SELECT FROM pg_attribute a
                                  WHERE a.attrelid = c.oid AND a.attname = COALESCE(s.column_name, $2) AND NOT a.attisdropped),
            'column', COALESCE(s.column_name, $2),
            'column_quoted', quote_ident(COALESCE(s.column_name, $2)),
            'registered', s.schema_name IS NOT NULL,
            'exempt', COALESCE(u.kind = 'exempt', false),
            'foreign_keys', COALESCE((
                SELECT jsonb_agg(jsonb_build_object(
                    'name', k.conname,
                    'columns', (SELECT jsonb_agg(quote_ident(a.attname) ORDER BY key.n)
                                FROM unnest(k.conkey) WITH ORDINALITY key (attnum, n)
                                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.attnum),
                    'parent', k.confrelid::bigint,
                    'parent_columns', (SELECT jsonb_agg(quote_ident(a.attname) ORDER BY key.n)
                                       FROM unnest(k.confkey) WITH ORDINALITY key (attnum, n)
                                       JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = key.attnum),
                    'not_null', (SELECT bool_and(a.attnotnull) FROM unnest(k.conkey) key (attnum)
                                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.attnum)) ORDER BY k.conname)
                FROM pg_constraint k
                WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0 AND k.confrelid <> c.oid
                  AND k.confrelid <> 'orgscope.organization'::regclass), '[]')) ORDER BY c.relname)
        FROM pg_class c
        LEFT JOIN orgscope.scoped_table s ON s.schema_name = n.nspname AND s.table_name = c.relname
        LEFT JOIN orgscope.unscoped_table u ON u.schema_name = n.nspname AND u.table_name = c.relname
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
          AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        ), '[]'),
    -- Tables of other schemas that a key leads to and that are scoped already.
    'outside', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'oid', p.oid::bigint, 'qualified', format('%I.%I', pn.nspname, p.relname), 'column_quoted', quote_ident(s.column_name)))
        FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace
        JOIN orgscope.scoped_table s ON s.schema_name = pn.nspname AND s.table_name = p.relname
        WHERE pn.oid <> n.oid), '[]')
)::text
FROM pg_namespace n
WHERE n.nspname = $1::name
