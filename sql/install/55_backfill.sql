-- backfill: the organization of the rows of a big table, in batches. Behaviour: src/scope/backfill/.

-- One row a table, written in the transaction of each batch. Not kept by pg_dump: a place in a file means nothing after it.
CREATE TABLE orgscope.backfill (
    target         regclass    PRIMARY KEY,
    pid            integer     NOT NULL,
    rows_total     bigint      NOT NULL,
    rows_done      bigint      NOT NULL DEFAULT 0,
    batches        bigint      NOT NULL DEFAULT 0,
    blocks_total   bigint      NOT NULL,
    blocks_skipped bigint      NOT NULL,
    blocks_done    bigint      NOT NULL,
    -- Where to go on: a table without children, the file it was in, and the first block not done.
    leaf           oid,
    leaf_file      oid,
    next_block     bigint,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at    timestamptz
);
COMMENT ON TABLE orgscope.backfill IS 'where each orgscope.backfill_org() stands; see orgscope.backfill_progress';

CREATE VIEW orgscope.backfill_progress AS
    SELECT b.pid, b.target, b.rows_total, b.rows_done, b.batches, b.started_at, b.updated_at, b.finished_at,
           CASE WHEN b.finished_at IS NOT NULL OR b.blocks_total = 0 THEN 100.0
                ELSE round(100.0 * b.blocks_done / b.blocks_total, 1) END AS percent,
           CASE WHEN b.finished_at IS NULL AND b.blocks_done > b.blocks_skipped
                THEN (b.updated_at - b.started_at) * ((b.blocks_total - b.blocks_done)::float8 / (b.blocks_done - b.blocks_skipped))
           END AS eta,
           -- Held from the first batch to the last.
           EXISTS (SELECT FROM pg_catalog.pg_locks l
                   WHERE l.locktype = 'advisory' AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
                     AND l.classid = 1869768563 AND l.objid = b.target::oid AND l.objsubid = 2 AND l.pid = b.pid) AS running
    FROM orgscope.backfill b;
COMMENT ON VIEW orgscope.backfill_progress IS
    'every orgscope.backfill_org() of this database, as of its last batch: rows of this run, percent of the table''s pages, time left; not running and not finished: it was stopped, call it again';

-- No SET clause: a procedure that has one cannot commit. search_path is pinned inside.
CREATE PROCEDURE orgscope.backfill_org(
    target regclass, expression text, batch_size integer DEFAULT 10000, column_name name DEFAULT 'organization_id'
) LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_backfill_org';
COMMENT ON PROCEDURE orgscope.backfill_org(regclass, text, integer, name) IS
    'give rows without an organization theirs, in batches that are committed one by one; adds the column if it is missing. For the table''s owner or a superuser, before enable_org_scoping(). Stopped, it goes on where it stood when called again';
