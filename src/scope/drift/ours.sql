-- Commands on orgscope's own objects, but for those of its own scripts, and but for what makes a partition of a
-- log: a restore does, and a record would be a row of the month that is not attached yet. $1: the command only adds or
-- protects.
SELECT jsonb_agg(object ORDER BY object)::text
FROM (
    SELECT DISTINCT d.object_identity AS object FROM pg_event_trigger_ddl_commands() d
    WHERE NOT d.in_extension
      AND (d.schema_name = 'orgscope' OR d.classid = 'pg_namespace'::regclass AND d.object_identity = 'orgscope'
           OR d.object_identity LIKE '% on orgscope.%')
      AND NOT ($1::boolean AND d.object_identity ~ '(^| on )orgscope\.(audit|change)_log(_\d{4}_\d{2}\w*)?$')
      AND NOT (d.classid = 'pg_class'::regclass AND d.object_identity ~ '^orgscope\.(audit|change)_log_\d{4}_\d{2}$'
               AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = d.objid))
) objects
