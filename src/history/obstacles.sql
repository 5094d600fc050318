-- What speaks against recording the changes of a table ($1) without some columns ($2), as JSON.
WITH excluded AS (
    SELECT name, (SELECT a.attnum FROM pg_attribute a
                  WHERE a.attrelid = $1::oid AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped) AS number
    FROM jsonb_array_elements_text($2::jsonb) name
), primary_key AS (
    SELECT x.indkey::smallint[] AS columns FROM pg_index x WHERE x.indrelid = $1::oid AND x.indisprimary
)
SELECT jsonb_build_object(
    'key', EXISTS (SELECT FROM primary_key),
    'typed', c.reloftype <> 0,
    'unknown', (SELECT min(name) FROM excluded WHERE number IS NULL),
    'in_key', (SELECT min(e.name) FROM excluded e JOIN primary_key k ON e.number = ANY (k.columns)))::text
FROM pg_class c WHERE c.oid = $1::oid
