-- Every table that is connected with the table $1 by partitioning or inheritance, itself included, as a JSON array.
WITH RECURSIVE edge (a, b) AS (
    SELECT inhrelid, inhparent FROM pg_inherits
    UNION ALL SELECT inhparent, inhrelid FROM pg_inherits
), family (oid) AS (
    SELECT $1::oid
    UNION SELECT e.b FROM family f JOIN edge e ON e.a = f.oid
)
SELECT jsonb_agg(oid::bigint)::text FROM family
