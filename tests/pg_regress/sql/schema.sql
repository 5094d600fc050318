-- schema: all tables of a schema, and what nobody but the team can know.
CREATE SCHEMA shop AUTHORIZATION owner;
SET ROLE owner;
SET search_path = shop;
CREATE TABLE buyer (id int PRIMARY KEY, organization_id uuid);
CREATE TABLE seller (id int PRIMARY KEY, organization_id uuid);
CREATE TABLE deal (id int PRIMARY KEY, buyer_id int NOT NULL REFERENCES buyer, seller_id int NOT NULL REFERENCES seller);
CREATE TABLE deal_note (deal_id int NOT NULL REFERENCES deal, note text);
CREATE TABLE currency (code text PRIMARY KEY);
SELECT DISTINCT target::text, proposal, kind, reason FROM orgscope.plan_org_scoping_schema('shop')
WHERE proposal = 'ask' OR kind = 'guard' AND proposal = 'share' ORDER BY 1, 3;
\set VERBOSITY verbose
SELECT * FROM orgscope.enable_org_scoping_schema('shop');
\set VERBOSITY default
SELECT * FROM orgscope.enable_org_scoping_schema('nowhere');
SELECT * FROM orgscope.enable_org_scoping_schema('shop', '{"column_name": 1}');
SELECT * FROM orgscope.enable_org_scoping_schema('shop', '{"overrides": {"dael": "share"}}');
SELECT * FROM orgscope.enable_org_scoping_schema('shop', '{"overrides": {"deal": "shared"}}');
SELECT * FROM orgscope.enable_org_scoping_schema('shop', '{"overrides": {"deal": {"by": "id"}}}');
-- Decided, everything is scoped in one go.
SET client_min_messages = warning;
SELECT DISTINCT target::text, proposal FROM orgscope.enable_org_scoping_schema('shop',
    '{"overrides": {"deal": {"by": "deal_buyer_id_fkey"}, "currency": "skip"}}') ORDER BY 1;
SELECT target, protected FROM orgscope.scoped_tables WHERE schema_name = 'shop' ORDER BY 1;
RESET ROLE;
RESET search_path;
SELECT count(*) > 0 AS undone FROM orgscope.scoped_tables s, orgscope.disable_org_scoping(s.target) WHERE schema_name = 'shop';
DROP SCHEMA shop CASCADE;
