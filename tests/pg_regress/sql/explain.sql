-- explain: plans are made of the rows of all organizations, and can be kept from roles that row security holds.
SET orgscope.explain = 'deny';
EXPLAIN (COSTS OFF) SELECT 1;
SET ROLE app;
EXPLAIN (COSTS OFF) SELECT 1;
SET orgscope.explain = 'allow';
RESET ROLE;
RESET orgscope.explain;
SET ROLE app;
EXPLAIN (COSTS OFF) SELECT 1;
RESET ROLE;
