-- The extension does not leave while tables depend on it.
CREATE TABLE kept (id int);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('kept');
DROP EXTENSION orgscope;
\echo :SQLSTATE
DROP EXTENSION orgscope CASCADE;
\echo :SQLSTATE
DROP SCHEMA orgscope CASCADE;
\echo :SQLSTATE
-- A renamed table counts too.
ALTER TABLE kept RENAME TO renamed;
DROP EXTENSION orgscope CASCADE;
\echo :SQLSTATE
ALTER TABLE renamed RENAME TO kept;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('kept');
DROP EXTENSION orgscope;
-- The schema is not a member of the extension: it stays, empty.
DROP SCHEMA orgscope;

-- A schema of that name that is not ours. The error's context differs between the majors.
\set SHOW_CONTEXT never
CREATE SCHEMA orgscope AUTHORIZATION owner;
CREATE EXTENSION orgscope;
\echo :SQLSTATE
DROP SCHEMA orgscope;
CREATE EXTENSION orgscope;
-- Disabled and enabled again, the column's values are still there.
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('kept');
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('kept');
DROP EXTENSION orgscope;
DROP SCHEMA orgscope;
REVOKE CREATE ON SCHEMA public FROM owner;
DROP TABLE kept;
DROP ROLE app, owner, dba;
