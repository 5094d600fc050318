-- drift: what scoped tables must not lose, new tables, and tables that are deliberately outside. Behaviour: src/scope/.

-- By oid, and not dumped: after a restore it is made anew as the parts of a table come back.
CREATE TABLE orgscope.table_state (
    target        oid      PRIMARY KEY,
    schema_name   name     NOT NULL,
    table_name    name     NOT NULL,
    column_number smallint,
    settled       boolean  NOT NULL,
    missing       text[]   NOT NULL
);
COMMENT ON TABLE orgscope.table_state IS 'what registered tables were like when DDL last touched them';
COMMENT ON COLUMN orgscope.table_state.target IS 'the table''s oid';
COMMENT ON COLUMN orgscope.table_state.schema_name IS 'its schema''s name then';
COMMENT ON COLUMN orgscope.table_state.table_name IS 'its name then';
COMMENT ON COLUMN orgscope.table_state.column_number IS 'number of its organization column, which renaming does not change';
COMMENT ON COLUMN orgscope.table_state.settled IS 'whether nothing was missing at some time; false while a restore goes on';
COMMENT ON COLUMN orgscope.table_state.missing IS 'what was missing then';

CREATE TABLE orgscope.unscoped_table (
    schema_name name        NOT NULL,
    table_name  name        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('shared', 'exempt')),
    reason      text,
    declared_at timestamptz NOT NULL DEFAULT now(),
    declared_by name        NOT NULL DEFAULT session_user,
    PRIMARY KEY (schema_name, table_name)
);
COMMENT ON TABLE orgscope.unscoped_table IS
    'tables that are deliberately not scoped; written by orgscope.share_table() and orgscope.exempt_table()';
COMMENT ON COLUMN orgscope.unscoped_table.schema_name IS 'the table''s schema';
COMMENT ON COLUMN orgscope.unscoped_table.table_name IS 'its name';
COMMENT ON COLUMN orgscope.unscoped_table.kind IS
    'shared: read by all organizations, written by none; exempt: not protected';
COMMENT ON COLUMN orgscope.unscoped_table.reason IS 'of an exempt table: why';
COMMENT ON COLUMN orgscope.unscoped_table.declared_at IS 'when it was declared';
COMMENT ON COLUMN orgscope.unscoped_table.declared_by IS 'session_user of who declared it';

SELECT pg_catalog.pg_extension_config_dump('orgscope.unscoped_table', '');

CREATE VIEW orgscope.unscoped_tables AS
    SELECT c.oid::regclass AS target, u.schema_name, u.table_name, u.kind, u.reason, u.declared_at, u.declared_by
    FROM orgscope.unscoped_table u
    LEFT JOIN (pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid)
           ON n.nspname = u.schema_name AND c.relname = u.table_name;
COMMENT ON VIEW orgscope.unscoped_tables IS
    'tables that are deliberately not scoped: shared (read by all organizations, written by none) or exempt, with the reason';
COMMENT ON COLUMN orgscope.unscoped_tables.target IS 'the table; NULL when it is not there under its name';
COMMENT ON COLUMN orgscope.unscoped_tables.schema_name IS 'the table''s schema';
COMMENT ON COLUMN orgscope.unscoped_tables.table_name IS 'its name';
COMMENT ON COLUMN orgscope.unscoped_tables.kind IS
    'shared: read by all organizations, written by none; exempt: not protected';
COMMENT ON COLUMN orgscope.unscoped_tables.reason IS 'of an exempt table: why';
COMMENT ON COLUMN orgscope.unscoped_tables.declared_at IS 'when it was declared';
COMMENT ON COLUMN orgscope.unscoped_tables.declared_by IS 'session_user of who declared it';

CREATE FUNCTION orgscope.shared() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_shared';
COMMENT ON FUNCTION orgscope.shared() IS 'trigger: refuses a write to a shared table by a role that row security holds (OS002)';

CREATE FUNCTION orgscope.share_table(target regclass) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('share', target, NULL, NULL)::jsonb) $$;
COMMENT ON FUNCTION orgscope.share_table(regclass) IS
    'declare reference data: all organizations read it, only superusers and BYPASSRLS roles write it (OS002). Undone by unshare_table() or disable_org_scoping(). OS005 when the table is scoped or exempt';

CREATE FUNCTION orgscope.unshare_table(target regclass) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('unshare', target, NULL, NULL)::jsonb) $$;
COMMENT ON FUNCTION orgscope.unshare_table(regclass) IS 'the inverse of share_table(). OS005 when the table is not shared';

CREATE FUNCTION orgscope.exempt_table(target regclass, reason text) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT orgscope.run_scoping('exempt', target, reason, NULL) $$;
COMMENT ON FUNCTION orgscope.exempt_table(regclass, text) IS
    'put on record that the table is deliberately not scoped, and why; protects nothing. OS005 when it is scoped or shared';

CREATE FUNCTION orgscope.unexempt_table(target regclass) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT orgscope.run_scoping('unexempt', target, NULL, NULL) $$;
COMMENT ON FUNCTION orgscope.unexempt_table(regclass) IS 'the inverse of exempt_table(). OS005 when the table is not exempt';

-- The registry follows dropped and renamed tables, so that a table's name never makes another look scoped, and a table that
-- becomes a partition or child of a scoped one is scoped by steps that run in here. Then what is registered is judged.
-- ALWAYS, like the guards: session_replication_role = replica must not leave the registry behind.
CREATE FUNCTION orgscope.keep_scoping() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET jit = off
    AS 'MODULE_PATHNAME', 'orgscope_keep_scoping';
COMMENT ON FUNCTION orgscope.keep_scoping() IS
    'event trigger: keeps the registry with renamed tables, scopes new partitions and children, refuses DDL that weakens a scoped table (OS006) or puts it on record, and looks at new tables';
CREATE EVENT TRIGGER orgscope_keep_scoping ON ddl_command_end EXECUTE FUNCTION orgscope.keep_scoping();
ALTER EVENT TRIGGER orgscope_keep_scoping ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER orgscope_keep_scoping IS
    'judges registered and new tables after every DDL command: see orgscope.keep_scoping()';

CREATE FUNCTION orgscope.keep_scoping_parts() RETURNS event_trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET jit = off
    AS 'MODULE_PATHNAME', 'orgscope_keep_scoping_parts';
COMMENT ON FUNCTION orgscope.keep_scoping_parts() IS
    'event trigger: the same for what is dropped; removes dropped tables from the registry';
CREATE EVENT TRIGGER orgscope_keep_scoping_parts ON sql_drop EXECUTE FUNCTION orgscope.keep_scoping_parts();
ALTER EVENT TRIGGER orgscope_keep_scoping_parts ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER orgscope_keep_scoping_parts IS 'the same for what is dropped: see orgscope.keep_scoping_parts()';
