-- Who may what. Functions keep EXECUTE for PUBLIC: each checks what its caller may do. break_glass() does not.

-- ALTER DEFAULT PRIVILEGES may have granted the new tables to application roles.
DO $$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
        WHERE c.relnamespace = 'orgscope'::pg_catalog.regnamespace AND a.grantee <> c.relowner
    LOOP
        EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA orgscope FROM ' || grantee;
        EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA orgscope FROM ' || grantee;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA orgscope TO PUBLIC;
GRANT SELECT ON orgscope.organization TO PUBLIC;
-- A table's owner needs it to point a foreign key at organization. What it gives away: whether a guessed id exists.
GRANT REFERENCES (id) ON orgscope.organization TO PUBLIC;
GRANT SELECT (id, at, organization_id, action, table_name, operation, row_count, event_count, actor, login_name,
              session_user_name, role_name, application_name, client_addr, txid, sqlstate, reason)
    ON orgscope.audit_log TO PUBLIC;
GRANT SELECT ON orgscope.change_log TO PUBLIC;
GRANT SELECT (chain, installation, number, first_sequence, row_count, last_at, sealed_at, previous, digest)
    ON orgscope.audit_seal TO PUBLIC;
GRANT SELECT (chain, installation, number, digest, sequence, record_id, purged_at) ON orgscope.audit_checkpoint TO PUBLIC;
GRANT SELECT ON orgscope.history_tables, orgscope.scoped_tables, orgscope.unscoped_tables, orgscope.backfill_progress TO PUBLIC;
REVOKE EXECUTE ON FUNCTION orgscope.touch_updated_at(), orgscope.audit_immutable(), orgscope.row_image(record, oid),
    orgscope.audit_numbered(),
    orgscope.keep_scoping(), orgscope.keep_scoping_parts() FROM PUBLIC;
-- How much is on record tells nothing of one organization, but how busy all are.
GRANT SELECT ON orgscope.stats TO pg_monitor;
REVOKE EXECUTE ON FUNCTION orgscope.audit_queue_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION orgscope.audit_queue_state() TO pg_monitor;
