-- Its schema may have been renamed since the statement began: then it is the entry that leads to no table.
DELETE FROM orgscope.scoped_table s
USING pg_event_trigger_dropped_objects() d
WHERE d.object_type = 'table' AND d.object_name = s.table_name::text
  AND (d.schema_name = s.schema_name::text OR to_regclass(format('%I.%I', s.schema_name, s.table_name)) IS NULL)
