-- scope: plan, enable, repair, disable. As the table's owner.
SET ROLE owner;
CREATE TABLE customer (id int PRIMARY KEY, email text UNIQUE, name text);
CREATE UNIQUE INDEX customer_lower_name ON customer (lower(name)) WHERE name <> '';
INSERT INTO customer VALUES (1, 'ann@example.org', 'Ann'), (2, 'bob@example.org', 'Bob');

-- Rows without an organization: somebody must say whose they are.
SELECT * FROM orgscope.plan_org_scoping('customer');
\echo :SQLSTATE
SELECT step, kind, sql, lock FROM orgscope.plan_org_scoping('customer',
    options => '{"backfill": "11111111-1111-7111-8111-111111111111", "on_delete": "cascade"}');
-- A plan changes nothing.
SELECT count(*) FROM orgscope.scoped_tables;

-- An expression that leaves a row out, or names nobody: nothing is changed.
SELECT count(*) FROM orgscope.enable_org_scoping('customer',
    options => '{"backfill": "CASE id WHEN 1 THEN ''11111111-1111-7111-8111-111111111111''::uuid END"}');
\echo :SQLSTATE
SELECT count(*) FROM orgscope.enable_org_scoping('customer',
    options => '{"backfill": "33333333-3333-7333-8333-333333333333"}');
\echo :SQLSTATE
SELECT * FROM customer ORDER BY id;

-- Misspelt options list the known ones.
SELECT count(*) FROM orgscope.enable_org_scoping('customer', options => '{"backfil": "x"}');
\echo :SQLSTATE

SELECT count(*) AS steps FROM orgscope.enable_org_scoping('customer',
    options => '{"backfill": "CASE id WHEN 1 THEN ''11111111-1111-7111-8111-111111111111''::uuid ELSE ''22222222-2222-7222-8222-222222222222'' END"}');
-- Idempotent.
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('customer');
SELECT target, column_name, options, protected, enabled_by = session_user AS by_us FROM orgscope.scoped_tables;
\d customer
RESET ROLE;

-- A later permissive policy does not reach past the floor.
CREATE POLICY everything ON customer USING (true) WITH CHECK (true);
GRANT ALL ON customer TO app;
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT id, name FROM customer;
COMMIT;
SELECT id, name FROM customer;
\echo :SQLSTATE
RESET ROLE;
DROP POLICY everything ON customer;
-- protected looks at what the floor says.
ALTER POLICY orgscope_floor ON customer USING (true);
SELECT protected FROM orgscope.scoped_tables;
SET search_path = orgscope, public;
SELECT kind, sql FROM orgscope.repair_org_scoping('public.customer');
SELECT protected FROM orgscope.scoped_tables;
RESET search_path;

-- Renamed, the table stays scoped.
ALTER TABLE customer RENAME TO client;
SELECT target, protected FROM orgscope.scoped_tables;
CREATE SCHEMA moved;
ALTER TABLE client SET SCHEMA moved;
ALTER SCHEMA moved RENAME TO again;
SELECT target, protected FROM orgscope.scoped_tables;
ALTER TABLE again.client SET SCHEMA public;
-- ALTER INDEX renames tables too.
ALTER INDEX client RENAME TO customer;
DROP SCHEMA again;
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('customer');

-- A scoped table does not become a part of another, whose row security would count.
CREATE TABLE parted (id int, email text, name text, organization_id uuid NOT NULL) PARTITION BY LIST (id);
ALTER TABLE parted ATTACH PARTITION customer DEFAULT;
\echo :SQLSTATE
CREATE TABLE base (id int);
ALTER TABLE customer INHERIT base;
\echo :SQLSTATE
DROP TABLE parted, base;

-- What was changed comes back.
DROP POLICY orgscope_floor ON customer;
ALTER POLICY orgscope_base ON customer USING (true);
ALTER TABLE customer NO FORCE ROW LEVEL SECURITY;
ALTER TABLE customer DISABLE TRIGGER orgscope_truncate;
DROP TRIGGER "~orgscope_guard" ON customer;
ALTER TABLE customer ALTER organization_id DROP NOT NULL, ALTER organization_id DROP DEFAULT;
SELECT protected FROM orgscope.scoped_tables;
SELECT step, kind, sql FROM orgscope.repair_org_scoping('customer');
SELECT protected FROM orgscope.scoped_tables;
SELECT count(*) AS steps FROM orgscope.repair_org_scoping('customer');

-- The column under another name: registry and guards follow.
ALTER TABLE customer RENAME organization_id TO org;
SELECT column_name, protected FROM orgscope.scoped_tables;
SELECT count(*) AS steps FROM orgscope.repair_org_scoping('customer');
ALTER TABLE customer RENAME org TO organization_id;

-- The inverse: as before, but for the column.
SELECT step, kind, sql FROM orgscope.disable_org_scoping('customer');
\d customer
SELECT count(*) FROM orgscope.scoped_tables;
SELECT * FROM orgscope.disable_org_scoping('customer');
\echo :SQLSTATE
SELECT * FROM orgscope.repair_org_scoping('customer');

-- Again, now that the column is there with its values.
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('customer');
SELECT * FROM orgscope.enable_org_scoping('customer', 'other_column');
\echo :SQLSTATE

-- A child's organization from its parent, which is scoped already.
SET ROLE owner;
CREATE TABLE note (id int PRIMARY KEY, customer_id int);
INSERT INTO note VALUES (1, 1), (2, 2);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('note',
    options => '{"backfill": "(SELECT c.organization_id FROM public.customer c WHERE c.id = customer_id)"}');
RESET ROLE;
SELECT * FROM note ORDER BY id;
DROP TABLE note;

-- A dropped table leaves the registry.
DROP TABLE customer;
SELECT count(*) FROM orgscope.scoped_tables;

-- Not the owner.
CREATE TABLE plain (id int);
SET ROLE app;
SELECT * FROM orgscope.plan_org_scoping('plain');
\echo :SQLSTATE
SELECT * FROM orgscope.enable_org_scoping('plain');
\echo :SQLSTATE
RESET ROLE;

-- What cannot be scoped says why.
CREATE VIEW a_view AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM plain;
CREATE TABLE parted (id int) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
CREATE TEMP TABLE temporary (id int);
CREATE TABLE typed (organization_id text);
CREATE TABLE computed (id int, organization_id uuid GENERATED ALWAYS AS (NULL::uuid) STORED);
CREATE TABLE company (id uuid PRIMARY KEY);
CREATE TABLE pointing (organization_id uuid REFERENCES company);
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE elsewhere (id int) SERVER nowhere;
CREATE TABLE parent_of_foreign (id int);
CREATE FOREIGN TABLE foreign_child () INHERITS (parent_of_foreign) SERVER nowhere;
SELECT orgscope.enable_org_scoping('a_view');
SELECT orgscope.enable_org_scoping('a_matview');
SELECT orgscope.enable_org_scoping('part');
SELECT orgscope.enable_org_scoping('temporary');
SELECT orgscope.enable_org_scoping('orgscope.audit_log');
SELECT orgscope.enable_org_scoping('typed');
SELECT orgscope.enable_org_scoping('computed');
SELECT orgscope.enable_org_scoping('pointing');
SELECT orgscope.enable_org_scoping('child');
SELECT orgscope.plan_org_scoping('parent', options => '{"locks": "low"}');
SELECT orgscope.enable_org_scoping('elsewhere');
SELECT orgscope.enable_org_scoping('parent_of_foreign');
SELECT orgscope.enable_org_scoping(NULL);
\echo :SQLSTATE
SET client_min_messages = warning;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;
RESET client_min_messages;
DROP TABLE child, parent, parent_of_foreign;
DROP TABLE typed, computed, pointing, company, parted, temporary;
DROP MATERIALIZED VIEW a_matview;
DROP VIEW a_view;
DROP TABLE plain;

-- Any identifier, any key, another column.
CREATE SCHEMA "Odd ""schema""";
CREATE TABLE "Odd ""schema"""."Tàble with 'quotes' and sixty-three bytes, as many as there are" (
    "Org-Id" uuid, a int, "B b" text, PRIMARY KEY (a, "B b"), UNIQUE ("B b") DEFERRABLE INITIALLY DEFERRED);
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('"Odd ""schema"""."Tàble with ''quotes'' and sixty-three bytes, as many as there are"', 'Org-Id');
SELECT count(*) AS steps FROM orgscope.enable_org_scoping('"Odd ""schema"""."Tàble with ''quotes'' and sixty-three bytes, as many as there are"', 'Org-Id');
SELECT protected FROM orgscope.scoped_tables;
-- NOT NULL is a constraint since PostgreSQL 18.
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype <> 'n' AND conrelid = (SELECT target FROM orgscope.scoped_tables) ORDER BY contype, conname;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping((SELECT target FROM orgscope.scoped_tables));
SET client_min_messages = warning;
DROP SCHEMA "Odd ""schema""" CASCADE;
RESET client_min_messages;

-- Uniqueness that has to stay, and a team's own policies.
CREATE TABLE code (code text UNIQUE NOT NULL, label text UNIQUE, organization_id uuid);
CREATE TABLE code_use (code text REFERENCES code (code));
CREATE POLICY team ON code FOR SELECT USING (label <> 'hidden');
SELECT kind, sql FROM orgscope.plan_org_scoping('code') WHERE kind IN ('unique', 'policy', 'index');
SELECT kind, sql FROM orgscope.plan_org_scoping('code', options => '{"unique": "keep", "index": "none"}') WHERE kind IN ('unique', 'index');
DROP TABLE code_use, code;

-- A name that is taken already, as after two tables were swapped by renaming.
CREATE TABLE swap (id int PRIMARY KEY);
SELECT count(*) > 0 AS enabled FROM orgscope.enable_org_scoping('swap');
ALTER TABLE swap RENAME TO swap_old;
CREATE TABLE swap (id int PRIMARY KEY);
SELECT count(*) > 0 AS enabled FROM orgscope.enable_org_scoping('swap');
SELECT c.relname AS table, i.relname AS index FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class c ON c.oid = indrelid
WHERE c.relname LIKE 'swap%' ORDER BY 1, 2;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('swap');
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('swap_old');
DROP TABLE swap, swap_old;
