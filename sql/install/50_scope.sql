-- scope: which tables are scoped, and the functions that scope them. Behaviour: src/scope/.

-- Names, not oids: they must mean the same after pg_dump and restore.
CREATE TABLE orgscope.scoped_table (
    schema_name name        NOT NULL,
    table_name  name        NOT NULL,
    column_name name        NOT NULL,
    options     jsonb       NOT NULL DEFAULT '{}',
    original    jsonb       NOT NULL,
    history     jsonb,
    enabled_at  timestamptz NOT NULL DEFAULT now(),
    enabled_by  name        NOT NULL DEFAULT session_user,
    PRIMARY KEY (schema_name, table_name)
);
COMMENT ON TABLE orgscope.scoped_table IS 'the scoped tables; written by orgscope.enable_org_scoping() and orgscope.disable_org_scoping()';
COMMENT ON COLUMN orgscope.scoped_table.schema_name IS 'the table''s schema';
COMMENT ON COLUMN orgscope.scoped_table.table_name IS 'the table';
COMMENT ON COLUMN orgscope.scoped_table.column_name IS 'its organization column';
COMMENT ON COLUMN orgscope.scoped_table.options IS
    'what enable_org_scoping() was called with, for orgscope.repair_org_scoping()';
COMMENT ON COLUMN orgscope.scoped_table.original IS 'what the table was like before, for orgscope.disable_org_scoping()';
COMMENT ON COLUMN orgscope.scoped_table.history IS
    'with change history: {"exclude": [columns]}; see orgscope.enable_change_history()';
COMMENT ON COLUMN orgscope.scoped_table.enabled_at IS 'when it was scoped';
COMMENT ON COLUMN orgscope.scoped_table.enabled_by IS 'session_user of who scoped it';

SELECT pg_catalog.pg_extension_config_dump('orgscope.scoped_table', '');

CREATE VIEW orgscope.scoped_tables AS
    SELECT c.oid::regclass AS target, s.schema_name, s.table_name, s.column_name, s.options,
           COALESCE(c.relrowsecurity AND c.relforcerowsecurity AND floor.present AND guards.complete
                    AND NOT above.unscoped, false) AS protected,
           s.enabled_at, s.enabled_by
    FROM orgscope.scoped_table s
    LEFT JOIN (pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p'))
           ON n.nspname = s.schema_name AND c.relname = s.table_name
    LEFT JOIN LATERAL (
        -- The function is printed without its schema to a reader who has orgscope in search_path.
        SELECT count(*) > 0 AS present FROM pg_catalog.pg_policy p
        WHERE p.polrelid = c.oid AND p.polname = 'orgscope_floor' AND NOT p.polpermissive
          AND p.polcmd = '*' AND p.polroles = '{0}'
          AND replace(pg_get_expr(p.polqual, p.polrelid), 'orgscope.', '') = format('(%I = require_org())', s.column_name)
          AND pg_get_expr(p.polwithcheck, p.polrelid) = pg_get_expr(p.polqual, p.polrelid)
    ) floor ON true
    LEFT JOIN LATERAL (
        SELECT count(*) = 6 AS complete
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
        JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace AND fn.nspname = 'orgscope'
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled = 'A' AND f.proname <> 'history'
    ) guards ON true
    LEFT JOIN LATERAL (
        -- Row security is that of the table a query names.
        SELECT count(*) > 0 AS unscoped
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
        JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
        WHERE i.inhrelid = c.oid AND NOT EXISTS (
            SELECT FROM orgscope.scoped_table o WHERE o.schema_name = pn.nspname AND o.table_name = p.relname)
    ) above ON true;
COMMENT ON VIEW orgscope.scoped_tables IS
    'the scoped tables; target is NULL when the table is not there under its name, protected is false when something is missing: see orgscope.repair_org_scoping()';
COMMENT ON COLUMN orgscope.scoped_tables.target IS 'the table; NULL when it is not there under its name';
COMMENT ON COLUMN orgscope.scoped_tables.schema_name IS 'the table''s schema';
COMMENT ON COLUMN orgscope.scoped_tables.table_name IS 'its name';
COMMENT ON COLUMN orgscope.scoped_tables.column_name IS 'its organization column';
COMMENT ON COLUMN orgscope.scoped_tables.options IS 'what enable_org_scoping() was called with';
COMMENT ON COLUMN orgscope.scoped_tables.protected IS
    'whether row security, floor and guards are complete, and no parent is unscoped; false: see orgscope.repair_org_scoping()';
COMMENT ON COLUMN orgscope.scoped_tables.enabled_at IS 'when it was scoped';
COMMENT ON COLUMN orgscope.scoped_tables.enabled_by IS 'session_user of who scoped it';

CREATE TYPE orgscope.scoping_step AS (step integer, kind text, sql text, lock text, reason text);
COMMENT ON TYPE orgscope.scoping_step IS 'one step of a scoping plan: what, the statement, the table lock it takes, and why; a note has no statement';
COMMENT ON COLUMN orgscope.scoping_step.step IS 'number of the step in the plan';
COMMENT ON COLUMN orgscope.scoping_step.kind IS
    'what it is about, such as column, index, policy; note: something that stays as it is';
COMMENT ON COLUMN orgscope.scoping_step.sql IS 'the statement; NULL for a note';
COMMENT ON COLUMN orgscope.scoping_step.lock IS 'the lock that it takes on the table';
COMMENT ON COLUMN orgscope.scoping_step.reason IS 'why';

CREATE FUNCTION orgscope.run_scoping(verb text, target regclass, column_name text, options text) RETURNS text
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    -- Compiling what is asked of the catalogs takes longer than asking it.
    SET jit = off
    AS 'MODULE_PATHNAME', 'orgscope_run_scoping';
COMMENT ON FUNCTION orgscope.run_scoping(text, regclass, text, text) IS
    'the one entry behind plan, enable, repair and disable; use those';

CREATE FUNCTION orgscope.plan_org_scoping(
    target regclass, column_name name DEFAULT 'organization_id', options jsonb DEFAULT '{}'
) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('plan', target, column_name::text, options::text)::jsonb) $$;
COMMENT ON FUNCTION orgscope.plan_org_scoping(regclass, name, jsonb) IS
    'what enable_org_scoping() would do with these arguments, and as notes what it would leave as it is and why; changes nothing. OS005 when the table cannot be scoped so';

CREATE FUNCTION orgscope.enable_org_scoping(
    target regclass, column_name name DEFAULT 'organization_id', options jsonb DEFAULT '{}'
) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('enable', target, column_name::text, options::text)::jsonb) $$;
COMMENT ON FUNCTION orgscope.enable_org_scoping(regclass, name, jsonb) IS
    'put the table under scoping and return the steps taken, none when nothing was missing. Options: backfill, on_delete, unique, index, foreign_keys, primary_key. Partitions and inheritance children go with it. For the table''s owner or a superuser; ACCESS EXCLUSIVE. OS005 when it cannot be scoped so';

CREATE FUNCTION orgscope.repair_org_scoping(target regclass) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('repair', target, NULL, NULL)::jsonb) $$;
COMMENT ON FUNCTION orgscope.repair_org_scoping(regclass) IS
    'put back what is missing on a scoped table and return the steps taken. OS005 when the table is not scoped';

CREATE FUNCTION orgscope.disable_org_scoping(target regclass) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('disable', target, NULL, NULL)::jsonb) $$;
COMMENT ON FUNCTION orgscope.disable_org_scoping(regclass) IS
    'the inverse of enable_org_scoping(): the column and its data stay. OS005 when the table is not scoped';

CREATE TYPE orgscope.schema_scoping_step AS (
    target regclass, proposal text, step integer, kind text, sql text, lock text, reason text);
COMMENT ON TYPE orgscope.schema_scoping_step IS
    'one step of a schema''s scoping: the table, what is proposed for it (scope, scope by parent, share, skip, ask), and the step as in orgscope.scoping_step; a table without steps has one row with the reason';
COMMENT ON COLUMN orgscope.schema_scoping_step.target IS 'the table';
COMMENT ON COLUMN orgscope.schema_scoping_step.proposal IS 'what becomes of it: scope, scope by parent, share, skip, ask';
COMMENT ON COLUMN orgscope.schema_scoping_step.step IS 'as in orgscope.scoping_step';
COMMENT ON COLUMN orgscope.schema_scoping_step.kind IS 'as in orgscope.scoping_step';
COMMENT ON COLUMN orgscope.schema_scoping_step.sql IS 'as in orgscope.scoping_step';
COMMENT ON COLUMN orgscope.schema_scoping_step.lock IS 'as in orgscope.scoping_step';
COMMENT ON COLUMN orgscope.schema_scoping_step.reason IS 'as in orgscope.scoping_step';

CREATE FUNCTION orgscope.run_schema_scoping(verb text, schema_name text, options text) RETURNS text
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET jit = off
    AS 'MODULE_PATHNAME', 'orgscope_run_schema_scoping';
COMMENT ON FUNCTION orgscope.run_schema_scoping(text, text, text) IS 'the one entry behind the schema''s plan and enable; use those';

CREATE FUNCTION orgscope.plan_org_scoping_schema(schema_name name, options jsonb DEFAULT '{}')
    RETURNS SETOF orgscope.schema_scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(NULL::orgscope.schema_scoping_step,
              orgscope.run_schema_scoping('plan', schema_name::text, options::text)::jsonb) $$;
COMMENT ON FUNCTION orgscope.plan_org_scoping_schema(name, jsonb) IS
    'what enable_org_scoping_schema() would do with each table of the schema, parents first; changes nothing. A table that somebody has to decide about, or that cannot be scoped as it is, is proposed as ask, with the reason';

CREATE FUNCTION orgscope.enable_org_scoping_schema(schema_name name, options jsonb DEFAULT '{}')
    RETURNS SETOF orgscope.schema_scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(NULL::orgscope.schema_scoping_step,
              orgscope.run_schema_scoping('enable', schema_name::text, options::text)::jsonb) $$;
COMMENT ON FUNCTION orgscope.enable_org_scoping_schema(name, jsonb) IS
    'put every table of the schema under scoping, all or none: those with the organization column, and those that get it from their parents along foreign keys. Options: column_name, overrides (per table, or per pattern such as *_type: scope, share, skip, {"by": key}, {"backfill": expression}), and those of enable_org_scoping(). OS005 when a table needs a decision';
