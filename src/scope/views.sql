-- What reads the rows of the tables $1 with its owner's rights: views, rules and materialized views as their rules depend on it,
-- and functions whose bodies PostgreSQL parses. `around`: row security does not cover that owner. `own`: role $2 may alter it.
WITH RECURSIVE reads (rule, target) AS (
    SELECT r.ev_class, d.refobjid
    FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
),
-- The view that names the table decides whose rights count: its owner's, or with security_invoker those of the current
-- user, whatever views stand before it; inside a SECURITY DEFINER function that is the function's owner.
tree (oid, direct, asks) AS (
    SELECT r.rule, true, COALESCE((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o
                                   WHERE o.option_name = 'security_invoker'), false)
    FROM reads r JOIN pg_class c ON c.oid = r.rule WHERE r.target = ANY ($1::oid[])
    UNION
    SELECT r.rule, false, t.asks
    FROM tree t JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'v' JOIN reads r ON r.target = t.oid
),
found AS (
    SELECT 'pg_class'::regclass AS class, c.oid, c.relowner AS owner, format('%I.%I', n.nspname, c.relname) AS qualified,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'rule' END AS kind,
           (SELECT o.option_value FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'security_invoker') AS invoker,
           bool_or(t.direct) AS direct
    FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY c.oid, n.nspname
    UNION ALL
    SELECT DISTINCT 'pg_proc'::regclass, p.oid, p.proowner, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           'function', NULL, true
    FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid AND p.prosecdef JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_class'::regclass
      AND (d.refobjid = ANY ($1::oid[]) OR d.refobjid IN (SELECT t.oid FROM tree t WHERE t.asks))
)
SELECT jsonb_build_object(
    'found', COALESCE(jsonb_agg(jsonb_build_object(
        'kind', f.kind, 'qualified', f.qualified, 'invoker', f.invoker,
        'around', f.direct AND (o.rolsuper OR o.rolbypassrls) AND NOT COALESCE(f.invoker::boolean, false),
        'own', pg_has_role($2::oid, f.owner, 'USAGE')) ORDER BY f.kind, f.qualified), '[]'),
    -- Bodies that are text: nobody knows what they read.
    'opaque', (SELECT count(*) FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner AND (r.rolsuper OR r.rolbypassrls)
               WHERE p.prosecdef AND p.prosqlbody IS NULL
                 AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'orgscope'::regnamespace)
                 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'))
)::text
FROM found f JOIN pg_roles o ON o.oid = f.owner
