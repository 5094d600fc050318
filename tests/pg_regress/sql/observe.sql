-- observe: scoping is installed, nothing is refused or hidden, and what enforcing would do is recorded.
SET ROLE owner;
CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE);
INSERT INTO item VALUES (1, 'a'), (2, 'b');
GRANT ALL ON item TO app;
SELECT kind, sql FROM orgscope.enable_org_scoping('item', options => '{"mode": "observe"}');
SELECT target, options ->> 'mode' AS mode, protected FROM orgscope.scoped_tables;
RESET ROLE;

SET application_name = 'billing';
SET ROLE app;
SELECT id FROM item ORDER BY id;
INSERT INTO item VALUES (3, 'c');
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO item VALUES (4, 'd'), (5, 'e');
INSERT INTO item VALUES (6, 'f', '22222222-2222-7222-8222-222222222222');
SELECT id, organization_id IS NULL AS nobodys FROM item ORDER BY id;
COMMIT;
RESET ROLE;
RESET application_name;
SELECT table_name, operation, detail ->> 'why' AS why, sqlstate, event_count, row_count, role_name, application_name
FROM orgscope.audit_log WHERE action = 'observed' ORDER BY id;
SET ROLE owner;
SELECT target, ready, reads_without_context AS reads, writes_without_context AS writes, wrong_organization_writes AS wrong,
       null_organizations AS nulls, truncates, context_changes, applications
FROM orgscope.scoping_readiness();

-- Enforcing wants every row to be somebody's.
SELECT count(*) FROM orgscope.enable_org_scoping('item', options => '{"mode": "enforce"}');
\echo :SQLSTATE
SELECT kind, sql FROM orgscope.enable_org_scoping('item',
    options => '{"mode": "enforce", "backfill": "11111111-1111-7111-8111-111111111111"}');
SET ROLE app;
SELECT id FROM item;
\echo :SQLSTATE
SET ROLE owner;
SELECT kind, sql FROM orgscope.enable_org_scoping('item', options => '{"mode": "observe"}');
SELECT orgscope.disable_org_scoping('item') \g /dev/null

-- A restrictive policy that takes no effect yet would be woken up.
CREATE POLICY strict ON item AS RESTRICTIVE USING (id > 3);
SELECT count(*) FROM orgscope.enable_org_scoping('item', options => '{"mode": "observe"}');
\echo :SQLSTATE
DROP TABLE item;
RESET ROLE;
