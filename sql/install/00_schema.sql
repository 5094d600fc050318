-- The schema's owner could drop everything in it, and what somebody put there before would pass for ours. An empty schema
-- of a superuser is accepted: pg_dump writes CREATE SCHEMA before CREATE EXTENSION.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
        WHERE n.nspname = 'orgscope'
          AND (NOT r.rolsuper OR EXISTS (
              SELECT FROM pg_catalog.pg_depend d
              WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid
                AND d.classid <> 'pg_catalog.pg_extension'::pg_catalog.regclass))
    ) THEN
        RAISE EXCEPTION 'schema "orgscope" is already there' USING
            ERRCODE = 'OS005',
            DETAIL = 'It is not empty, or it belongs to a role that is not a superuser: its owner could drop the extension''s tables.',
            HINT = 'Rename or drop that schema, then run CREATE EXTENSION orgscope again.';
    END IF;
END $$;

COMMENT ON SCHEMA orgscope IS 'organizations kept apart by the database itself: context, scope, policy, guard, audit';
