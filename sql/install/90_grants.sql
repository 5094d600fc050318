-- Who may what. Functions keep EXECUTE for PUBLIC: each checks what its caller may do.

GRANT USAGE ON SCHEMA orgscope TO PUBLIC;
GRANT SELECT ON orgscope.organization TO PUBLIC;
-- A table's owner needs it to point a foreign key at organization. What it gives away: whether a guessed id exists.
GRANT REFERENCES (id) ON orgscope.organization TO PUBLIC;
GRANT SELECT (id, at, organization_id, action, table_name, operation, row_count, event_count, actor, login_name,
              session_user_name, role_name, application_name, client_addr, txid, sqlstate, reason)
    ON orgscope.audit_log TO PUBLIC;
GRANT SELECT ON orgscope.scoped_tables TO PUBLIC;
REVOKE EXECUTE ON FUNCTION orgscope.touch_updated_at(), orgscope.audit_immutable(), orgscope.forget_dropped_tables() FROM PUBLIC;
