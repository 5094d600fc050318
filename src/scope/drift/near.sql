-- Whether a touched table has orgscope's triggers, or one next to it has. Catalogs only: a look into the registry would
-- leave its lock to every transaction that changes any table.
SELECT 'yes'
FROM touched
CROSS JOIN LATERAL (
    SELECT touched.target AS oid
    UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = touched.target
    UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = touched.target
) near
WHERE EXISTS (SELECT FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
              WHERE t.tgrelid = near.oid AND f.pronamespace = 'orgscope'::regnamespace)
LIMIT 1
