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
COMMENT ON COLUMN orgscope.backfill.target IS 'the table';
COMMENT ON COLUMN orgscope.backfill.pid IS 'the server process that runs it, or ran it last';
COMMENT ON COLUMN orgscope.backfill.rows_total IS 'rows of the table as PostgreSQL estimated them when the run began';
COMMENT ON COLUMN orgscope.backfill.rows_done IS 'rows that this run has given an organization';
COMMENT ON COLUMN orgscope.backfill.batches IS 'batches that this run has committed';
COMMENT ON COLUMN orgscope.backfill.blocks_total IS 'pages of the table when the run began';
COMMENT ON COLUMN orgscope.backfill.blocks_skipped IS 'pages that an earlier run had done';
COMMENT ON COLUMN orgscope.backfill.blocks_done IS 'pages that are done';
COMMENT ON COLUMN orgscope.backfill.leaf IS 'where to go on: the table without children';
COMMENT ON COLUMN orgscope.backfill.leaf_file IS 'the file it was in; another one: from its beginning';
COMMENT ON COLUMN orgscope.backfill.next_block IS 'the first page of it that is not done';
COMMENT ON COLUMN orgscope.backfill.started_at IS 'when this run began';
COMMENT ON COLUMN orgscope.backfill.updated_at IS 'when its last batch was committed';
COMMENT ON COLUMN orgscope.backfill.finished_at IS 'when it came to its end; NULL: not yet';

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
COMMENT ON COLUMN orgscope.backfill_progress.pid IS 'the server process that runs it, or ran it last';
COMMENT ON COLUMN orgscope.backfill_progress.target IS 'the table';
COMMENT ON COLUMN orgscope.backfill_progress.rows_total IS
    'rows of the table as PostgreSQL estimated them when the run began';
COMMENT ON COLUMN orgscope.backfill_progress.rows_done IS 'rows that this run has given an organization';
COMMENT ON COLUMN orgscope.backfill_progress.batches IS 'batches that this run has committed';
COMMENT ON COLUMN orgscope.backfill_progress.started_at IS 'when this run began';
COMMENT ON COLUMN orgscope.backfill_progress.updated_at IS 'when its last batch was committed';
COMMENT ON COLUMN orgscope.backfill_progress.finished_at IS 'when it came to its end; NULL: not yet';
COMMENT ON COLUMN orgscope.backfill_progress.percent IS 'of the table''s pages, those of earlier runs too';
COMMENT ON COLUMN orgscope.backfill_progress.eta IS 'time left at the speed of this run; NULL: not known, or finished';
COMMENT ON COLUMN orgscope.backfill_progress.running IS 'whether its server process is at work';

-- No SET clause: a procedure that has one cannot commit. search_path is pinned inside.
CREATE PROCEDURE orgscope.backfill_org(
    target regclass, expression text, batch_size integer DEFAULT 10000, column_name name DEFAULT 'organization_id'
) LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_backfill_org';
COMMENT ON PROCEDURE orgscope.backfill_org(regclass, text, integer, name) IS
    'give rows without an organization theirs, in batches that are committed one by one; adds the column if it is missing. For the table''s owner or a superuser, before enable_org_scoping(). Stopped, it goes on where it stood when called again';
