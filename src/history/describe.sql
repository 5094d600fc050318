-- What the statement for a table's ($1) changes is made of, as JSON, with its organization column ($2) and how they are
-- recorded ($3). Runs inside a trigger: every name is qualified.
WITH RECURSIVE above (oid, level) AS (
    SELECT $1::pg_catalog.oid, 0
    UNION ALL
    SELECT i.inhparent, a.level OPERATOR(pg_catalog.+) 1
    FROM above a JOIN pg_catalog.pg_inherits i ON i.inhrelid OPERATOR(pg_catalog.=) a.oid AND i.inhseqno OPERATOR(pg_catalog.=) 1
)
SELECT pg_catalog.jsonb_build_object(
    'top', top.oid::pg_catalog.int8,
    'organization', pg_catalog.quote_ident($2),
    -- A generated column that is not stored has no value in a transition table.
    'columns', (SELECT pg_catalog.jsonb_agg(pg_catalog.quote_ident(a.attname) ORDER BY a.attnum)
                FROM pg_catalog.pg_attribute a
                WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
                  AND a.attgenerated OPERATOR(pg_catalog.<>) 'v'
                  AND NOT $3::pg_catalog.jsonb OPERATOR(pg_catalog.->) 'exclude' OPERATOR(pg_catalog.?) a.attname::pg_catalog.text
                  -- Nor what is computed from an excluded column.
                  AND NOT EXISTS (
                      SELECT FROM pg_catalog.pg_attrdef g
                      JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                          AND d.objid OPERATOR(pg_catalog.=) g.oid
                          AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                          AND d.refobjid OPERATOR(pg_catalog.=) c.oid
                      JOIN pg_catalog.pg_attribute e ON e.attrelid OPERATOR(pg_catalog.=) c.oid
                          AND e.attnum OPERATOR(pg_catalog.=) d.refobjsubid
                      WHERE g.adrelid OPERATOR(pg_catalog.=) c.oid AND g.adnum OPERATOR(pg_catalog.=) a.attnum
                        AND a.attgenerated OPERATOR(pg_catalog.<>) ''
                        AND $3::pg_catalog.jsonb OPERATOR(pg_catalog.->) 'exclude' OPERATOR(pg_catalog.?) e.attname::pg_catalog.text)),
    -- By name: a child has the columns of the table above, and maybe no key of its own.
    'key', COALESCE((SELECT pg_catalog.jsonb_agg(pg_catalog.quote_ident(a.attname) ORDER BY k.n)
                     FROM pg_catalog.pg_index x
                     CROSS JOIN LATERAL pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY k (attnum, n)
                     JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) x.indrelid
                                                   AND a.attnum OPERATOR(pg_catalog.=) k.attnum
                     WHERE x.indrelid OPERATOR(pg_catalog.=) top.oid AND x.indisprimary
                       AND k.n OPERATOR(pg_catalog.<=) x.indnkeyatts), '[]'),
    'children', c.relhassubclass AND c.relkind OPERATOR(pg_catalog.=) 'r')::pg_catalog.text
FROM pg_catalog.pg_class c
CROSS JOIN LATERAL (SELECT a.oid FROM above a ORDER BY a.level DESC LIMIT 1) top
WHERE c.oid OPERATOR(pg_catalog.=) $1::pg_catalog.oid
