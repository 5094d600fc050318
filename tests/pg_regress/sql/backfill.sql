-- backfill: a big table's rows get their organization in committed batches, before the table is scoped.
SET ROLE owner;
CREATE TABLE event (id int PRIMARY KEY, kind int);
INSERT INTO event SELECT i, i % 4 FROM generate_series(1, 2000) i;

-- Rows for which the expression knows nothing stay, and are counted.
CALL orgscope.backfill_org('event', $$CASE WHEN kind < 3 THEN '11111111-1111-7111-8111-111111111111'::uuid END$$, 500);
SELECT target, rows_total, rows_done, percent, eta, running FROM orgscope.backfill_progress;
CALL orgscope.backfill_org('event', '22222222-2222-7222-8222-222222222222', batch_size => 100);
CALL orgscope.backfill_org('event', '22222222-2222-7222-8222-222222222222');
SELECT organization_id, count(*) FROM event GROUP BY 1 ORDER BY 1;

-- It commits, so it cannot be part of a transaction.
BEGIN;
CALL orgscope.backfill_org('event', 'NULL');
\echo :SQLSTATE
ROLLBACK;
CALL orgscope.backfill_org('event', NULL);
\echo :SQLSTATE
CALL orgscope.backfill_org('event', 'NULL', column_name => 'kind');
\echo :SQLSTATE
CALL orgscope.backfill_org('pg_class', 'NULL');
\echo :SQLSTATE
RESET ROLE;
CALL orgscope.backfill_org('orgscope.organization', 'NULL', column_name => 'id');
\echo :SQLSTATE

-- The way of short locks: statements to run one by one.
SET ROLE owner;
CREATE UNIQUE INDEX event_kind ON event (kind, id);
UPDATE event SET organization_id = NULL WHERE id = 1;
SELECT step, kind, sql, lock, reason FROM orgscope.plan_org_scoping('event',
    options => '{"locks": "low", "backfill": "11111111-1111-7111-8111-111111111111"}');
SELECT count(*) FROM orgscope.enable_org_scoping('event', options => '{"locks": "low"}');
\echo :SQLSTATE
SELECT sql FROM orgscope.plan_org_scoping('event',
    options => '{"locks": "low", "backfill": "11111111-1111-7111-8111-111111111111"}')
WHERE kind NOT IN ('note', 'enable') \gexec
-- What is left for the strong lock.
SELECT kind, sql FROM orgscope.enable_org_scoping('event') WHERE kind IN ('column', 'default', 'not null', 'foreign key', 'index');
SELECT orgscope.disable_org_scoping('event') \g /dev/null
\d event
DROP TABLE event;
RESET ROLE;
