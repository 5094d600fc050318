-- What was observed since $2 on the tables in observe mode that role $1 owns.
SELECT COALESCE(json_agg(r ORDER BY r.target), '[]')::text
FROM (
    SELECT format('%I.%I', s.schema_name, s.table_name) AS target,
           count(a.id) = 0 AS ready,
           COALESCE(sum(a.event_count) FILTER (WHERE a.why = 'no context' AND a.operation = 'SELECT'), 0) AS reads_without_context,
           COALESCE(sum(a.event_count) FILTER (WHERE a.why = 'no context' AND a.operation <> 'SELECT'), 0) AS writes_without_context,
           COALESCE(sum(a.event_count) FILTER (WHERE a.why = 'wrong organization'), 0) AS wrong_organization_writes,
           COALESCE(sum(a.row_count) FILTER (WHERE a.why = 'null organization'), 0) AS null_organizations,
           COALESCE(sum(a.event_count) FILTER (WHERE a.why = 'truncate'), 0) AS truncates,
           COALESCE(sum(a.event_count) FILTER (WHERE a.why = 'context change'), 0) AS context_changes,
           max(a.at) AS last_seen,
           COALESCE(array_agg(DISTINCT a.application_name) FILTER (WHERE a.application_name <> ''), '{}') AS applications
    FROM orgscope.scoped_table s
    JOIN pg_namespace n ON n.nspname = s.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.table_name
    LEFT JOIN (SELECT id, at, table_name, operation, event_count, row_count, application_name, detail ->> 'why' AS why
               FROM orgscope.audit_log WHERE action = 'observed' AND at >= $2::timestamptz) a
           ON a.table_name = format('%I.%I', s.schema_name, s.table_name)
    WHERE s.options ->> 'mode' = 'observe' AND pg_has_role($1::oid, c.relowner, 'USAGE')
    GROUP BY s.schema_name, s.table_name
) r
