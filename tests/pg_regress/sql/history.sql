-- history: what each row was before, for the organization it belongs to.
CREATE TABLE contract (id int PRIMARY KEY, title text, price numeric, token text);
CREATE TABLE keyless (title text);
GRANT ALL ON contract TO app, dba;

-- Only what is scoped and has a key.
\set VERBOSITY verbose
SELECT orgscope.enable_change_history('contract');
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('contract');
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('keyless');
SELECT orgscope.enable_change_history('keyless');
SELECT orgscope.enable_change_history('contract', '{tokn}');
SELECT orgscope.enable_change_history('contract', '{id}');
SELECT orgscope.disable_change_history('contract');
\set VERBOSITY default
CREATE TYPE of_a_type AS (id int, title text, organization_id uuid);
CREATE TABLE typed OF of_a_type (PRIMARY KEY (id));
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('typed');
SELECT orgscope.enable_change_history('typed', '{title}');
DROP TABLE typed;
DROP TYPE of_a_type;
SELECT kind, sql, lock, reason FROM orgscope.enable_change_history('contract', '{token}');
SELECT * FROM orgscope.enable_change_history('contract', '{token}');
SELECT * FROM orgscope.history_tables;
SELECT target, protected FROM orgscope.scoped_tables WHERE table_name = 'contract';

SET ROLE app;
SET orgscope.actor = 'jane@acme';
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO contract VALUES (1, 'hosting', 10.50, 's3cret'), (2, 'support', 7, 's3cret');
COMMIT;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
UPDATE contract SET price = price * 2;
COMMIT;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
INSERT INTO contract VALUES (3, 'training', 99, 's3cret');
COMMIT;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
DELETE FROM contract WHERE id = 2;
COMMIT;

-- The tenant reads its own.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT table_name, operation, key, old - 'organization_id' AS old, new - 'organization_id' AS new, actor, role_name
FROM orgscope.change_log ORDER BY id;
SELECT operation, old -> 'price' AS old, new -> 'price' AS new FROM orgscope.history_of('contract', '1');
SELECT operation FROM orgscope.history_of('contract', '{"id": 2}');
SELECT operation FROM orgscope.history_of('contract', '{"id": 2}'::jsonb);
SELECT operation FROM orgscope.history_of('contract', '3');
-- The key in its own type, or in another one that says the same.
SELECT operation FROM orgscope.history_of('contract', 2);
SELECT operation FROM orgscope.history_of('contract', 2::bigint);
SELECT operation FROM orgscope.history_of('contract', 2.0);
COMMIT;
SELECT count(*) AS without_context FROM orgscope.change_log;
RESET orgscope.actor;
RESET ROLE;

-- Every role's changes, TRUNCATE too.
SET ROLE dba;
UPDATE contract SET title = 'training days' WHERE id = 3;
TRUNCATE contract;
RESET ROLE;
SELECT organization_id, operation, key, old ->> 'title' AS old, new ->> 'title' AS new, role_name
FROM orgscope.change_log WHERE role_name = 'dba' ORDER BY id;

-- Append-only, for every role, in every partition.
\set VERBOSITY verbose
UPDATE orgscope.change_log SET actor = 'nobody';
DELETE FROM orgscope.change_log_default;
TRUNCATE orgscope.change_log;

-- It ends when it is told to.
SELECT orgscope.disable_org_scoping('contract');
\set VERBOSITY default
SELECT kind, sql, lock, reason FROM orgscope.disable_change_history('contract');
INSERT INTO contract (id, organization_id) VALUES (9, '11111111-1111-7111-8111-111111111111');
SELECT count(*) AS recorded FROM orgscope.change_log WHERE key = '{"id": 9}';
SELECT count(*) > 0 AS unscoped FROM orgscope.disable_org_scoping('contract');
SELECT count(*) > 0 AS unscoped FROM orgscope.disable_org_scoping('keyless');
DROP TABLE contract, keyless;
