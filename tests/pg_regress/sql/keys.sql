-- keys: foreign keys between scoped tables, and what is unique. As the tables' owner.
SET ROLE owner;
CREATE TABLE team (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, organization_id uuid);
CREATE TABLE member (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organization_id uuid,
    team_id int CONSTRAINT in_team REFERENCES team ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE,
    lead_id int REFERENCES member);
INSERT INTO team (name, organization_id) VALUES ('red', '11111111-1111-7111-8111-111111111111'), ('blue', '22222222-2222-7222-8222-222222222222');
INSERT INTO member (team_id, organization_id) VALUES (1, '11111111-1111-7111-8111-111111111111'), (2, '22222222-2222-7222-8222-222222222222');
GRANT ALL ON team, member TO app;

-- Nothing is done about a key to a table that is not scoped.
SELECT kind, sql FROM orgscope.enable_org_scoping('team') WHERE kind = 'composite key';
SELECT kind, sql, lock, reason FROM orgscope.plan_org_scoping('member') WHERE kind = 'composite key';

-- A row that refers to another organization's: counted, and a query for the administrator, without any value.
BEGIN;
INSERT INTO member (team_id, organization_id) VALUES (2, '11111111-1111-7111-8111-111111111111');
SELECT count(*) FROM orgscope.enable_org_scoping('member');
\echo :SQLSTATE
ROLLBACK;

-- Only told.
SELECT kind, sql, lock, reason FROM orgscope.plan_org_scoping('member', options => '{"foreign_keys": "report"}') WHERE kind IN ('composite key', 'note');

SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('member');
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('member');
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('team');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ('team'::regclass, 'member'::regclass) AND contype IN ('f', 'u') ORDER BY conname;

-- A tenant cannot refer to another organization's row, and learns nothing of it.
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO member (team_id) VALUES (2);
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
DELETE FROM team;
SELECT id, team_id FROM member;
COMMIT;
SET ROLE owner;

-- The way back, the parent first.
SELECT kind, sql FROM orgscope.disable_org_scoping('team') WHERE kind = 'composite key';
SELECT kind, sql FROM orgscope.disable_org_scoping('member') WHERE kind = 'composite key';
DROP TABLE member, team;

-- Natural keys.
CREATE TABLE country (code text PRIMARY KEY, phone text UNIQUE, organization_id uuid);
CREATE TABLE city (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, country text REFERENCES country, phone text REFERENCES country (phone),
    organization_id uuid, twin int, UNIQUE (twin));
ALTER TABLE city REPLICA IDENTITY USING INDEX city_pkey;
CREATE UNIQUE INDEX city_twin ON city (twin) INCLUDE (country) NULLS NOT DISTINCT WHERE twin > 0;
ALTER TABLE city ALTER twin SET NOT NULL;
CREATE UNIQUE INDEX city_identity ON city (twin);
ALTER TABLE city REPLICA IDENTITY USING INDEX city_identity;
SELECT kind, sql, reason FROM orgscope.plan_org_scoping('country') WHERE kind IN ('note', 'unique', 'composite key');
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('country', options => '{"primary_key": "scoped"}');
SELECT reason FROM orgscope.plan_org_scoping('country', options => '{"primary_key": "scoped"}') WHERE kind = 'note';
SELECT kind, sql, reason FROM orgscope.plan_org_scoping('city') WHERE kind IN ('note', 'unique', 'composite key');
SELECT kind, reason FROM orgscope.plan_org_scoping('city', options => '{"unique": "keep"}') WHERE kind = 'note';
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('city');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ('country'::regclass, 'city'::regclass) AND contype IN ('f', 'u', 'p') ORDER BY conname;
SELECT kind, sql FROM orgscope.disable_org_scoping('city') WHERE kind IN ('unique', 'composite key');
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('country');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ('country'::regclass, 'city'::regclass) AND contype IN ('f', 'u', 'p') ORDER BY conname;
DROP TABLE city, country;

-- Two tables that need the same index of a third: its turn is first.
CREATE TABLE part (code text PRIMARY KEY, organization_id uuid);
CREATE TABLE stock (code text REFERENCES part, organization_id uuid);
CREATE TABLE sale (code text REFERENCES part, organization_id uuid);
SELECT t, count(*) > 0 AS scoped FROM unnest('{stock,sale,part}'::regclass[]) t,
    LATERAL orgscope.enable_org_scoping(t, options => '{"primary_key": "scoped"}') GROUP BY t ORDER BY t::text;
SELECT orgscope.disable_org_scoping('sale');
\echo :SQLSTATE
SELECT t, count(*) > 0 AS undone FROM unnest('{part,sale,stock}'::regclass[]) t,
    LATERAL orgscope.disable_org_scoping(t) GROUP BY t ORDER BY t::text;
DROP TABLE part, stock, sale;
RESET ROLE;

-- Tables of two owners.
CREATE TABLE theirs (id int PRIMARY KEY, organization_id uuid);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('theirs');
GRANT REFERENCES ON theirs TO owner;
SET ROLE owner;
CREATE TABLE ours (id uuid PRIMARY KEY, theirs_id int REFERENCES theirs, organization_id uuid);
SELECT orgscope.enable_org_scoping('ours');
\echo :SQLSTATE
RESET ROLE;
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('ours');
SET ROLE owner;
SELECT orgscope.disable_org_scoping('ours');
\echo :SQLSTATE
RESET ROLE;
DROP TABLE ours, theirs;
SELECT count(*) FROM orgscope.scoped_tables;
