DELETE FROM orgscope.scoped_table s
USING pg_event_trigger_dropped_objects() d
WHERE d.object_type = 'table' AND d.schema_name = s.schema_name::text AND d.object_name = s.table_name::text
