-- What the command just run has done to the trees of scoped tables, as JSON; NULL when nothing.
-- search_path is pinned by the event trigger's function.
WITH touched AS MATERIALIZED (
    SELECT DISTINCT objid AS oid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass
), edge AS MATERIALIZED (
    SELECT i.inhrelid AS child, i.inhparent AS parent FROM touched t JOIN pg_inherits i ON i.inhrelid = t.oid
    UNION SELECT i.inhrelid, i.inhparent FROM touched t JOIN pg_inherits i ON i.inhparent = t.oid
), registered AS (
    SELECT c.oid, s.column_name, s.options, s.original, s.history
    FROM orgscope.scoped_table s
    JOIN pg_namespace n ON n.nspname = s.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.table_name
), new AS (
    SELECT e.child, p.column_name, p.options, p.original, p.history
    FROM edge e JOIN registered p ON p.oid = e.parent LEFT JOIN registered c ON c.oid = e.child
    WHERE NOT COALESCE((c.original ->> 'member')::boolean, false)
), leaving AS (
    SELECT r.oid, r.column_name, r.options, r.original
    FROM registered r
    WHERE (r.original ->> 'member')::boolean
      AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = r.oid)
      AND EXISTS (SELECT FROM touched t JOIN registered o ON o.oid = t.oid)
), exposed AS (
    SELECT e.child
    FROM edge e JOIN registered c ON c.oid = e.child
    WHERE NOT EXISTS (SELECT FROM registered p WHERE p.oid = e.parent)
)
SELECT jsonb_build_object(
    'new', COALESCE((SELECT jsonb_agg(jsonb_build_object(
        'table', child::bigint, 'column', column_name, 'options', options, 'original', original, 'history', history)) FROM new), '[]'),
    'leaving', COALESCE((SELECT jsonb_agg(jsonb_build_object(
        'table', oid::bigint, 'column', column_name, 'options', options, 'original', original)) FROM leaving), '[]'),
    'exposed', (SELECT min(child::bigint) FROM exposed))::text
WHERE EXISTS (SELECT FROM new) OR EXISTS (SELECT FROM leaving) OR EXISTS (SELECT FROM exposed)
