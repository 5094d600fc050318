\set amount random(1, 1000)
INSERT INTO {entries} ({organization_column}amount, body) VALUES ({organization_value}:amount, 'one more');
