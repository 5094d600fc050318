-- audit: who stepped around row security. Behaviour: src/audit/.

-- Each installation's ids begin with the clock, in microseconds: a restore brings the ids, and the seals, of another one,
-- while this one's writer may be at work already. The sequence is not dumped.
DO $$ BEGIN
    EXECUTE pg_catalog.format('CREATE SEQUENCE orgscope.audit_log_id_seq START %s',
        (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint);
END $$;

-- No index, key or row trigger here, only in each partition: a restored partition is attached to this table, which CREATE
-- EXTENSION has made complete, and would get them a second time. A partitioned table cannot have an identity column before
-- PostgreSQL 17; nobody but superusers may insert anyway.
CREATE TABLE orgscope.audit_log (
    id                bigint      NOT NULL DEFAULT nextval('orgscope.audit_log_id_seq'),
    at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- No foreign key: the record outlives the organization.
    organization_id   uuid,
    action            text        NOT NULL,
    table_name        text,
    operation         text,
    row_count         bigint,
    event_count       bigint      NOT NULL DEFAULT 1,
    actor             text,
    login_name        name,
    session_user_name name,
    role_name         name,
    application_name  text,
    client_addr       inet,
    txid              xid8,
    statement         text,
    sqlstate          text,
    reason            text,
    detail            jsonb
) PARTITION BY RANGE (at);
COMMENT ON TABLE orgscope.audit_log IS
    'accesses outside row security; append-only (OS008). A tenant role reads its own organization''s rows, without the statement text';
COMMENT ON COLUMN orgscope.audit_log.id IS
    'number of the row; a smaller one may be committed later';
COMMENT ON COLUMN orgscope.audit_log.at IS 'when it happened; of equal events when the first of them did';
COMMENT ON COLUMN orgscope.audit_log.organization_id IS
    'whose log it is in: of a write the rows'', of a read the context''s; NULL: of none, or of many';
COMMENT ON COLUMN orgscope.audit_log.action IS
    'what kind: bypass_read, bypass_write, denied, ddl, privilege, setting, break_glass, lifecycle, observed';
COMMENT ON COLUMN orgscope.audit_log.table_name IS
    'qualified and quoted as regclass is with an empty search_path; NULL: it is of no single table';
COMMENT ON COLUMN orgscope.audit_log.operation IS
    'the statement''s kind or the command''s tag, such as SELECT, UPDATE, LOCK, ALTER TABLE; of lifecycle and break_glass what was done';
COMMENT ON COLUMN orgscope.audit_log.row_count IS
    'rows that a read returned or a write changed; NULL: not known, or nothing to count';
COMMENT ON COLUMN orgscope.audit_log.event_count IS
    'how many equal events this row stands for; 0: it only adds rows to one that is written already';
COMMENT ON COLUMN orgscope.audit_log.actor IS
    'the setting orgscope.actor, or who the token in force says: the application''s user';
COMMENT ON COLUMN orgscope.audit_log.login_name IS
    'the authenticated user, which SET SESSION AUTHORIZATION does not change';
COMMENT ON COLUMN orgscope.audit_log.session_user_name IS 'session_user, which SET SESSION AUTHORIZATION changes';
COMMENT ON COLUMN orgscope.audit_log.role_name IS 'current_user, which SET ROLE and SECURITY DEFINER functions change';
COMMENT ON COLUMN orgscope.audit_log.application_name IS 'the client''s setting application_name: its own word';
COMMENT ON COLUMN orgscope.audit_log.client_addr IS 'the client''s address; NULL: a local socket';
COMMENT ON COLUMN orgscope.audit_log.txid IS
    'the transaction that did it; NULL: it wrote nothing, or has ended without the row';
COMMENT ON COLUMN orgscope.audit_log.statement IS
    'the client''s statement; not readable by tenant roles: it may quote values of another organization';
COMMENT ON COLUMN orgscope.audit_log.sqlstate IS 'of denied: the error''s code';
COMMENT ON COLUMN orgscope.audit_log.reason IS 'the setting orgscope.reason, or what break_glass() was called with';
COMMENT ON COLUMN orgscope.audit_log.detail IS 'what else there is to say, by action; not readable by tenant roles';

-- What no month's partition takes. Those are made by orgscope.make_audit_partitions() and are not members of the extension:
-- pg_dump writes them down like any table.
CREATE TABLE orgscope.audit_log_default PARTITION OF orgscope.audit_log (PRIMARY KEY (id)) DEFAULT;
COMMENT ON TABLE orgscope.audit_log_default IS 'audit rows of months that have no partition of their own';
CREATE INDEX audit_log_default_organization_id_at_idx ON orgscope.audit_log_default (organization_id, at);

CREATE FUNCTION orgscope.audit_immutable() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_audit_immutable';
COMMENT ON FUNCTION orgscope.audit_immutable() IS 'trigger: refuses every change of audit rows (OS008)';

CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
-- ALWAYS: session_replication_role = replica must not open it.
ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_immutable;
-- A statement that names a partition meets the triggers and row security of the partition alone.
CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_log_default
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.audit_log_default ENABLE ALWAYS TRIGGER audit_immutable;
ALTER TABLE orgscope.audit_log_default ENABLE ROW LEVEL SECURITY;

ALTER TABLE orgscope.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_audit_log ON orgscope.audit_log FOR SELECT USING (organization_id = orgscope.current_org());

CREATE FUNCTION orgscope.make_audit_partitions() RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'orgscope_make_audit_partitions';
COMMENT ON FUNCTION orgscope.make_audit_partitions() IS
    'make the partitions of orgscope.audit_log and orgscope.change_log for this month and the next, into which the month''s rows move from the default partition if there are not more than 20000; returns how many. Does not wait: what cannot be made now is left to the next call. For superusers; the background writer does it by itself';

SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_log_default', '');
