-- drift: DDL that would weaken a scoped table, and new tables.
SET ROLE owner;
CREATE TABLE ticket (id int PRIMARY KEY, title text, organization_id uuid);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('ticket');

-- Its owner is refused, and told what would be missing.
ALTER TABLE ticket DISABLE ROW LEVEL SECURITY;
\echo :SQLSTATE
ALTER TABLE ticket NO FORCE ROW LEVEL SECURITY;
DROP POLICY orgscope_floor ON ticket;
ALTER POLICY orgscope_floor ON ticket USING (true);
DROP TRIGGER orgscope_record ON ticket;
ALTER TABLE ticket DISABLE TRIGGER USER;
ALTER TABLE ticket DROP COLUMN organization_id CASCADE;
ALTER TABLE ticket ALTER organization_id DROP NOT NULL, ALTER organization_id DROP DEFAULT;
ALTER TABLE ticket DROP CONSTRAINT ticket_organization_id_fkey;
DROP INDEX ticket_organization_id_idx;
CREATE RULE nothing AS ON DELETE TO ticket DO INSTEAD NOTHING;
SET orgscope.drift = audit;

-- What takes nothing away is nobody's business; what is unique in the whole table is worth a warning, and so is a key.
ALTER TABLE ticket ADD note text;
CREATE POLICY everything ON ticket USING (true) WITH CHECK (true);
CREATE UNIQUE INDEX ticket_title ON ticket (title);
ALTER TABLE ticket ADD parent int REFERENCES ticket;
ALTER TABLE ticket ADD more text;
SELECT kind, sql FROM orgscope.repair_org_scoping('ticket');

-- The organization column under another name: registry and guards follow.
ALTER TABLE ticket RENAME organization_id TO tenant;
SELECT column_name, protected FROM orgscope.scoped_tables;
SELECT count(*) AS steps FROM orgscope.repair_org_scoping('ticket');
ALTER TABLE ticket RENAME tenant TO organization_id;

-- A superuser is let through, and put on record.
RESET ROLE;
SET orgscope.reason = 'incident 7';
ALTER TABLE ticket DISABLE ROW LEVEL SECURITY;
ALTER TABLE ticket ADD third text;
ALTER TABLE ticket ENABLE ROW LEVEL SECURITY;
ALTER EVENT TRIGGER orgscope_keep_scoping DISABLE;
ALTER EVENT TRIGGER orgscope_keep_scoping ENABLE ALWAYS;
SELECT operation, table_name, role_name, reason, statement, detail FROM orgscope.audit_log WHERE action = 'ddl' AND reason = 'incident 7' ORDER BY id;
RESET orgscope.reason;

-- The setting lets everybody through, on record.
SET orgscope.drift = audit;
SET ROLE owner;
DROP TRIGGER orgscope_record ON ticket;
RESET ROLE;
RESET orgscope.drift;
SELECT role_name, operation, detail FROM orgscope.audit_log WHERE action = 'ddl' AND detail -> 'rolled_back' IS NULL ORDER BY id DESC LIMIT 1;
SELECT kind, sql FROM orgscope.repair_org_scoping('ticket');

-- New tables with the organization column, and copies of scoped rows.
CREATE TABLE born (id int, organization_id uuid);
CREATE TABLE copied AS SELECT title FROM ticket;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM ticket;
CREATE TABLE keyed (id int, tenant uuid REFERENCES orgscope.organization);
DROP MATERIALIZED VIEW kept;
DROP TABLE born, copied, keyed;
SET orgscope.new_tables = reject;
CREATE TABLE born (id int, organization_id uuid);
\echo :SQLSTATE
SELECT title INTO copied FROM ticket;
SET orgscope.new_tables = scope;
CREATE TABLE born (LIKE ticket);
SELECT table_name, protected FROM orgscope.scoped_tables ORDER BY 1;
CREATE TABLE copied AS SELECT title FROM ticket;
CREATE TEMP TABLE aside AS SELECT * FROM ticket;
SET orgscope.new_tables = ignore;
CREATE TABLE copied AS SELECT * FROM ticket;
SET orgscope.new_tables = other;
RESET orgscope.new_tables;
DROP TABLE aside, born, copied, ticket;
SELECT count(*) FROM orgscope.scoped_tables;
