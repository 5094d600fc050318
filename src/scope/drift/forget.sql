-- A dropped table is forgotten, also where it was declared to be outside scoping.
WITH dropped AS (
    SELECT d.objid, d.schema_name, d.object_name FROM pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
), states AS (
    DELETE FROM orgscope.table_state t USING dropped d WHERE t.target = d.objid
)
DELETE FROM orgscope.unscoped_table u USING dropped d
WHERE u.table_name::text = d.object_name
  AND (u.schema_name::text = d.schema_name OR to_regclass(format('%I.%I', u.schema_name, u.table_name)) IS NULL)
