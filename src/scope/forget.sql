-- Runs under the search_path of whoever drops the table, so everything is qualified.
DELETE FROM orgscope.scoped_table s
USING pg_catalog.pg_event_trigger_dropped_objects() d
WHERE d.object_type OPERATOR(pg_catalog.=) 'table'
  AND d.schema_name OPERATOR(pg_catalog.=) s.schema_name::pg_catalog.text
  AND d.object_name OPERATOR(pg_catalog.=) s.table_name::pg_catalog.text
