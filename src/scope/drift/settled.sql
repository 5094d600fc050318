SELECT jsonb_agg(jsonb_build_object('oid', c.oid::bigint, 'name', format('%I.%I', n.nspname, c.relname)) ORDER BY c.oid)::text
FROM touched
JOIN pg_class c ON c.oid = touched.target
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN orgscope.scoped_table s ON s.schema_name = n.nspname AND s.table_name = c.relname
JOIN orgscope.table_state t ON t.target = c.oid AND t.settled
