-- Whether row security holds the current user in a table whose rows an ALTER TABLE of $1 may check: the table itself, those
-- below it, those of its row type, and those that refer to one of them. search_path is pinned by the caller.
WITH RECURSIVE touched (target) AS (
    SELECT $1::oid
    UNION
    SELECT below.oid
    FROM touched t
    CROSS JOIN LATERAL (SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = t.target
                        UNION ALL
                        SELECT typed.oid FROM pg_class c JOIN pg_class typed ON typed.reloftype = c.reltype
                        WHERE c.oid = t.target AND c.relkind = 'c') below)
SELECT 'yes'
FROM (SELECT target FROM touched
      UNION
      SELECT k.conrelid FROM pg_constraint k JOIN touched t ON t.target = k.confrelid WHERE k.contype = 'f') checked
WHERE row_security_active(checked.target) LIMIT 1
