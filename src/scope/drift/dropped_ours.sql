-- Parts of orgscope's own tables that were dropped.
SELECT jsonb_agg(object ORDER BY object)::text
FROM (
    SELECT DISTINCT d.object_identity AS object FROM pg_event_trigger_dropped_objects() d
    WHERE d.original AND (d.schema_name = 'orgscope' OR d.address_names[1] = 'orgscope')
) objects
