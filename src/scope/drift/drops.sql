-- Tables that have lost a part: policies, triggers, rules, constraints, columns and defaults name their table. An index
-- does not, so all tables of its schema count that have none that leads with their organization.
SELECT c.oid AS target
FROM pg_event_trigger_dropped_objects() d
JOIN pg_namespace n ON n.nspname = d.address_names[1]
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = d.address_names[2]
WHERE cardinality(d.address_names) >= 3 AND NOT d.is_temporary
  -- A partition that was just detached has lost its row triggers; they are made anew when the command ends.
  AND NOT EXISTS (SELECT FROM orgscope.scoped_table s
                  WHERE s.schema_name = n.nspname AND s.table_name = c.relname AND (s.original ->> 'member')::boolean
                    AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid))
UNION
SELECT c.oid
FROM orgscope.scoped_table s
JOIN pg_namespace n ON n.nspname = s.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.table_name
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.column_name
WHERE s.options ->> 'index' IS DISTINCT FROM 'none'
  AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d WHERE d.object_type = 'index' AND d.schema_name = s.schema_name)
  AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisvalid AND x.indkey[0] = a.attnum)
