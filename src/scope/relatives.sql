-- The tables that a foreign key ties to the tables of a tree ($1) and that are not scoped, as oids with spaces between.
SELECT string_agg(DISTINCT c.oid::text, ' ')
FROM pg_constraint k
JOIN pg_class c ON c.oid IN (k.conrelid, k.confrelid) AND c.oid <> ALL ($1::oid[])
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname <> 'orgscope'
WHERE k.contype = 'f' AND (k.conrelid = ANY ($1::oid[]) OR k.confrelid = ANY ($1::oid[]))
  AND NOT EXISTS (SELECT FROM orgscope.scoped_table s WHERE s.schema_name = n.nspname AND s.table_name = c.relname)
