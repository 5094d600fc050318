-- audit: who stepped around row security. Behaviour: src/audit/.

CREATE TABLE orgscope.audit_log (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
);
COMMENT ON TABLE orgscope.audit_log IS
    'accesses outside row security; append-only (OS008). A tenant role reads its own organization''s rows, without the statement text';
COMMENT ON COLUMN orgscope.audit_log.login_name IS
    'the authenticated user, which SET SESSION AUTHORIZATION does not change';
COMMENT ON COLUMN orgscope.audit_log.statement IS
    'the client''s statement; not readable by tenant roles: it may quote values of another organization';
COMMENT ON COLUMN orgscope.audit_log.event_count IS 'how many equal events this row stands for';

CREATE INDEX audit_log_organization_id_at_idx ON orgscope.audit_log (organization_id, at);

CREATE FUNCTION orgscope.audit_immutable() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_audit_immutable';
COMMENT ON FUNCTION orgscope.audit_immutable() IS 'trigger: refuses every change of audit rows (OS008)';

CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
-- ALWAYS: session_replication_role = replica must not open it.
ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_immutable;

ALTER TABLE orgscope.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_audit_log ON orgscope.audit_log FOR SELECT USING (organization_id = orgscope.current_org());

SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_log_id_seq', '');
