\set id 2 * random(1, {rows} / 2)
BEGIN;
{set_context}
SELECT id, amount, body FROM {items} WHERE id = :id{and_organization};
COMMIT;
