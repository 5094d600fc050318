-- views: what reads a scoped table with other rights than those of who asks.
SET ROLE owner;
CREATE TABLE item (id int PRIMARY KEY);
CREATE VIEW honest AS SELECT id FROM item;
RESET ROLE;
CREATE VIEW wide AS SELECT id FROM item;
CREATE FUNCTION parsed() RETURNS bigint SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM item; END;
CREATE FUNCTION opaque() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM item';
CREATE TABLE log (n bigint);
CREATE RULE counted AS ON INSERT TO log DO ALSO SELECT count(*) FROM item;
SELECT lock, sql, reason FROM orgscope.plan_org_scoping('item') WHERE kind = 'note';
SELECT sql, lock, reason FROM orgscope.plan_org_scoping('item', options => '{"views": "invoker"}') WHERE kind = 'view';

CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM honest;
SELECT count(*) FROM orgscope.enable_org_scoping('item');
\echo :SQLSTATE
SELECT reason FROM orgscope.plan_org_scoping('item', options => '{"allow_matviews": true}') WHERE reason LIKE 'materialized%';
SELECT sql FROM orgscope.enable_org_scoping('item', options => '{"allow_matviews": true, "views": "invoker"}') WHERE kind = 'view';
SELECT sql FROM orgscope.disable_org_scoping('item') WHERE kind = 'view';
DROP MATERIALIZED VIEW totals;
DROP TABLE log;
DROP FUNCTION parsed(), opaque();
DROP TABLE item CASCADE;
