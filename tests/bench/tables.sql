-- The two tables of one variant: {items} is read and updated, {entries} takes inserts.
-- Every variant has these columns, this foreign key and these indexes; only what keeps organizations apart differs.
CREATE TABLE {items} (
    id bigint PRIMARY KEY,
    organization_id uuid NOT NULL DEFAULT {default},
    amount integer NOT NULL,
    body text NOT NULL
);

-- Even rows belong to the big organization; among the odd ones each small organization has 1,000 that lie close together,
-- so that reading them is not a matter of where in memory their pages happen to be.
INSERT INTO {items}
SELECT n, bench_organization(CASE WHEN n % 2 = 0 THEN 0 ELSE 1 + n / 2000 END), n % 1000, 'body of item ' || n
FROM generate_series(1, {rows}) AS n;

CREATE TABLE {entries} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid NOT NULL DEFAULT {default},
    amount integer NOT NULL,
    body text NOT NULL
);

CREATE INDEX ON {items} (organization_id);
CREATE INDEX ON {entries} (organization_id);
ALTER TABLE {items} ADD FOREIGN KEY (organization_id) REFERENCES orgscope.organization;
ALTER TABLE {entries} ADD FOREIGN KEY (organization_id) REFERENCES orgscope.organization;
GRANT SELECT, INSERT, UPDATE ON {items}, {entries} TO bench_app;
