-- audit: writes outside row security are on record, in their transaction; nobody changes the record.
CREATE TABLE invoice (id int PRIMARY KEY, amount int);
GRANT ALL ON invoice TO app, dba;
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('invoice');
CREATE VIEW record AS
    SELECT action, organization_id, table_name, operation, row_count, actor, role_name, reason, statement
    FROM orgscope.audit_log WHERE table_name = 'public.invoice' AND action = 'bypass_write' AND detail IS NULL ORDER BY id;

-- A normal role's writes are not.
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO invoice VALUES (1, 10), (2, 20);
COMMIT;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
INSERT INTO invoice VALUES (3, 30);
COMMIT;
RESET ROLE;
SELECT * FROM record;

-- A superuser's and a BYPASSRLS role's are: one row for each statement, table and organization.
SET orgscope.actor = 'jane@support';
SET orgscope.reason = 'ticket 4711';
UPDATE invoice SET amount = amount + 1;
RESET orgscope.actor;
RESET orgscope.reason;
SET ROLE dba;
DELETE FROM invoice WHERE id = 3;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO invoice VALUES (4, 40) ON CONFLICT (id) DO UPDATE SET amount = 41;
INSERT INTO invoice VALUES (4, 40) ON CONFLICT (id) DO UPDATE SET amount = 42;
COMMIT;
BEGIN;
DELETE FROM invoice;
ROLLBACK;
RESET ROLE;
SELECT * FROM record;
-- The rest of each row.
SELECT bool_and(login_name = session_user AND session_user_name = session_user AND txid IS NOT NULL
                AND application_name <> '' AND event_count = 1 AND at <= clock_timestamp()) AS complete
FROM orgscope.audit_log WHERE table_name = 'public.invoice' AND action = 'bypass_write' AND detail IS NULL;

-- A tenant reads its own organization's rows, without the statements.
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
SELECT operation, row_count, actor, reason FROM orgscope.audit_log WHERE table_name = 'public.invoice' AND action = 'bypass_write' ORDER BY id;
SELECT statement FROM orgscope.audit_log;
ROLLBACK;
SELECT count(*) AS without_context FROM orgscope.audit_log;
INSERT INTO orgscope.audit_log (action) VALUES ('forged');
RESET ROLE;

-- Nobody forges a record with our triggers on a table of their own.
SET ROLE app;
CREATE TEMP TABLE forged (organization_id uuid);
CREATE TRIGGER a AFTER INSERT ON forged FOR EACH ROW EXECUTE FUNCTION orgscope.last_word('organization_id');
CREATE TRIGGER b AFTER INSERT ON forged FOR EACH STATEMENT EXECUTE FUNCTION orgscope.record('organization_id');
CREATE TRIGGER c BEFORE TRUNCATE ON forged FOR EACH STATEMENT EXECUTE FUNCTION orgscope.truncate('organization_id');
INSERT INTO forged VALUES ('22222222-2222-7222-8222-222222222222');
TRUNCATE forged;
DROP TABLE forged;
RESET ROLE;
SELECT count(*) AS forged FROM orgscope.audit_log WHERE table_name LIKE '%forged';

DELETE FROM invoice WHERE id = 2;
SELECT count(*) AS deleted FROM record WHERE operation = 'DELETE';

-- What takes the rows away before they are there is refused: its own record would be the first to go.
CREATE RULE quiet AS ON INSERT TO orgscope.audit_log DO INSTEAD NOTHING;
\echo :SQLSTATE
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER quiet BEFORE INSERT ON orgscope.audit_log_default FOR EACH ROW EXECUTE FUNCTION swallow();
\echo :SQLSTATE
DROP FUNCTION swallow();

-- Append-only, for every role.
UPDATE orgscope.audit_log SET actor = 'nobody';
\echo :SQLSTATE
DELETE FROM orgscope.audit_log;
\echo :SQLSTATE
TRUNCATE orgscope.audit_log;
\echo :SQLSTATE
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM orgscope.audit_log;
\echo :SQLSTATE
ROLLBACK;

-- TRUNCATE by a role outside row security.
TRUNCATE invoice;
SELECT operation, organization_id, row_count FROM record WHERE operation = 'TRUNCATE';
DROP VIEW record;
DROP TABLE invoice;
