-- guard: rows of another organization, moves, NULL, TRUNCATE; for every role.
SET ROLE owner;
CREATE TABLE ticket (id int PRIMARY KEY, title text, organization_id uuid);
GRANT ALL ON ticket TO app, dba;
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('ticket');
RESET ROLE;
INSERT INTO ticket VALUES (1, 'of Acme', '11111111-1111-7111-8111-111111111111'),
                          (2, 'of Globex', '22222222-2222-7222-8222-222222222222');

-- Without a context: one loud error for every statement, for the owner as well.
SET ROLE app;
SELECT * FROM ticket;
\echo :SQLSTATE
INSERT INTO ticket (id) VALUES (3);
\echo :SQLSTATE
UPDATE ticket SET title = '';
\echo :SQLSTATE
DELETE FROM ticket;
\echo :SQLSTATE
TRUNCATE ticket;
\echo :SQLSTATE
SET ROLE owner;
SELECT * FROM ticket;
DELETE FROM ticket;

-- With one: its rows only.
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT id, title FROM ticket;
INSERT INTO ticket VALUES (3, 'filled') RETURNING organization_id;
INSERT INTO ticket VALUES (4, 'explicit NULL', NULL) RETURNING organization_id;
UPDATE ticket SET organization_id = NULL WHERE id = 4 RETURNING organization_id;
UPDATE ticket SET title = 'all mine' RETURNING id;
DELETE FROM ticket WHERE id = 2 RETURNING id;
SAVEPOINT s;
INSERT INTO ticket VALUES (5, 'foreign', '22222222-2222-7222-8222-222222222222');
\echo :SQLSTATE
ROLLBACK TO s;
UPDATE ticket SET organization_id = '22222222-2222-7222-8222-222222222222' WHERE id = 3;
\echo :SQLSTATE
ROLLBACK TO s;
TRUNCATE ticket;
\echo :SQLSTATE
ROLLBACK TO s;
-- A primary key is the same for all organizations: row security cannot hide that a value is taken, but not by whom.
INSERT INTO ticket VALUES (2, 'taken') ON CONFLICT DO NOTHING RETURNING id;
ROLLBACK;

-- The application's own triggers do not have the last word.
RESET ROLE;
CREATE FUNCTION flip() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.organization_id := '22222222-2222-7222-8222-222222222222'; RETURN NEW; END $$;
CREATE TRIGGER zzz_flip BEFORE INSERT OR UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION flip();
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO ticket VALUES (6, 'flipped');
\echo :SQLSTATE
ROLLBACK;
SET ROLE dba;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO ticket VALUES (6, 'flipped');
\echo :SQLSTATE
ROLLBACK;
RESET ROLE;
ALTER TRIGGER zzz_flip ON ticket RENAME TO "~~flip";
SET ROLE dba;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO ticket VALUES (6, 'flipped');
\echo :SQLSTATE
ROLLBACK;
RESET ROLE;
DROP FUNCTION flip() CASCADE;

-- A role outside row security: without a context it may, on record; a context binds it like everyone.
SET ROLE dba;
UPDATE ticket SET title = title || '!' RETURNING id;
INSERT INTO ticket VALUES (7, 'nobody''s', NULL);
\echo :SQLSTATE
UPDATE ticket SET organization_id = '22222222-2222-7222-8222-222222222222' WHERE id = 1;
\echo :SQLSTATE
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
UPDATE ticket SET title = 'both';
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
DELETE FROM ticket;
\echo :SQLSTATE
ROLLBACK;
RESET ROLE;

-- replica does not open it: the guards are ENABLE ALWAYS.
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO ticket VALUES (8, 'foreign', '22222222-2222-7222-8222-222222222222');
\echo :SQLSTATE
ROLLBACK;

-- require_context: reads are empty, writes still refused, then left to row security.
SET orgscope.require_context = 'writes';
SET ROLE app;
SELECT count(*) FROM ticket;
UPDATE ticket SET title = '';
\echo :SQLSTATE
RESET ROLE;
SET orgscope.require_context = 'off';
SET ROLE app;
UPDATE ticket SET title = '' RETURNING id;
TRUNCATE ticket;
\echo :SQLSTATE
INSERT INTO ticket VALUES (9, 'x', '11111111-1111-7111-8111-111111111111');
\echo :SQLSTATE
RESET ROLE;
RESET orgscope.require_context;

-- Trigger functions are for triggers, and for those they were written for.
SELECT orgscope.guard();
\echo :SQLSTATE
SET ROLE app;
CREATE TEMP TABLE mine (organization_id uuid);
CREATE TRIGGER a AFTER INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION orgscope.last_word('organization_id');
INSERT INTO mine VALUES (NULL);
\echo :SQLSTATE
DROP TRIGGER a ON mine;
CREATE TRIGGER a BEFORE INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION orgscope.fill('organization_id');
INSERT INTO mine VALUES (NULL);
\echo :SQLSTATE
DROP TRIGGER a ON mine;
CREATE TRIGGER a AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION orgscope.last_word('no_such_column');
INSERT INTO mine VALUES (NULL);
\echo :SQLSTATE
DROP TABLE mine;
RESET ROLE;
SELECT id, title FROM ticket ORDER BY id;
DROP TABLE ticket;
