-- Roles and organizations of all stories. `app` is what an application connects as, `owner` runs migrations,
-- `dba` has BYPASSRLS.
SET client_min_messages = warning;
DROP ROLE IF EXISTS app, owner, dba;
RESET client_min_messages;
CREATE EXTENSION orgscope;
CREATE ROLE app NOSUPERUSER NOBYPASSRLS;
CREATE ROLE owner NOSUPERUSER NOBYPASSRLS;
CREATE ROLE dba NOSUPERUSER BYPASSRLS;
GRANT CREATE ON SCHEMA public TO owner;
INSERT INTO orgscope.organization (id, name, slug, email) VALUES
    ('11111111-1111-7111-8111-111111111111', 'Acme', 'acme', 'it@acme.example'),
    ('22222222-2222-7222-8222-222222222222', 'Globex', 'globex', NULL);
