-- Partitioned tables and inheritance trees are scoped whole.
SET ROLE owner;
CREATE TABLE event (id int, at date, name text, organization_id uuid, PRIMARY KEY (id, at), UNIQUE (name, at))
    PARTITION BY RANGE (at);
CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE event_rest PARTITION OF event DEFAULT;
GRANT ALL ON event, event_2024, event_rest TO app, dba;
INSERT INTO event VALUES
    (1, '2024-05-01', 'a', '11111111-1111-7111-8111-111111111111'),
    (2, '2024-05-02', 'b', '22222222-2222-7222-8222-222222222222'),
    (3, '2030-05-01', 'c', '22222222-2222-7222-8222-222222222222');

-- One alone would leave its rows readable through the root.
SELECT orgscope.enable_org_scoping('event_2024');
\echo :SQLSTATE

SELECT step, kind, COALESCE(sql, reason) AS sql FROM orgscope.plan_org_scoping('event');
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('event');
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('event');
SELECT target, protected FROM orgscope.scoped_tables ORDER BY 1;

-- Row security is that of the table a query names: each has its own.
SET ROLE app;
SELECT name FROM event;
\echo :SQLSTATE
SELECT name FROM event_2024;
\echo :SQLSTATE
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
SELECT tableoid::regclass, name FROM event ORDER BY name;
SELECT name FROM event_2024;
-- A row moves to another partition, and its organization with it.
UPDATE event SET at = '2024-12-31' WHERE name = 'c' RETURNING tableoid::regclass, organization_id;
INSERT INTO event_2024 (id, at, name) VALUES (4, '2024-06-01', 'd') RETURNING organization_id;
COMMIT;
TRUNCATE event_2024;
\echo :SQLSTATE
RESET ROLE;

-- Writes outside row security are recorded for the table the statement names; a row that moves is updated.
SET ROLE dba;
UPDATE event SET at = '2031-01-01' WHERE name IN ('a', 'b');
DELETE FROM event_2024 WHERE name = 'd';
RESET ROLE;
SELECT table_name, operation, row_count, organization_id FROM orgscope.audit_log WHERE table_name LIKE '%event%' AND action = 'bypass_write' ORDER BY id;

-- What comes later is scoped in the same statement.
SET ROLE owner;
CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE event_2026 (id int NOT NULL, at date NOT NULL, name text, organization_id uuid);
INSERT INTO event_2026 VALUES (9, '2026-01-01', 'i', NULL);
-- PostgreSQL's own words differ between its majors.
\set VERBOSITY sqlstate
ALTER TABLE event ATTACH PARTITION event_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
\set VERBOSITY default
UPDATE event_2026 SET organization_id = '11111111-1111-7111-8111-111111111111';
ALTER TABLE event_2026 ALTER organization_id SET NOT NULL;
ALTER TABLE event ATTACH PARTITION event_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT target, protected FROM orgscope.scoped_tables ORDER BY 1;
\d event_2026

-- What leaves stays scoped, as a table of its own.
SELECT orgscope.disable_org_scoping('event_2025');
\echo :SQLSTATE
ALTER TABLE event DETACH PARTITION event_2025;
SELECT target, protected FROM orgscope.scoped_tables WHERE target = 'event_2025'::regclass;
SELECT kind, sql FROM orgscope.disable_org_scoping('event_2025');
DROP TABLE event_2025;

-- The inverse, for all of it.
SELECT kind, sql FROM orgscope.disable_org_scoping('event') WHERE kind IN ('unique', 'added', 'column');
SELECT count(*) FROM orgscope.scoped_tables;
DROP TABLE event;

-- Inheritance. A child with two parents is read through both: they are scoped together.
CREATE TABLE animal (id int PRIMARY KEY, organization_id uuid);
CREATE TABLE pet (name text UNIQUE);
CREATE TABLE dog () INHERITS (animal, pet);
SELECT step, kind, COALESCE(sql, reason) AS sql FROM orgscope.plan_org_scoping('animal') WHERE kind NOT IN ('policy', 'guard');
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('animal');
CREATE TABLE cat () INHERITS (animal);
SELECT target, protected FROM orgscope.scoped_tables ORDER BY 1;
-- Through an unscoped parent its rows would be everybody's.
CREATE TABLE thing (id int);
CREATE TABLE robot_dog () INHERITS (animal, thing);
\echo :SQLSTATE
ALTER TABLE cat INHERIT thing;
\echo :SQLSTATE
ALTER TABLE cat NO INHERIT animal;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('cat');
DROP TABLE dog, pet, animal, cat, thing;
RESET ROLE;
