-- connection: a context that comes with the connection counts only where somebody has said so.
CREATE TABLE parcel (id int PRIMARY KEY, organization_id uuid);
INSERT INTO parcel VALUES (1, '11111111-1111-7111-8111-111111111111'), (2, '22222222-2222-7222-8222-222222222222');
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('parcel');
GRANT SELECT ON parcel TO app;

-- The startup packet, as PGOPTIONS fills it.
\c -reuse-previous=on "options='-c orgscope.current_org=11111111-1111-7111-8111-111111111111'"
SET ROLE app;
\set VERBOSITY verbose
SELECT id FROM parcel;
\set VERBOSITY default
SELECT orgscope.current_org() IS NULL AS none;
BEGIN;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
SELECT id FROM parcel;
COMMIT;
SELECT id FROM parcel;
RESET ROLE;
SET orgscope.context_lifetime = 'connection';
SET ROLE app;
SELECT id FROM parcel;

-- ALTER ROLE.
\c -reuse-previous=on "options=''"
CREATE ROLE parcel_app LOGIN NOSUPERUSER NOBYPASSRLS IN ROLE app;
SELECT session_user AS superuser \gset
SET ROLE parcel_app;
ALTER ROLE parcel_app SET orgscope.current_org = '22222222-2222-7222-8222-222222222222';
\c - parcel_app
SELECT id FROM parcel;
\c - :superuser
ALTER ROLE parcel_app SET orgscope.context_lifetime = 'connection';
\c - parcel_app
SELECT id FROM parcel;
\c - :superuser
DROP ROLE parcel_app;
SELECT count(*) > 0 AS undone FROM orgscope.disable_org_scoping('parcel');
DROP TABLE parcel;
