-- organization: the table's own rules, and what a tenant role sees of it.
SELECT id = '11111111-1111-7111-8111-111111111111' AS fixed, name, is_active, subscription_status, features, settings
FROM orgscope.organization WHERE slug = 'acme';
-- New ids are version 7 and grow.
SELECT substr(orgscope.uuid_v7()::text, 15, 1) AS version, orgscope.uuid_v7() <= orgscope.uuid_v7() AS ordered;

-- Checks.
\set VERBOSITY terse
INSERT INTO orgscope.organization (name, slug) VALUES ('X', 'Not A Slug');
INSERT INTO orgscope.organization (name, slug) VALUES ('X', 'acme');
INSERT INTO orgscope.organization (name, slug, email) VALUES ('X', 'x', 'no-at-sign');
INSERT INTO orgscope.organization (name, slug) VALUES (' ', 'x');
INSERT INTO orgscope.organization (id, name, slug) VALUES ('00000000-0000-0000-0000-000000000000', 'X', 'x');

\set VERBOSITY default

-- updated_at follows.
BEGIN;
UPDATE orgscope.organization SET updated_at = 'epoch', name = 'Acme Ltd' WHERE slug = 'acme';
SELECT name, updated_at = now() AS touched FROM orgscope.organization WHERE slug = 'acme';
ROLLBACK;

-- A tenant role sees its own row and changes none.
SET ROLE app;
SELECT name FROM orgscope.organization;
SELECT orgscope.current_organization() IS NULL AS none;
BEGIN;
SELECT orgscope.set_current_org('11111111-1111-7111-8111-111111111111');
SELECT name FROM orgscope.organization;
SELECT name, slug FROM orgscope.current_organization();
UPDATE orgscope.organization SET name = 'Mine';
ROLLBACK;
BEGIN;
SELECT orgscope.set_current_org('11111111-1111-7111-8111-111111111111') IS NOT NULL AS set;
INSERT INTO orgscope.organization (name, slug) VALUES ('X', 'x');
ROLLBACK;

-- Unknown and suspended organizations, and NULL.
SELECT orgscope.set_current_org('33333333-3333-7333-8333-333333333333');
\echo :SQLSTATE
SELECT orgscope.set_current_org(NULL);
\echo :SQLSTATE
RESET ROLE;
UPDATE orgscope.organization SET is_active = false WHERE slug = 'globex';
SET ROLE app;
SELECT orgscope.set_current_org('22222222-2222-7222-8222-222222222222');
\echo :SQLSTATE
RESET ROLE;
UPDATE orgscope.organization SET is_active = true WHERE slug = 'globex';

-- Subscription and features; another organization's are out of a tenant's sight.
UPDATE orgscope.organization SET features = '{"export": true, "api": false}' WHERE slug = 'acme';
UPDATE orgscope.organization SET features = '["export"]', subscription_status = 'canceled' WHERE slug = 'globex';
SELECT slug, orgscope.is_subscription_active(id), orgscope.has_feature('export', id) AS export, orgscope.has_feature('api', id) AS api
FROM orgscope.organization ORDER BY slug;
BEGIN;
UPDATE orgscope.organization SET subscription_ends_at = now() - interval '1 day' WHERE slug = 'acme';
SELECT orgscope.is_subscription_active('11111111-1111-7111-8111-111111111111');
ROLLBACK;
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.is_subscription_active(), orgscope.has_feature('export'),
       orgscope.has_feature('export', '22222222-2222-7222-8222-222222222222') AS of_another;
COMMIT;
SELECT orgscope.is_subscription_active() AS without_context;
RESET ROLE;
UPDATE orgscope.organization SET features = '{}', subscription_status = 'active';
