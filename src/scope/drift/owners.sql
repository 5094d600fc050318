-- Scoped tables whose owner row security does not hold.
SELECT c.oid AS target
FROM orgscope.scoped_table s
JOIN pg_namespace n ON n.nspname = s.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.table_name
JOIN pg_authid r ON r.oid = c.relowner AND (r.rolsuper OR r.rolbypassrls)
