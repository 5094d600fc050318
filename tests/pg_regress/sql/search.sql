-- Indexes for search under row security: docs/search.md. Plans are in tests/cluster/tests/search.
CREATE TABLE letter (id int PRIMARY KEY, words tsvector, organization_id uuid);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('letter');
GRANT SELECT, INSERT ON letter TO app;
SELECT operator, replacement FROM orgscope.leakproof_operators() WHERE replaced::text NOT LIKE '%array%';
SET orgscope.leakproof_operators = on;
SET ROLE app;
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
INSERT INTO letter VALUES (1, 'dear reader'), (2, 'dear writer');
PREPARE search AS SELECT id FROM letter WHERE words @@ 'dear & reader';
EXECUTE search;
-- A plan that was made where there was room enough.
RESET ROLE;
SET LOCAL max_stack_depth = '513kB';
SET LOCAL ROLE app;
EXECUTE search;
ROLLBACK;
RESET ROLE;
RESET orgscope.leakproof_operators;
SELECT count(*) > 0 AS unscoped FROM orgscope.disable_org_scoping('letter');
DROP TABLE letter;
