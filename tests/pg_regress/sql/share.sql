-- share: tables that are deliberately not scoped.
SET ROLE owner;
CREATE TABLE country (code text PRIMARY KEY, name text);
INSERT INTO country VALUES ('AT', 'Austria');
GRANT ALL ON country TO app, dba;
SELECT step, kind, sql FROM orgscope.share_table('country');
SELECT count(*) AS steps FROM orgscope.share_table('country');
SELECT target, kind, reason, declared_by = session_user AS by_us FROM orgscope.unscoped_tables;

-- Everybody reads it, no organization writes it; nor does its owner.
SET ROLE app;
SELECT * FROM country;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT * FROM country;
INSERT INTO country VALUES ('XX', 'Nowhere');
\echo :SQLSTATE
ROLLBACK;
TRUNCATE country;
SET ROLE owner;
UPDATE country SET name = 'x';
DROP TRIGGER orgscope_shared ON country;
-- Whoever reads a table reads its children too, and nothing would guard these.
CREATE TABLE province () INHERITS (country);
\echo :SQLSTATE
SET ROLE dba;
INSERT INTO country VALUES ('CH', 'Switzerland');

-- A table is scoped, shared or exempt.
SET ROLE owner;
SELECT count(*) FROM orgscope.enable_org_scoping('country');
\echo :SQLSTATE
SELECT orgscope.exempt_table('country', 'because');
SELECT step, kind, sql FROM orgscope.disable_org_scoping('country');
SELECT orgscope.unshare_table('country');
SELECT orgscope.exempt_table('country', '');
SELECT orgscope.exempt_table('country', 'one list for the whole installation');
SELECT target, kind, reason FROM orgscope.unscoped_tables;
SELECT count(*) FROM orgscope.enable_org_scoping('country');
SELECT orgscope.share_table('country');
SELECT orgscope.unexempt_table('country');
SELECT orgscope.unexempt_table('country');
CREATE VIEW countries AS SELECT * FROM country;
SELECT orgscope.share_table('countries');
SELECT orgscope.exempt_table('countries', 'why not');
CREATE TEMP TABLE passing (id int);
SELECT orgscope.exempt_table('passing', 'why not');
CREATE TABLE ticket (id int);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('ticket');
SELECT orgscope.share_table('ticket');
SET ROLE app;
SELECT orgscope.exempt_table('country', 'mine now');
\echo :SQLSTATE
RESET ROLE;
DROP TABLE passing, ticket, country CASCADE;
SELECT count(*) FROM orgscope.unscoped_tables;
