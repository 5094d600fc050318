-- Scoped tables that LOCK of $1 locks, as `table role` lines: itself, what is below it if $2, and what a view reads. The role
-- is the one that is asked for the privilege, $3 or the owner of a view.
WITH RECURSIVE locked (oid, role, descends) AS (
    SELECT $1::pg_catalog.oid, $3::pg_catalog.oid, $2::pg_catalog.bool
    UNION
    SELECT next.oid, next.role, true
    FROM locked l
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.oid
    CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid,
               CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) o
                                 WHERE o.option_name OPERATOR(pg_catalog.=) 'security_invoker' AND o.option_value::pg_catalog.bool)
                    THEN $3::pg_catalog.oid ELSE c.relowner END AS role
        FROM pg_catalog.pg_rewrite w
        JOIN pg_catalog.pg_depend d ON d.objid OPERATOR(pg_catalog.=) w.oid
             AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
             AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE c.relkind OPERATOR(pg_catalog.=) 'v' AND w.ev_class OPERATOR(pg_catalog.=) c.oid
          AND w.ev_type OPERATOR(pg_catalog.=) '1'
        UNION ALL
        SELECT i.inhrelid, l.role FROM pg_catalog.pg_inherits i WHERE l.descends AND i.inhparent OPERATOR(pg_catalog.=) l.oid
    ) next
    -- What is below a scoped table is locked with it, and on record as it.
    WHERE NOT EXISTS (SELECT FROM orgscope.scoped_table s
                      JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) s.schema_name
                      WHERE n.oid OPERATOR(pg_catalog.=) c.relnamespace AND s.table_name OPERATOR(pg_catalog.=) c.relname)
)
SELECT pg_catalog.string_agg(pg_catalog.concat(l.oid, ' ', l.role), E'\n' ORDER BY l.oid, l.role)
FROM locked l
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.oid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
JOIN orgscope.scoped_table s ON s.schema_name OPERATOR(pg_catalog.=) n.nspname AND s.table_name OPERATOR(pg_catalog.=) c.relname
