-- Organization 0 is big; 1, 2, … are small.
CREATE EXTENSION orgscope;
CREATE ROLE bench_app LOGIN;

CREATE FUNCTION bench_organization(number bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ('01900000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid;

INSERT INTO orgscope.organization (id, name, slug)
SELECT bench_organization(n), 'Organization ' || n, 'organization-' || n
FROM generate_series(0, {rows} / 2000) AS n;

-- The other side of the join: every tenth item has a label.
CREATE TABLE label (item_id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO label SELECT n, 'label ' || n FROM generate_series(1, {rows}, 10) AS n;
INSERT INTO label SELECT n, 'label ' || n FROM generate_series(2, {rows}, 10) AS n;
GRANT SELECT ON label TO bench_app;
