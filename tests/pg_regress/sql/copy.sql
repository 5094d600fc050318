-- copy: COPY FROM on scoped tables, which PostgreSQL refuses to roles under row security.
SET ROLE owner;
CREATE TABLE ticket (id int PRIMARY KEY, title text CHECK (title <> 'no'), size int GENERATED ALWAYS AS (length(title)) STORED);
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('ticket');
CREATE TABLE theirs (id int);
ALTER TABLE theirs ENABLE ROW LEVEL SECURITY;
GRANT ALL ON ticket, theirs TO app;

-- Without a context, before a row is asked for.
SET ROLE app;
COPY ticket (id, title) FROM stdin;
\.
\echo :SQLSTATE

-- With one: the organization is filled, and checked where it is given.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
COPY ticket (id, title) FROM stdin;
1	one
2	two
\.
COPY ticket (title, id, organization_id) FROM stdin (FORMAT csv, HEADER) WHERE id > 3;
title,id,organization_id
three,3,
"fo,ur",4,
five,5,11111111-1111-7111-8111-111111111111
\.
SELECT * FROM ticket ORDER BY id;
SAVEPOINT s;
COPY ticket (id, organization_id) FROM stdin;
6	11111111-1111-7111-8111-111111111111
7	22222222-2222-7222-8222-222222222222
\.
ROLLBACK TO s;

-- PostgreSQL's own errors name the line.
COPY ticket (id, title) FROM stdin;
6	six
7	no
\.
ROLLBACK TO s;
COPY ticket (id, title) FROM stdin;
x	six
\.
ROLLBACK TO s;
COPY ticket (id, title) FROM stdin;
6	six
1	one
\.
ROLLBACK TO s;

-- A team's own policy.
RESET ROLE;
CREATE POLICY short ON ticket AS RESTRICTIVE FOR INSERT TO app WITH CHECK (length(title) < 8);
SET ROLE app;
COPY ticket (id, title) FROM stdin;
6	a long title
\.
ROLLBACK TO s;

-- What it refuses.
COPY ticket (id, title) FROM stdin (FREEZE);
\.
\echo :SQLSTATE
ROLLBACK TO s;
COPY ticket (id, title) FROM stdin WHERE size > 1;
\.
\echo :SQLSTATE
ROLLBACK TO s;
COPY ticket (id, size) FROM stdin;
\.
ROLLBACK TO s;
-- Its words differ between PostgreSQL's versions.
\set VERBOSITY sqlstate
COPY ticket FROM '/etc/hostname';
\set VERBOSITY default
ROLLBACK TO s;
-- Tables that are not scoped are PostgreSQL's.
COPY theirs FROM stdin;
\.
\echo :SQLSTATE
ROLLBACK TO s;
COMMIT;
RESET ROLE;
SELECT count(*) FROM ticket;
DROP TABLE ticket, theirs;
