-- seal: the context stays what it is, whatever SQL comes later.
CREATE TABLE parcel (id int PRIMARY KEY, weight int);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('parcel');
GRANT SELECT, INSERT ON parcel TO app;
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO parcel VALUES (1, 10);
COMMIT;

-- There must be a context.
SELECT orgscope.seal_context();
\echo :SQLSTATE

-- To the end of the transaction: every change is refused.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.seal_context();
SAVEPOINT s;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
\echo :SQLSTATE
ROLLBACK TO s;
RESET ALL;
ROLLBACK TO s;
SELECT orgscope.clear_current_org();
ROLLBACK TO s;
-- What PostgreSQL asks nobody about has no effect.
SELECT set_config('orgscope.current_org', NULL, true);
SELECT * FROM parcel;
-- No key opens it, and it takes none.
SELECT orgscope.unseal_context('0123456789abcdef');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT orgscope.seal_context('0123456789abcdef');
\echo :SQLSTATE
COMMIT;
SELECT * FROM parcel;

-- With a key: for a pool that sets the organization at checkout. The key is a bind parameter there, and a new one each time.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.seal_context('');
\echo :SQLSTATE
ROLLBACK;
SELECT orgscope.unseal_context(NULL);
\echo :SQLSTATE
BEGIN;
SELECT orgscope.set_current_org('11111111-1111-7111-8111-111111111111');
SELECT orgscope.seal_context('0123456789abcdef');
COMMIT;
SELECT * FROM parcel;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
ROLLBACK;
DISCARD ALL;
\echo :SQLSTATE
SELECT * FROM parcel;
SELECT orgscope.unseal_context('fedcba9876543210');
\echo :SQLSTATE
SELECT orgscope.unseal_context('0123456789abcdef');
SELECT orgscope.unseal_context('0123456789abcdef');
SELECT * FROM parcel;
DISCARD ALL;

-- Not under break-glass.
SELECT orgscope.break_glass('11111111-1111-7111-8111-111111111111', 'case 4711') > now() AS opened;
SELECT orgscope.seal_context();
\echo :SQLSTATE
SELECT orgscope.end_break_glass();

-- What was refused is on record, and no key.
SELECT orgscope.flush_audit();
SELECT event_count, role_name, sqlstate, statement, detail
FROM orgscope.audit_log WHERE action = 'denied' AND statement ~ 'seal_context|key of a seal' ORDER BY at, id;

-- An organization that is suspended, or not there, has no context at all.
UPDATE orgscope.organization SET is_active = false WHERE slug = 'globex';
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
SELECT * FROM parcel;
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SET LOCAL orgscope.current_org = '33333333-3333-7333-8333-333333333333';
INSERT INTO parcel VALUES (2, 20);
\echo :SQLSTATE
ROLLBACK;
RESET ROLE;
UPDATE orgscope.organization SET is_active = true WHERE slug = 'globex';

SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('parcel');
DROP TABLE parcel;
