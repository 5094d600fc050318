-- stats: what an alert needs. Behaviour: src/audit/queue/.

CREATE VIEW orgscope.stats AS
    SELECT s.*,
           w.at AS last_batch_at,
           (SELECT e.sealed_at FROM orgscope.audit_seal e ORDER BY e.installation DESC, e.last_id DESC LIMIT 1) AS last_seal_at,
           -- Behind the last row that this installation has sealed, so that each partition is asked for one row of its primary
           -- key.
           (SELECT l.at FROM orgscope.audit_log l
            WHERE l.id > (SELECT GREATEST(
                      (SELECT max(e.last_id) FROM orgscope.audit_seal e WHERE e.installation = q.first_id),
                      (SELECT max(c.last_id) FROM orgscope.audit_checkpoint c WHERE c.installation = q.first_id), q.first_id - 1)
                  FROM orgscope.audit_installation q)
            ORDER BY l.id LIMIT 1) AS unsealed_since,
           (SELECT count(*) FROM orgscope.organization WHERE is_active) AS organizations_active,
           (SELECT count(*) FROM orgscope.organization WHERE NOT is_active) AS organizations_suspended
    FROM orgscope.audit_writer w
    LEFT JOIN pg_catalog.jsonb_to_record(orgscope.audit_queue_state()::jsonb)
        AS s (events_queued bigint, events_written bigint, events_logged bigint, places_used integer, places integer,
              oldest_waiting_seconds double precision, bypass_read bigint, bypass_write bigint, denied bigint, observed bigint,
              ddl bigint, privilege bigint, setting bigint, break_glass bigint, lifecycle bigint, other bigint) ON true;
COMMENT ON VIEW orgscope.stats IS
    'for monitoring, readable by pg_monitor. Of the whole server: the audit queue, and events by action since its file was made, queued or not. Of this database, from last_batch_at on: the writer''s last batch, the last seal, the first audit row behind it, organizations';
COMMENT ON COLUMN orgscope.stats.events_queued IS 'of the server: events that found a place in the queue';
COMMENT ON COLUMN orgscope.stats.events_written IS 'of the server: those that writers have taken to an audit log';
COMMENT ON COLUMN orgscope.stats.events_logged IS 'of the server: events that are in the server''s log alone';
COMMENT ON COLUMN orgscope.stats.places_used IS 'of the server: different events that wait';
COMMENT ON COLUMN orgscope.stats.places IS 'of the server: different events that can wait (orgscope.audit_queue)';
COMMENT ON COLUMN orgscope.stats.oldest_waiting_seconds IS
    'of the server: age of the event that has waited longest; NULL when none waits';
COMMENT ON COLUMN orgscope.stats.bypass_read IS 'of the server: events with action bypass_read';
COMMENT ON COLUMN orgscope.stats.bypass_write IS 'of the server: events with action bypass_write';
COMMENT ON COLUMN orgscope.stats.denied IS 'of the server: events with action denied';
COMMENT ON COLUMN orgscope.stats.observed IS 'of the server: events with action observed';
COMMENT ON COLUMN orgscope.stats.ddl IS 'of the server: events with action ddl';
COMMENT ON COLUMN orgscope.stats.privilege IS 'of the server: events with action privilege';
COMMENT ON COLUMN orgscope.stats.setting IS 'of the server: events with action setting';
COMMENT ON COLUMN orgscope.stats.break_glass IS 'of the server: events with action break_glass';
COMMENT ON COLUMN orgscope.stats.lifecycle IS 'of the server: events with action lifecycle';
COMMENT ON COLUMN orgscope.stats.other IS
    'of the server: events with an action that is none of these; orgscope writes none';
COMMENT ON COLUMN orgscope.stats.last_batch_at IS 'of this database: when the writer last wrote from the queue';
COMMENT ON COLUMN orgscope.stats.last_seal_at IS 'of this database: when audit rows were last sealed';
COMMENT ON COLUMN orgscope.stats.unsealed_since IS
    'of this database: the first audit row behind the last seal; NULL when all are sealed';
COMMENT ON COLUMN orgscope.stats.organizations_active IS 'of this database';
COMMENT ON COLUMN orgscope.stats.organizations_suspended IS 'of this database';
