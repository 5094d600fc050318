-- The tables that hold the rows of $1, in an order that stays: itself, its partitions and children at every level.
WITH RECURSIVE tree (oid) AS (
    SELECT $1::oid
    UNION
    SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent
)
SELECT COALESCE(json_agg(json_build_object(
           'oid', c.oid::bigint,
           'qualified', format('%I.%I', n.nspname, c.relname),
           'file', pg_relation_filenode(c.oid)::bigint,
           'blocks', pg_relation_size(c.oid) / current_setting('block_size')::int) ORDER BY c.oid), '[]')::text
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
