-- Scoped tables that the command has dropped, by name or with a schema or an owner, or of which it has dropped a part by name
-- ($1: tables of the indexes).
SELECT jsonb_agg(jsonb_build_object('oid', t.target::bigint, 'name', format('%I.%I', s.schema_name, s.table_name)) ORDER BY t.target)::text
FROM orgscope.scoped_table s
JOIN orgscope.table_state t ON t.schema_name = s.schema_name AND t.table_name = s.table_name AND t.settled
WHERE t.target = ANY ($1::oid[])
   OR EXISTS (
       SELECT FROM pg_event_trigger_dropped_objects() d
       WHERE d.classid = 'pg_class'::regclass AND (d.original OR d.normal) AND d.objsubid = 0
             AND t.target = d.objid
          OR d.original AND d.object_type IN ('policy', 'trigger', 'rule')
             AND s.schema_name = d.address_names[1] AND s.table_name = d.address_names[2])
