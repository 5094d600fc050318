-- bypass: with orgscope.bypass = deny nobody steps around row security, and with audit_durability = sync nobody reads off record.
CREATE TABLE ledger (id int PRIMARY KEY, amount int);
GRANT ALL ON ledger TO app, dba;
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('ledger');
CREATE VIEW ledger_of_all AS SELECT * FROM ledger;
GRANT SELECT ON ledger_of_all TO app;

SET orgscope.bypass = 'deny';
\set VERBOSITY verbose
SELECT * FROM ledger;
\set VERBOSITY default
INSERT INTO ledger VALUES (1, 10, '11111111-1111-7111-8111-111111111111');
UPDATE ledger SET amount = 0;
DELETE FROM ledger;
TRUNCATE ledger;
\echo :SQLSTATE
LOCK TABLE ledger IN SHARE MODE;
\echo :SQLSTATE
COPY ledger TO STDOUT;
-- A role with BYPASSRLS, under a context too.
SET ROLE dba;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT * FROM ledger;
ROLLBACK;
TRUNCATE ledger;
-- Only a superuser takes it off.
SET orgscope.bypass = 'audit';
-- A normal role works as ever, but not through a view that is a superuser's.
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO ledger VALUES (1, 10);
SELECT id, amount FROM ledger;
SELECT * FROM ledger_of_all;
ROLLBACK;
RESET ROLE;
RESET orgscope.bypass;

-- Nobody can write while the log is locked.
SET orgscope.audit_durability = 'sync';
SET orgscope.audit_timeout = '100ms';
SELECT count(*) FROM ledger;
BEGIN;
LOCK TABLE orgscope.audit_log IN SHARE MODE;
\set VERBOSITY verbose
SELECT count(*) FROM ledger;
\set VERBOSITY default
ROLLBACK;
RESET orgscope.audit_timeout;
RESET orgscope.audit_durability;
DROP VIEW ledger_of_all;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('ledger');
DROP TABLE ledger;
