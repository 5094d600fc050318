-- Whether the command just run has dropped something of a table that has orgscope's triggers, one of these triggers, or an
-- index where there are such tables: an index does not say whose it was. Catalogs only, as in near.sql.
SELECT 'yes'
FROM pg_event_trigger_dropped_objects() d
WHERE NOT d.is_temporary
  AND (d.object_type = 'trigger' AND d.object_identity LIKE '%orgscope%'
       OR EXISTS (SELECT FROM pg_namespace n
                  JOIN pg_class c ON c.relnamespace = n.oid AND (d.object_type = 'index' OR c.relname = d.address_names[2])
                  JOIN pg_trigger t ON t.tgrelid = c.oid
                  JOIN pg_proc f ON f.oid = t.tgfoid AND f.pronamespace = 'orgscope'::regnamespace
                  WHERE n.nspname = d.address_names[1]))
LIMIT 1
