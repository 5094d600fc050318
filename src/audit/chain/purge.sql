-- Deletes the oldest seals of the chains $2, $9 whose rows are all from before $1, with their rows; leaves a checkpoint and a
-- record for each, and for each whose record goes. $3: what verify_audit() said of each chain before.
WITH chain (chain, verdict, installation) AS (
    SELECT * FROM ROWS FROM (unnest($2::uuid[]), jsonb_array_elements($3::jsonb), unnest($9::bigint[])) c
), doomed AS (
    SELECT s.*, s.ctid AS place, c.verdict FROM chain c JOIN orgscope.audit_seal s ON s.chain = c.chain AND s.installation = c.installation
    WHERE s.number < COALESCE((SELECT min(k.number) FROM orgscope.audit_seal k
                               WHERE k.chain = c.chain AND k.installation = c.installation AND k.last_at >= $1::timestamptz), 9223372036854775807)
), doomed_rows AS (
    SELECT r.chain, r.installation, a.id, a.ctid AS place, a.tableoid AS partition
    FROM (SELECT d.chain, d.installation, unnest(d.row_ids) AS id FROM doomed d) r
    -- The time spares the younger partitions.
    JOIN orgscope.audit_log a ON a.id = r.id AND a.at < $1::timestamptz
        AND COALESCE(a.organization_id, '00000000-0000-0000-0000-000000000000') = r.chain
), gone AS (
    -- A row that somebody changes while this waits for him is at another place then, and stays.
    DELETE FROM orgscope.audit_log a USING doomed_rows r
    WHERE a.id = r.id AND a.at < $1::timestamptz AND a.ctid = r.place AND a.tableoid = r.partition
    RETURNING r.chain, r.installation
), gone_seals AS (
    DELETE FROM orgscope.audit_seal s USING doomed d
    WHERE s.chain = d.chain AND s.installation = d.installation AND s.number = d.number AND s.ctid = d.place
    RETURNING true
), cut AS (
    SELECT DISTINCT ON (d.chain, d.installation) d.chain, d.installation, d.number, d.digest, d.first_sequence + d.row_count - 1 AS sequence, d.verdict,
           max(d.last_id) OVER (PARTITION BY d.chain, d.installation) AS last_id
    FROM doomed d ORDER BY d.chain, d.installation, d.number DESC
), recorded AS (
    -- Chains that were cut before and are not now, as those of another installation, which a restore has brought: the record
    -- of that is in this installation's chain, and goes with it. So it is written again.
    SELECT p.chain, p.installation, p.number, p.digest, p.sequence, d.verdict, p.last_id
    FROM orgscope.audit_checkpoint p JOIN doomed d ON d.chain = p.chain AND p.record_id = ANY (d.row_ids)
    -- What never was a record of it does not become one.
    JOIN orgscope.audit_log a ON a.id = p.record_id AND a.action = 'lifecycle' AND a.operation = 'PURGE'
        AND a.detail ->> 'digest' = encode(p.digest, 'hex')
    WHERE NOT EXISTS (SELECT FROM cut c WHERE c.chain = p.chain AND c.installation = p.installation)
), noted AS (
    SELECT * FROM cut UNION ALL SELECT * FROM recorded
), record AS (
    INSERT INTO orgscope.audit_log (organization_id, action, operation, row_count, actor, login_name, session_user_name,
        role_name, application_name, client_addr, txid, statement, reason, detail)
    SELECT NULLIF(c.chain, '00000000-0000-0000-0000-000000000000'), 'lifecycle', 'PURGE',
           (SELECT count(*) FROM gone g WHERE g.chain = c.chain AND g.installation = c.installation), $4, COALESCE($5, session_user)::name, session_user, $6::name,
           current_setting('application_name'), inet_client_addr(), pg_current_xact_id(), $7, $8,
           jsonb_build_object('before', $1::timestamptz AT TIME ZONE 'UTC', 'installation', c.installation, 'seal', c.number, 'sequence', c.sequence,
                              'digest', encode(c.digest, 'hex'), 'verified', c.verdict)
    FROM noted c ORDER BY c.chain, c.installation
    RETURNING id, COALESCE(organization_id, '00000000-0000-0000-0000-000000000000') AS chain, (detail -> 'installation')::bigint AS installation
), checkpoint AS (
    INSERT INTO orgscope.audit_checkpoint AS p (chain, installation, number, digest, sequence, last_id, record_id)
    SELECT c.chain, c.installation, c.number, c.digest, c.sequence, c.last_id, r.id FROM noted c
    JOIN record r ON r.chain = c.chain AND r.installation = c.installation
    ON CONFLICT (chain, installation) DO UPDATE SET number = excluded.number, digest = excluded.digest, sequence = excluded.sequence,
        last_id = greatest(p.last_id, excluded.last_id), record_id = excluded.record_id,
        purged_at = CASE WHEN p.number = excluded.number THEN p.purged_at ELSE excluded.purged_at END
)
SELECT (SELECT count(*) FROM gone) || ' ' || (SELECT count(*) FROM record) || ' '
    || ((SELECT count(DISTINCT (partition, place)) FROM doomed_rows) - (SELECT count(*) FROM gone) + (SELECT count(*) FROM doomed) - (SELECT count(*) FROM gone_seals))
