-- queue: events on their way to the audit log. Behaviour: src/audit/queue/.

-- One row: the last batch that is written. Not dumped: another server has its own queue.
CREATE TABLE orgscope.audit_writer (
    last_batch   bigint,
    at           timestamptz,
    installed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE orgscope.audit_writer IS 'the last batch of events that the audit writer has written; its own';
COMMENT ON COLUMN orgscope.audit_writer.last_batch IS 'its number, by which a writer after a crash knows what is written';
COMMENT ON COLUMN orgscope.audit_writer.at IS 'when it was written';
COMMENT ON COLUMN orgscope.audit_writer.installed_at IS 'when the extension was created in this database';
INSERT INTO orgscope.audit_writer DEFAULT VALUES;

CREATE FUNCTION orgscope.flush_audit() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'orgscope_flush_audit';
COMMENT ON FUNCTION orgscope.flush_audit() IS
    'returns when every event that was queued before it in this database is in orgscope.audit_log';

CREATE FUNCTION orgscope.audit_queue_state() RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'orgscope_audit_queue_state';
COMMENT ON FUNCTION orgscope.audit_queue_state() IS 'what orgscope.stats shows of the queue, as JSON; NULL without the library in shared_preload_libraries';
