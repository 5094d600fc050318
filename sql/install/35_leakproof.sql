-- leakproof: twins of search functions that PostgreSQL does not mark LEAKPROOF. Behaviour: src/leakproof.rs.
-- The comment on each says why it may be. Cost and planner support are the original's.

CREATE FUNCTION orgscope.leakproof_textlike(text, text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT pg_catalog.textlike_support
    AS 'MODULE_PATHNAME', 'orgscope_leakproof_textlike';
COMMENT ON FUNCTION orgscope.leakproof_textlike(text, text) IS
    'raises for a pattern that ends in its escape character, and where the collation is not deterministic: neither is replaced';

CREATE FUNCTION orgscope.leakproof_texticlike(text, text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1 SUPPORT pg_catalog.texticlike_support
    AS 'MODULE_PATHNAME', 'orgscope_leakproof_texticlike';
COMMENT ON FUNCTION orgscope.leakproof_texticlike(text, text) IS
    'raises for a pattern that ends in its escape character, and where the collation is not deterministic: neither is replaced';

-- The others raise nothing, and need no wrapper.
DO $$
DECLARE
    twin record;
BEGIN
    FOR twin IN
        SELECT * FROM (VALUES
            ('ts_match_vq', ARRAY['tsvector', 'tsquery'],
             'compares lexemes and positions, and raises nothing; its recursion is as deep as the query, whatever the row'),
            ('ts_match_qv', ARRAY['tsquery', 'tsvector'],
             'compares lexemes and positions, and raises nothing; its recursion is as deep as the query, whatever the row'),
            ('jsonb_contains', ARRAY['jsonb', 'jsonb'],
             'compares keys and values, and raises nothing; its recursion is as deep as the shallower of the two'),
            ('jsonb_contained', ARRAY['jsonb', 'jsonb'],
             'compares keys and values, and raises nothing; its recursion is as deep as the shallower of the two'),
            ('jsonb_exists', ARRAY['jsonb', 'text'], 'looks for keys of the top level by their bytes, and raises nothing'),
            ('jsonb_exists_any', ARRAY['jsonb', 'text[]'], 'looks for keys of the top level by their bytes, and raises nothing'),
            ('jsonb_exists_all', ARRAY['jsonb', 'text[]'], 'looks for keys of the top level by their bytes, and raises nothing')
        ) AS t (function, arguments, reason)
        UNION ALL
        -- Of these types PostgreSQL itself marks equality LEAKPROOF.
        SELECT f, ARRAY[e || '[]', e || '[]'],
               'compares elements by the equality of their type, which PostgreSQL itself marks LEAKPROOF, and raises nothing'
        FROM pg_catalog.unnest(ARRAY['arrayoverlap', 'arraycontains', 'arraycontained']) f,
             pg_catalog.unnest(ARRAY['smallint', 'integer', 'bigint', 'text', 'varchar', 'uuid']) e
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE FUNCTION orgscope.leakproof_%s(%s, %s) RETURNS boolean
                 LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST %s AS %L',
            twin.function, twin.arguments[1], twin.arguments[2],
            (SELECT procost FROM pg_catalog.pg_proc WHERE oid = ('pg_catalog.' || twin.function)::pg_catalog.regproc), twin.function);
        EXECUTE pg_catalog.format('COMMENT ON FUNCTION orgscope.leakproof_%s(%s, %s) IS %L',
                                  twin.function, twin.arguments[1], twin.arguments[2], twin.reason);
    END LOOP;
END $$;

CREATE FUNCTION orgscope.leakproof_operators()
    RETURNS TABLE (operator regoperator, replaced regprocedure, replacement regprocedure, reason text)
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.oid::regoperator, original.oid::regprocedure, twin.oid::regprocedure, obj_description(twin.oid, 'pg_proc')
    FROM pg_proc twin
    JOIN pg_proc original ON original.proname = substr(twin.proname, length('leakproof_') + 1)
                         AND original.pronamespace = 'pg_catalog'::regnamespace
    JOIN pg_operator o ON o.oprcode = original.oid
    WHERE twin.pronamespace = 'orgscope'::regnamespace AND twin.proleakproof AND twin.proname LIKE 'leakproof\_%'
      -- Array functions are declared for all arrays.
      AND original.proargtypes IN (twin.proargtypes, '2277 2277')
    ORDER BY original.proname, twin.oid, o.oid
$$;
COMMENT ON FUNCTION orgscope.leakproof_operators() IS
    'the operators whose indexes serve queries under row security while orgscope.leakproof_operators is on, with the function that takes the place of PostgreSQL''s in such queries, and why it may';
