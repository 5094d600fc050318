\set id 2 * random(1, {rows} / 2)
SELECT id, amount, body FROM {items} WHERE id = :id{and_organization};
