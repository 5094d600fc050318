-- ddl: foreign keys added to scoped tables are checked over all organizations, although the owner is under FORCE.
SET ROLE owner;
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('parent');
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('child');
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (1, 1), (2, 999);
COMMIT;

-- Another organization's orphan is found, with and without a context.
\set VERBOSITY terse
ALTER TABLE child ADD FOREIGN KEY (parent_id) REFERENCES parent;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
ALTER TABLE child ADD FOREIGN KEY (parent_id) REFERENCES parent;
ROLLBACK;
ALTER TABLE child ADD CONSTRAINT later FOREIGN KEY (parent_id) REFERENCES parent NOT VALID;
ALTER TABLE child VALIDATE CONSTRAINT later;
\set VERBOSITY default
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
DELETE FROM child WHERE id = 2;
COMMIT;
ALTER TABLE child VALIDATE CONSTRAINT later;

-- A migration that adds a key to a scoped table needs no context.
CREATE TABLE note (id int PRIMARY KEY);
ALTER TABLE note ADD COLUMN parent_id int CONSTRAINT note_parent REFERENCES parent;
ALTER TABLE note ADD CONSTRAINT note_again FOREIGN KEY (parent_id) REFERENCES parent DEFERRABLE INITIALLY DEFERRED;
-- FORCE is back for the next statement.
SELECT count(*) FROM parent;
\echo :SQLSTATE
DROP TABLE note, child, parent;

-- Unique per organization, not in the whole table: the way back is refused, and shows no value.
CREATE TABLE login (id int PRIMARY KEY, email text UNIQUE);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('login');
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO login VALUES (1, 'kim@example.org');
COMMIT;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
INSERT INTO login VALUES (2, 'kim@example.org');
COMMIT;
SELECT count(*) FROM orgscope.disable_org_scoping('login');
\echo :SQLSTATE
SELECT protected FROM orgscope.scoped_tables;
DROP TABLE login;
RESET ROLE;
