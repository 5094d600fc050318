-- administration: what lets a role or a session step around row security, and what changes the rules, is on record.
SELECT COALESCE(max(id), 0) AS before FROM orgscope.audit_log \gset

-- Attributes and memberships. A statement with a password is left out.
CREATE ROLE night_shift;
GRANT dba TO night_shift;
CREATE ROLE on_call NOLOGIN BYPASSRLS PASSWORD 'secret';
ALTER ROLE night_shift SUPERUSER;
ALTER ROLE night_shift NOSUPERUSER;
GRANT night_shift TO app;
REVOKE night_shift FROM app;

-- Settings, for this session and for later ones.
SET orgscope.require_context = 'off';
RESET orgscope.require_context;
BEGIN;
SET LOCAL session_replication_role = replica;
COMMIT;
ALTER ROLE app SET orgscope.drift = 'audit';
ALTER ROLE app RESET orgscope.drift;
SET work_mem = '1MB';
RESET work_mem;

-- Organizations, each in its own log.
INSERT INTO orgscope.organization (id, name, slug) VALUES
    ('44444444-4444-7444-8444-444444444444', 'Initech', 'initech'),
    ('55555555-5555-7555-8555-555555555555', 'Hooli', 'hooli');
UPDATE orgscope.organization SET is_active = false WHERE slug = 'initech';
BEGIN;
DELETE FROM orgscope.organization WHERE slug = 'hooli';
ROLLBACK;
DELETE FROM orgscope.organization WHERE slug IN ('initech', 'hooli');

-- What rolls back is on record all the same.
BEGIN;
ALTER ROLE app BYPASSRLS;
ROLLBACK;

SELECT orgscope.flush_audit();
SELECT action, operation, organization_id, detail, role_name, statement
FROM orgscope.audit_log
WHERE id > :before AND action IN ('privilege', 'setting', 'lifecycle') ORDER BY at, id;

-- Nobody attaches the triggers elsewhere.
SET ROLE owner;
CREATE TABLE mine (id uuid);
CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION orgscope.organization_changed('id');
RESET ROLE;
DROP TABLE mine;
DROP ROLE night_shift, on_call;
