-- leakproof: twins of search functions that PostgreSQL does not mark LEAKPROOF. Behaviour: src/leakproof/.
-- The comment on each says why it may be. Cost and planner support are the original's.

DO $$
DECLARE
    twin record;
BEGIN
    FOR twin IN
        SELECT t.*, p.procost, p.prosupport
        FROM (
            SELECT f AS function, a AS arguments, r AS reason FROM (VALUES
                (ARRAY['textlike', 'texticlike'], ARRAY['text', 'text'],
                 'raises for a pattern that ends in its escape character, and where the collation is not deterministic: neither is replaced. ILIKE may raise for a value of 256 MB and more. Its recursion is no deeper than a known pattern has %'),
                (ARRAY['ts_match_vq'], ARRAY['tsvector', 'tsquery'],
                 'compares lexemes and positions; its recursion is no deeper than a known query'),
                (ARRAY['ts_match_qv'], ARRAY['tsquery', 'tsvector'],
                 'compares lexemes and positions; its recursion is no deeper than a known query'),
                (ARRAY['jsonb_contains', 'jsonb_contained'], ARRAY['jsonb', 'jsonb'],
                 'compares keys and values; its recursion is no deeper than a known document'),
                (ARRAY['jsonb_exists'], ARRAY['jsonb', 'text'],
                 'looks for keys of the top level by their bytes, and raises nothing'),
                (ARRAY['jsonb_exists_any', 'jsonb_exists_all'], ARRAY['jsonb', 'text[]'],
                 'looks for keys of the top level by their bytes, and raises nothing')
            ) AS t (functions, a, r), pg_catalog.unnest(functions) f
            UNION ALL
            -- Of these types PostgreSQL itself marks equality LEAKPROOF.
            SELECT f, ARRAY[e || '[]', e || '[]'],
                   'compares elements by the equality of their type, which PostgreSQL itself marks LEAKPROOF. It raises where elements need a collation and none can be told, and is not replaced there, nor where the collation is not deterministic'
            FROM pg_catalog.unnest(ARRAY['arrayoverlap', 'arraycontains', 'arraycontained']) f,
                 pg_catalog.unnest(ARRAY['smallint', 'integer', 'bigint', 'text', 'varchar', 'uuid']) e
        ) t
        JOIN pg_catalog.pg_proc p ON p.oid = ('pg_catalog.' || t.function)::pg_catalog.regproc
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE FUNCTION orgscope.leakproof_%s(%s, %s) RETURNS boolean
                 LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST %s %s AS %L, %L',
            twin.function, twin.arguments[1], twin.arguments[2], twin.procost,
            CASE WHEN twin.prosupport <> 0 THEN 'SUPPORT ' || twin.prosupport::pg_catalog.text END,
            'MODULE_PATHNAME', 'orgscope_leakproof_' || twin.function);
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
