-- Commands on orgscope's own objects, but for those of its own scripts.
SELECT jsonb_agg(object ORDER BY object)::text
FROM (
    SELECT DISTINCT d.object_identity AS object FROM pg_event_trigger_ddl_commands() d
    WHERE NOT d.in_extension
      AND (d.schema_name = 'orgscope' OR d.classid = 'pg_namespace'::regclass AND d.object_identity = 'orgscope'
           OR d.object_identity LIKE '% on orgscope.%')
) objects
