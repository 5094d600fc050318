-- observe: what enforcing would refuse or hide is counted instead. Behaviour: src/guard/observe.rs, src/audit/observed.rs.

-- RESTRICTED: a parallel worker's count would be lost with it.
CREATE FUNCTION orgscope.observe_read(target regclass) RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'orgscope_observe_read';
COMMENT ON FUNCTION orgscope.observe_read(regclass) IS
    'the predicate of a table''s policies in observe mode: always true, and notes a read without a context';

CREATE FUNCTION orgscope.run_readiness(since timestamptz) RETURNS text
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'orgscope_run_readiness';
COMMENT ON FUNCTION orgscope.run_readiness(timestamptz) IS 'behind scoping_readiness(); use that';

CREATE FUNCTION orgscope.scoping_readiness(since timestamptz DEFAULT '-infinity') RETURNS TABLE (
    target regclass, ready boolean, reads_without_context bigint, writes_without_context bigint,
    wrong_organization_writes bigint, null_organizations bigint, truncates bigint, context_changes bigint,
    last_seen timestamptz, applications text[]
)
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT r.target::regclass, r.ready, r.reads_without_context, r.writes_without_context,
                 r.wrong_organization_writes, r.null_organizations, r.truncates, r.context_changes, r.last_seen, r.applications
          FROM jsonb_to_recordset(orgscope.run_readiness(since)::jsonb) AS r (
              target text, ready boolean, reads_without_context bigint, writes_without_context bigint,
              wrong_organization_writes bigint, null_organizations bigint, truncates bigint, context_changes bigint,
              last_seen timestamptz, applications text[]) $$;
COMMENT ON FUNCTION orgscope.scoping_readiness(timestamptz) IS
    'for each table in observe mode that the caller owns: what enforcing would have refused or hidden since then, as orgscope.audit_log counts it. null_organizations are rows; the others are client statements';
