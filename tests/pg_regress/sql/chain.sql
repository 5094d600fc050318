-- chain: tamper evidence of the audit log. Who changes its rows behind its back is found.
CREATE TABLE receipt (id int PRIMARY KEY, amount int);
GRANT ALL ON receipt TO app, dba;
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('receipt');
SELECT orgscope.seal_audit() >= 0 AS sealed FROM orgscope.flush_audit();
SET ROLE dba;
INSERT INTO receipt VALUES (1, 10, '11111111-1111-7111-8111-111111111111'), (2, 20, '22222222-2222-7222-8222-222222222222');
UPDATE receipt SET amount = amount + 1;
RESET ROLE;
SELECT orgscope.seal_audit() >= 0 AS sealed;

-- Superusers and BYPASSRLS roles verify all chains, a tenant its own.
SELECT bool_and(verdict = 'ok') AS ok, count(*) > 2 AS all FROM orgscope.verify_audit(NULL);
SET ROLE app;
SELECT * FROM orgscope.verify_audit();
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT organization_id, verdict, row_id, rows > 1 AS rows, unsealed, length(digest) FROM orgscope.verify_audit();
SELECT organization_id, seal > 0 AS seal, sequence > 1 AS sequence, length(digest) FROM orgscope.audit_digest();
SELECT * FROM orgscope.verify_audit('22222222-2222-7222-8222-222222222222');
ROLLBACK;
SELECT orgscope.seal_audit();
SELECT orgscope.purge_audit_log(now());
RESET ROLE;

-- A superuser takes the rule off and changes a row.
BEGIN;
ALTER TABLE orgscope.audit_log DISABLE TRIGGER audit_immutable;
UPDATE orgscope.audit_log SET role_name = 'app' WHERE table_name = 'public.receipt' AND operation = 'UPDATE' AND role_name = 'dba';
SELECT v.organization_id, v.verdict, a.table_name, a.operation
FROM orgscope.verify_audit(NULL) v JOIN orgscope.audit_log a ON a.id = v.row_id ORDER BY 1;
ROLLBACK;
DELETE FROM orgscope.audit_seal;

-- Old rows go by whole seals, on record; what is left verifies.
SET orgscope.reason = 'retention';
SELECT orgscope.purge_audit_log('infinity') > 0 AS purged;
SELECT organization_id, action, operation, row_count > 0 AS rows, role_name, reason, detail -> 'verified' ->> 'verdict' AS verified
FROM orgscope.audit_log WHERE action = 'lifecycle' AND organization_id IN ('11111111-1111-7111-8111-111111111111', '22222222-2222-7222-8222-222222222222') ORDER BY 1;
RESET orgscope.reason;
SELECT bool_and(verdict = 'ok') AS ok FROM orgscope.verify_audit(NULL);
DROP TABLE receipt;
