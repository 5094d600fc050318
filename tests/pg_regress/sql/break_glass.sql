-- break-glass: a context for one organization that holds over the transactions of a session, on record in that
-- organization's own log.
CREATE TABLE claim (id int PRIMARY KEY, amount int);
INSERT INTO claim VALUES (1, 10);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('claim', options => '{"backfill": "11111111-1111-7111-8111-111111111111"}');
CREATE ROLE support NOSUPERUSER NOBYPASSRLS;
GRANT SELECT, UPDATE ON claim TO support;
CREATE VIEW glass AS
    SELECT operation, organization_id, event_count, role_name, reason, statement, detail - 'expires_at' AS detail
    FROM orgscope.audit_log WHERE action = 'break_glass' ORDER BY at, id;

-- Nobody may unless it is granted.
SET ROLE support;
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711');
RESET ROLE;
GRANT EXECUTE ON FUNCTION orgscope.break_glass TO support;

-- What it asks for.
SET ROLE support;
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', ' ');
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711', 1441);
SELECT orgscope.break_glass('33333333-3333-7333-8333-333333333333', 'case 4711');
SELECT orgscope.break_glass(NULL, 'case 4711');

-- It opens when its transaction commits.
BEGIN;
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711', 30) > now() AS opened;
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711');
ROLLBACK;
SELECT * FROM claim;
BEGIN;
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711', 30) > now() AS opened;
PREPARE TRANSACTION 'opening';
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711', 30) > now() AS opened;

-- One organization, read-only.
SELECT * FROM claim;
UPDATE claim SET amount = 11;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
ROLLBACK;
SELECT orgscope.break_glass('22222222-2222-7222-8222-222222222222', 'case 4712');

-- For the role that opened it.
RESET ROLE;
GRANT SELECT ON claim TO app;
SET ROLE support;
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711', writable => true) > now() AS opened;
UPDATE claim SET amount = 11;
BEGIN;
RESET ROLE;
SET LOCAL ROLE app;
SELECT * FROM claim;
ROLLBACK;
SET ROLE support;
SELECT orgscope.end_break_glass();
SELECT orgscope.end_break_glass();
SELECT * FROM claim;
RESET ROLE;

SELECT orgscope.flush_audit();
SELECT * FROM glass;
DROP VIEW glass;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('claim');
DROP TABLE claim;
REVOKE EXECUTE ON FUNCTION orgscope.break_glass FROM support;
DROP ROLE support;
