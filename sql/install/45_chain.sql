-- chain: tamper evidence of the audit log. Behaviour: src/audit/chain/.

-- Not dumped: each installation has its own. Nor asked of the sequence, whose START a superuser can move: rows would count as
-- another installation's, which nobody seals.
CREATE TABLE orgscope.audit_installation (
    first_id bigint  NOT NULL,
    one      boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE orgscope.audit_installation IS 'the first id of this installation''s audit rows, which names its chains; append-only (OS008)';
COMMENT ON COLUMN orgscope.audit_installation.first_id IS 'what the sequence of the ids began with';
COMMENT ON COLUMN orgscope.audit_installation.one IS 'true: there is one row';
INSERT INTO orgscope.audit_installation (first_id)
    SELECT seqstart FROM pg_catalog.pg_sequence WHERE seqrelid = 'orgscope.audit_log_id_seq'::regclass;

-- Dumped: an installation of which nothing was sealed yet is known by this alone, and a restore may bring its rows.
CREATE TABLE orgscope.audit_beginning (
    installation bigint PRIMARY KEY
);
COMMENT ON TABLE orgscope.audit_beginning IS 'every installation whose audit rows may be here: this one, and those of restored dumps; append-only (OS008)';
COMMENT ON COLUMN orgscope.audit_beginning.installation IS 'its first id, as in orgscope.audit_seal';
INSERT INTO orgscope.audit_beginning (installation) SELECT first_id FROM orgscope.audit_installation;

CREATE TABLE orgscope.audit_seal (
    chain          uuid        NOT NULL,
    installation   bigint      NOT NULL,
    number         bigint      NOT NULL,
    first_sequence bigint      NOT NULL,
    row_count      bigint      NOT NULL,
    row_ids        bigint[]    NOT NULL,
    row_digests    bytea       NOT NULL,
    last_id        bigint      NOT NULL,
    last_at        timestamptz NOT NULL,
    sealed_at      timestamptz NOT NULL,
    salt           bytea       NOT NULL,
    previous       bytea       NOT NULL,
    digest         bytea       NOT NULL,
    PRIMARY KEY (chain, installation, number)
);
COMMENT ON TABLE orgscope.audit_seal IS
    'tamper evidence: each seal covers a batch of one organization''s audit rows and the seal before it; append-only (OS008)';
COMMENT ON COLUMN orgscope.audit_seal.chain IS
    'the organization; all zeros, which no organization can be, for rows without one';
COMMENT ON COLUMN orgscope.audit_seal.installation IS
    'first id of the installation of the extension that sealed: what a restore brings of another one is verified and purged as its own, and goes on no more';
COMMENT ON COLUMN orgscope.audit_seal.number IS 'of the seal in its chain and installation, from 1 on without a gap';
COMMENT ON COLUMN orgscope.audit_seal.first_sequence IS
    'sequence number, in the chain, of the first of row_ids; the others follow without a gap';
COMMENT ON COLUMN orgscope.audit_seal.row_count IS 'how many rows it covers';
COMMENT ON COLUMN orgscope.audit_seal.row_ids IS 'which: orgscope.audit_log.id';
COMMENT ON COLUMN orgscope.audit_seal.row_digests IS
    'SHA-256 of the salt and each row in canonical form, 32 bytes each; not readable by tenant roles, as salt: they would tell whether a guess at a statement is right';
COMMENT ON COLUMN orgscope.audit_seal.last_id IS 'the greatest of row_ids';
COMMENT ON COLUMN orgscope.audit_seal.last_at IS 'the youngest of the rows'' times; a purge goes by it';
COMMENT ON COLUMN orgscope.audit_seal.sealed_at IS 'since when the rows are known to be there';
COMMENT ON COLUMN orgscope.audit_seal.salt IS 'random, of this seal alone';
COMMENT ON COLUMN orgscope.audit_seal.previous IS 'digest of the seal before it';
COMMENT ON COLUMN orgscope.audit_seal.digest IS
    'SHA-256 of everything in this row and of the seal before it; also in the server''s log';
-- Random bytes do not compress.
ALTER TABLE orgscope.audit_seal ALTER COLUMN row_digests SET STORAGE EXTERNAL, ALTER COLUMN row_ids SET STORAGE EXTERNAL;
CREATE INDEX audit_seal_installation_last_id_idx ON orgscope.audit_seal (installation, last_id);

CREATE TABLE orgscope.audit_checkpoint (
    chain        uuid        NOT NULL,
    installation bigint      NOT NULL,
    number       bigint      NOT NULL,
    digest       bytea       NOT NULL,
    sequence     bigint      NOT NULL,
    last_id      bigint      NOT NULL,
    record_id    bigint      NOT NULL,
    purged_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chain, installation)
);
COMMENT ON TABLE orgscope.audit_checkpoint IS 'the last purged seal of each chain, where verifying it begins';
COMMENT ON COLUMN orgscope.audit_checkpoint.chain IS 'the organization, as in orgscope.audit_seal';
COMMENT ON COLUMN orgscope.audit_checkpoint.installation IS 'as in orgscope.audit_seal';
COMMENT ON COLUMN orgscope.audit_checkpoint.number IS 'of the last purged seal';
COMMENT ON COLUMN orgscope.audit_checkpoint.digest IS 'its digest, from which the next seal follows';
COMMENT ON COLUMN orgscope.audit_checkpoint.sequence IS 'sequence number of the last purged row';
COMMENT ON COLUMN orgscope.audit_checkpoint.last_id IS 'the greatest id among the purged rows';
COMMENT ON COLUMN orgscope.audit_checkpoint.record_id IS 'the audit row that records the purge';
COMMENT ON COLUMN orgscope.audit_checkpoint.purged_at IS 'when the purge was';

CREATE TABLE orgscope.audit_gap (
    first_id bigint PRIMARY KEY,
    last_id  bigint NOT NULL,
    noticed  xid8   NOT NULL
);
COMMENT ON TABLE orgscope.audit_gap IS 'ids below the last sealed one that a running transaction may still bring';
COMMENT ON COLUMN orgscope.audit_gap.first_id IS 'the first of ids in a row that are missing';
COMMENT ON COLUMN orgscope.audit_gap.last_id IS 'the last of them';
COMMENT ON COLUMN orgscope.audit_gap.noticed IS 'a transaction number: when all before it have ended, the ids come no more';

CREATE FUNCTION orgscope.audit_numbered() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_audit_numbered';
COMMENT ON FUNCTION orgscope.audit_numbered() IS 'trigger: gives a transaction its number before it takes an audit row''s id';
CREATE TRIGGER audit_numbered BEFORE INSERT ON orgscope.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_numbered();
ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_numbered;

CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.audit_seal ENABLE ALWAYS TRIGGER audit_immutable;
CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.audit_checkpoint ENABLE ALWAYS TRIGGER audit_immutable;
CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_installation
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.audit_installation ENABLE ALWAYS TRIGGER audit_immutable;
CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.audit_beginning
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.audit_beginning ENABLE ALWAYS TRIGGER audit_immutable;

ALTER TABLE orgscope.audit_seal ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_audit_seal ON orgscope.audit_seal FOR SELECT USING (chain = orgscope.current_org());
ALTER TABLE orgscope.audit_checkpoint ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_audit_checkpoint ON orgscope.audit_checkpoint FOR SELECT USING (chain = orgscope.current_org());

CREATE FUNCTION orgscope.seal_audit() RETURNS bigint
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'orgscope_seal_audit';
COMMENT ON FUNCTION orgscope.seal_audit() IS
    'seal all committed audit rows that are not sealed yet; returns how many. For superusers; the background writer does it by itself';

-- Sorting a chain's rows in files would take longer than verifying them.
CREATE FUNCTION orgscope.run_verify_audit(org uuid) RETURNS text
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET work_mem = '64MB' AS 'MODULE_PATHNAME', 'orgscope_run_verify_audit';
COMMENT ON FUNCTION orgscope.run_verify_audit(uuid) IS 'behind verify_audit(); use that';

CREATE FUNCTION orgscope.verify_audit(org uuid DEFAULT orgscope.current_org()) RETURNS TABLE (
    organization_id uuid, verdict text, row_id bigint, sequence bigint, seal bigint, rows bigint, seals bigint,
    unsealed bigint, digest text, installation bigint
)
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT v.organization_id, v.verdict, v.row_id, v.sequence, v.seal, v.rows, v.seals, v.unsealed, v.digest,
                 v.installation
          FROM jsonb_to_recordset(orgscope.run_verify_audit(org)::jsonb) AS v (
              organization_id uuid, verdict text, row_id bigint, sequence bigint, seal bigint, rows bigint, seals bigint,
              unsealed bigint, digest text, installation bigint) $$;
COMMENT ON FUNCTION orgscope.verify_audit(uuid) IS
    'whether the audit rows of the organization are what they were when they were sealed: ok, or the first bad row (changed, missing, added) or seal (seal broken, seal missing, checkpoint). A tenant role verifies its own organization''s; superusers and BYPASSRLS roles any, with NULL all, with the all-zeros uuid the rows without an organization';

CREATE FUNCTION orgscope.audit_digest(org uuid DEFAULT orgscope.current_org()) RETURNS TABLE (
    organization_id uuid, seal bigint, sequence bigint, digest text, sealed_at timestamptz, installation bigint
)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT DISTINCT ON (chain, installation) NULLIF(chain, '00000000-0000-0000-0000-000000000000'), number, last,
                 encode(h.digest, 'hex'), at, installation
          FROM (SELECT s.chain, s.installation, s.number, s.first_sequence + s.row_count - 1, s.digest, s.sealed_at FROM orgscope.audit_seal s
                UNION ALL
                SELECT c.chain, c.installation, c.number, c.sequence, c.digest, c.purged_at FROM orgscope.audit_checkpoint c)
              AS h (chain, installation, number, last, digest, at)
          WHERE org IS NULL OR chain = org
          ORDER BY chain, installation, number DESC $$;
COMMENT ON FUNCTION orgscope.audit_digest(uuid) IS
    'the last seal of the organization''s chain, of each installation that has one, to be kept elsewhere: who has it can tell a rewritten chain. NULL: of all organizations the caller sees';

CREATE FUNCTION orgscope.purge_audit_log(before timestamptz) RETURNS bigint
    LANGUAGE c VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'orgscope_purge_audit_log';
COMMENT ON FUNCTION orgscope.purge_audit_log(timestamptz) IS
    'delete audit rows from before that time, by whole seals; what is left verifies, and an audit row (lifecycle, PURGE) records it for each organization. Returns how many rows. For superusers';

SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_beginning', '');
SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_seal', '');
SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_checkpoint', '');
SELECT pg_catalog.pg_extension_config_dump('orgscope.audit_gap', '');
