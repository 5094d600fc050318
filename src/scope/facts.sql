-- Everything the planner asks of the catalogs about some tables ($1) and their organization column ($2, or when that is
-- NULL the column each is registered with), as one JSON array in the order of $1.
-- search_path is pinned by the calling function, so every printed name is qualified.
WITH referring AS MATERIALIZED (
    -- No index of pg_constraint leads with the referenced table: one scan for all. Partitions have their parent's keys too;
    -- those follow.
    SELECT k.confrelid, k.conindid, format('%I.%I', kn.nspname, kc.relname) AS table_name, quote_ident(k.conname) AS quoted
    FROM pg_constraint k JOIN pg_class kc ON kc.oid = k.conrelid JOIN pg_namespace kn ON kn.oid = kc.relnamespace
    WHERE k.contype = 'f' AND k.confrelid = ANY ($1::oid[]) AND k.conparentid = 0)
SELECT jsonb_agg(jsonb_build_object(
    'oid', c.oid::bigint,
    'schema', n.nspname,
    'schema_quoted', quote_ident(n.nspname),
    'table', c.relname,
    'table_quoted', quote_ident(c.relname),
    'qualified', format('%I.%I', n.nspname, c.relname),
    'literal', quote_literal(format('%I.%I', n.nspname, c.relname)),
    'kind', c.relkind,
    'temporary', c.relpersistence = 't',
    'system', n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'orgscope'),
    'partition', c.relispartition,
    'parents', COALESCE((SELECT jsonb_agg(inhparent::bigint ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid), '[]'),
    'row_security', c.relrowsecurity,
    'force_row_security', c.relforcerowsecurity,
    'column_name', wanted.column_name,
    'column_quoted', quote_ident(wanted.column_name),
    -- As pg_get_triggerdef() prints it: never with E''.
    'column_literal', '''' || replace(wanted.column_name, '''', '''''') || '''',
    'column', (
        SELECT jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod),
            'not_null', a.attnotnull,
            -- Since PostgreSQL 18 NOT NULL is a constraint, and may be NOT VALID: there may be NULLs.
            'not_valid', (SELECT format('ADD CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k
                          WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated),
            'not_valid_here', COALESCE((SELECT k.conislocal FROM pg_constraint k
                                        WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]), false),
            'generated', a.attgenerated <> '' OR a.attidentity <> '',
            'default', pg_get_expr(d.adbin, d.adrelid),
            'checks', COALESCE((SELECT jsonb_agg(jsonb_build_object('quoted', quote_ident(k.conname), 'validated', k.convalidated))
                                FROM pg_constraint k
                                WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
                                  AND pg_get_expr(k.conbin, k.conrelid) = format('(%I IS NOT NULL)', a.attname)
                                  AND COALESCE((to_jsonb(k) ->> 'conenforced')::boolean, true)), '[]'))
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attname = wanted.column_name AND a.attnum > 0 AND NOT a.attisdropped),
    'foreign_keys', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'quoted', quote_ident(k.conname),
            'inherited', k.conparentid <> 0,
            'definition', pg_get_constraintdef(k.oid),
            'to_organization', k.confrelid = 'orgscope.organization'::regclass,
            'validated', k.convalidated,
            -- The catalog has the column since PostgreSQL 18.
            'enforced', COALESCE((to_jsonb(k) ->> 'conenforced')::boolean, true)) ORDER BY k.conname)
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid AND k.conkey = ARRAY[a.attnum]
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attname = wanted.column_name), '[]'),
    'indexes', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'oid', x.indexrelid::bigint,
            'parent', (SELECT inhparent::bigint FROM pg_inherits WHERE inhrelid = x.indexrelid),
            'quoted', quote_ident(i.relname),
            -- An index of a partitioned table is printed with ON ONLY, which would leave its partitions without.
            'definition', CASE WHEN i.relkind = 'I'
                               THEN made.by || substr(pg_get_indexdef(x.indexrelid), length(made.by || 'ONLY ') + 1)
                               ELSE pg_get_indexdef(x.indexrelid) END,
            'prefix', format('CREATE UNIQUE INDEX %I ON %I.%I USING %s (', i.relname, n.nspname, c.relname, am.amname),
            -- What a failed CREATE UNIQUE INDEX CONCURRENTLY leaves behind is not. That of a partitioned table is not valid as long as
            -- a partition lacks its own.
            'unique', x.indisunique AND (x.indisvalid OR i.relkind = 'I'),
            'primary', x.indisprimary,
            'usable', x.indisvalid AND x.indpred IS NULL AND am.amname = 'btree',
            'only', x.indnatts = 1 AND x.indexprs IS NULL,
            'leads', EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = wanted.column_name AND a.attnum = x.indkey[0]),
            'contains', EXISTS (SELECT FROM pg_attribute a, unnest(x.indkey[:x.indnkeyatts - 1]) key
                                WHERE a.attrelid = c.oid AND a.attname = wanted.column_name AND a.attnum = key),
            'replica_identity', x.indisreplident,
            'references', COALESCE((SELECT jsonb_agg(jsonb_build_object('table', r.table_name, 'quoted', r.quoted) ORDER BY r.table_name, r.quoted)
                                    FROM referring r WHERE r.conindid = x.indexrelid AND r.confrelid = c.oid), '[]'),
            -- Key columns; an expression is an empty name.
            'columns', (SELECT jsonb_agg(COALESCE(quote_ident(a.attname), '') ORDER BY u.n)
                        FROM unnest(x.indkey[:x.indnkeyatts - 1]) WITH ORDINALITY u (attnum, n)
                        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum AND u.attnum > 0),
            'immediate', x.indimmediate,
            'exclusion', x.indisexclusion AND NOT x.indisunique,
            -- One index column more, of type uuid, is possible.
            'takes_uuid', pg_indexam_has_property(am.oid, 'can_multi_col')
                AND EXISTS (SELECT FROM pg_opclass o WHERE o.opcmethod = am.oid AND o.opcdefault AND o.opcintype = 'uuid'::regtype),
            -- A value nobody chooses: a uuid, a sequence's or an identity column's.
            'surrogate', x.indnkeyatts = 1 AND EXISTS (
                SELECT FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = c.oid AND a.attnum = x.indkey[0]
                  AND (a.atttypid = 'uuid'::regtype OR a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%')),
            -- pg_get_constraintdef() leaves the storage parameters out, except those of EXCLUDE.
            'constraint', (SELECT CASE WHEN i.reloptions IS NULL OR k.contype = 'x' THEN pg_get_constraintdef(k.oid)
                                       ELSE regexp_replace(pg_get_constraintdef(k.oid), '( DEFERRABLE( INITIALLY DEFERRED)?)?$',
                                                           ' WITH (' || array_to_string(i.reloptions, ', ') || ')\1') END
                           FROM pg_constraint k
                           WHERE k.conindid = x.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')),
            'comment', quote_literal(COALESCE(
                (SELECT obj_description(k.oid, 'pg_constraint') FROM pg_constraint k
                 WHERE k.conindid = x.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')),
                obj_description(x.indexrelid, 'pg_class'))),
            'clustered', x.indisclustered,
            'statistics', COALESCE((SELECT jsonb_agg(jsonb_build_array(a.attnum, a.attstattarget)) FROM pg_attribute a
                                    WHERE a.attrelid = x.indexrelid AND a.attstattarget >= 0), '[]')) ORDER BY i.relname)
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am am ON am.oid = i.relam
        CROSS JOIN LATERAL (SELECT format('CREATE %sINDEX %I ON ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname) AS by) made
        WHERE x.indrelid = c.oid), '[]'),
    'policies', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'name', p.polname,
            'permissive', p.polpermissive,
            'everywhere', p.polcmd = '*' AND p.polroles = '{0}',
            'using', pg_get_expr(p.polqual, p.polrelid),
            'check', pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname)
        FROM pg_policy p WHERE p.polrelid = c.oid), '[]'),
    'triggers', COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'name', t.tgname,
            'quoted', quote_ident(t.tgname),
            'definition', pg_get_triggerdef(t.oid),
            'always', t.tgenabled = 'A',
            'clone', t.tgparentid <> 0,
            'ours', f.pronamespace = 'orgscope'::regnamespace) ORDER BY t.tgname)
        FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal), '[]'),
    -- PostgreSQL names what it makes for a partition, but for what a key of its own needs.
    'taken_names', CASE WHEN c.relispartition AND NOT own_keys.present THEN '[]' ELSE COALESCE((
        SELECT jsonb_agg(name) FROM (
            SELECT other.relname AS name FROM pg_class other
            WHERE other.relnamespace = n.oid AND starts_with(other.relname::text, left(c.relname::text,
                -- At least 28 bytes of a table's name stay in a generated one.
                CASE WHEN octet_length(c.relname::text) = length(c.relname::text) THEN 28 ELSE 7 END))
            UNION SELECT conname FROM pg_constraint WHERE conrelid = c.oid) names), '[]') END,
    'registered', CASE WHEN s.schema_name IS NOT NULL THEN
        jsonb_build_object('column_name', s.column_name, 'options', s.options, 'original', s.original, 'history', s.history) END,
    'declared', (SELECT u.kind FROM orgscope.unscoped_table u WHERE u.schema_name = n.nspname AND u.table_name = c.relname)
) ORDER BY asked.place)::text
FROM unnest($1::oid[]) WITH ORDINALITY asked (oid, place)
JOIN pg_class c ON c.oid = asked.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN orgscope.scoped_table s ON s.schema_name = n.nspname AND s.table_name = c.relname
CROSS JOIN LATERAL (SELECT COALESCE($2, s.column_name::text, '') AS column_name) wanted
CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_constraint k
                                   WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0) AS present) own_keys
