-- history: old and new row images of every change. Behaviour: src/history/.

-- No primary key and no unique index: rows are only added, and each index is paid for by every change. login_name and
-- role_name are text because a name always takes 64 bytes.
CREATE TABLE orgscope.change_log (
    id              bigint      GENERATED ALWAYS AS IDENTITY,
    at              timestamptz NOT NULL,
    statement_at    timestamptz NOT NULL,
    -- No foreign key: the record outlives the organization.
    organization_id uuid,
    table_name      text        NOT NULL,
    operation       text        NOT NULL,
    key             jsonb,
    old             jsonb,
    new             jsonb,
    actor           text,
    login_name      text,
    role_name       text,
    txid            xid8        NOT NULL
) PARTITION BY RANGE (at);
-- From the clock on, as audit_log's.
DO $$ BEGIN
    EXECUTE pg_catalog.format('ALTER TABLE orgscope.change_log ALTER COLUMN id SET START %1$s RESTART',
        (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint);
END $$;
COMMENT ON TABLE orgscope.change_log IS
    'row images of each change to a table with change history; append-only (OS008). A tenant role reads its own organization''s rows of the tables that it may read';
COMMENT ON COLUMN orgscope.change_log.id IS 'number of the row; of one transaction in the order of its changes';
COMMENT ON COLUMN orgscope.change_log.at IS 'when the change was recorded, the same for all rows of one command';
COMMENT ON COLUMN orgscope.change_log.statement_at IS 'when the client''s statement began';
COMMENT ON COLUMN orgscope.change_log.organization_id IS 'that of the row itself, whoever wrote it; NULL for TRUNCATE';
COMMENT ON COLUMN orgscope.change_log.table_name IS
    'for a partition or inheritance child the table at the top, where orgscope.history_of() looks; for TRUNCATE the table that was emptied';
COMMENT ON COLUMN orgscope.change_log.operation IS 'INSERT, UPDATE, DELETE or TRUNCATE: what was done to this row';
COMMENT ON COLUMN orgscope.change_log.key IS 'the primary key''s columns; NULL for TRUNCATE';
COMMENT ON COLUMN orgscope.change_log.old IS 'the row before, without the excluded columns; NULL for INSERT';
COMMENT ON COLUMN orgscope.change_log.new IS 'the row after, without the excluded columns; NULL for DELETE';
COMMENT ON COLUMN orgscope.change_log.actor IS
    'the setting orgscope.actor, or who the token in force says: the application''s user';
COMMENT ON COLUMN orgscope.change_log.login_name IS
    'the authenticated user, which SET SESSION AUTHORIZATION does not change';
COMMENT ON COLUMN orgscope.change_log.role_name IS 'current_user when the row was changed';
COMMENT ON COLUMN orgscope.change_log.txid IS 'the transaction that changed it';

-- What no month's partition takes: see audit_log_default.
CREATE TABLE orgscope.change_log_default PARTITION OF orgscope.change_log DEFAULT;
COMMENT ON TABLE orgscope.change_log_default IS 'rows of orgscope.change_log for which there is no other partition';

-- Leakproof, so that row security lets a tenant's query use the index: jsonb's own equality is not. LANGUAGE internal: it
-- is PostgreSQL's own hash function of jsonb, which raises no error.
CREATE FUNCTION orgscope.key_hash(key jsonb) RETURNS integer
    LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'jsonb_hash';
COMMENT ON FUNCTION orgscope.key_hash(jsonb) IS 'what the index behind orgscope.history_of() is made of';

CREATE INDEX change_log_default_organization_id_at_idx ON orgscope.change_log_default (organization_id, at);
-- Not a hash index: each change of a row that changes often would walk through all of its entries.
CREATE INDEX change_log_default_key_idx ON orgscope.change_log_default (orgscope.key_hash(key));

CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.change_log
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.change_log ENABLE ALWAYS TRIGGER audit_immutable;
-- A statement's trigger is that of the table it names.
CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.change_log_default
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
ALTER TABLE orgscope.change_log_default ENABLE ALWAYS TRIGGER audit_immutable;

-- The images are the table's rows: who may not read the table does not read its past, nor does a suspended organization.
-- Both are asked once a query.
ALTER TABLE orgscope.change_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_change_log ON orgscope.change_log FOR SELECT USING (
    organization_id = orgscope.current_org()
    AND (SELECT CASE WHEN orgscope.current_org() IS NULL THEN false ELSE orgscope.require_org() IS NOT NULL END)
    AND table_name IN (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                       WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'pg_catalog'
                         AND pg_catalog.has_table_privilege(c.oid, 'SELECT')));
ALTER TABLE orgscope.change_log_default ENABLE ROW LEVEL SECURITY;

SELECT pg_catalog.pg_extension_config_dump('orgscope.change_log_default', '');

CREATE FUNCTION orgscope.history() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_history';
COMMENT ON FUNCTION orgscope.history() IS 'trigger: writes the rows that a statement has changed to orgscope.change_log';

CREATE FUNCTION orgscope.row_image(changed record, owner oid) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'orgscope_row_image';
COMMENT ON FUNCTION orgscope.row_image(record, oid) IS
    'the row as jsonb, made with the rights of the table''s owner: a type may bring its own cast to json';

CREATE FUNCTION orgscope.enable_change_history(target regclass, exclude_columns name[] DEFAULT '{}')
    RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(NULL::orgscope.scoping_step,
              orgscope.run_scoping('history', target, NULL, to_jsonb(exclude_columns)::text)::jsonb) $$;
COMMENT ON FUNCTION orgscope.enable_change_history(regclass, name[]) IS
    'record every change of a scoped table, its partitions and children in orgscope.change_log, without the values of exclude_columns; called again it changes which those are. OS005 when the table is not scoped or has no primary key';

CREATE FUNCTION orgscope.disable_change_history(target regclass) RETURNS SETOF orgscope.scoping_step
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT * FROM jsonb_populate_recordset(
              NULL::orgscope.scoping_step, orgscope.run_scoping('end history', target, NULL, NULL)::jsonb) $$;
COMMENT ON FUNCTION orgscope.disable_change_history(regclass) IS
    'the inverse of enable_change_history(): what was recorded stays. OS005 when the table has no change history';

CREATE FUNCTION orgscope.history_name(target regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
        WITH RECURSIVE above (oid, level) AS (
            SELECT target::oid, 0
            UNION ALL
            SELECT i.inhparent, a.level + 1 FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid AND i.inhseqno = 1)
        SELECT format('%I.%I', n.nspname, c.relname)
        FROM above a JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        ORDER BY a.level DESC LIMIT 1
    $$;
COMMENT ON FUNCTION orgscope.history_name(regclass) IS 'what orgscope.change_log calls the table';

CREATE FUNCTION orgscope.history_of(target regclass, key jsonb) RETURNS SETOF orgscope.change_log
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT l FROM orgscope.change_log l
        WHERE orgscope.key_hash(l.key) = orgscope.key_hash($2) AND l.key = $2
          AND l.table_name = (SELECT orgscope.history_name(target))
        ORDER BY l.id
    $$;
COMMENT ON FUNCTION orgscope.history_of(regclass, jsonb) IS
    'the changes of the row with this primary key, oldest first, as the caller may read them; the key is an object of the key''s columns, {"id": 1}';

CREATE FUNCTION orgscope.history_key(target regclass, key text) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
        -- A value of another type than a number or a boolean is a string in the image too. concat() is not immutable: the
        -- planner would try what no row comes to, and raise.
        SELECT CASE WHEN key ~ '^\s*\{' THEN NULLIF(concat(key), '')::jsonb
                    WHEN a.typcategory IN ('N', 'B') THEN jsonb_build_object(a.attname, NULLIF(concat(key), '')::jsonb)
                    ELSE jsonb_build_object(a.attname, key) END
        FROM (SELECT min(a.attname::text) AS attname, min(t.typcategory) AS typcategory
              FROM pg_index x
              JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])
              JOIN pg_type t ON t.oid = a.atttypid
              WHERE x.indrelid = target AND x.indisprimary
              HAVING count(*) = 1) a
        UNION ALL
        SELECT NULLIF(concat(key), '')::jsonb WHERE key ~ '^\s*\{'
        LIMIT 1
    $$;
COMMENT ON FUNCTION orgscope.history_key(regclass, text) IS 'the text as orgscope.change_log has it in its column key';

CREATE FUNCTION orgscope.history_of(target regclass, key text) RETURNS SETOF orgscope.change_log
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT l FROM orgscope.history_of(target, orgscope.history_key(target, key)) l $$;
COMMENT ON FUNCTION orgscope.history_of(regclass, text) IS
    'the same with the key as text: the value of a primary key of one column, or an object of its columns';

-- For a key that is written or bound as a number, a uuid and so on. A text and a literal without a type are the function
-- above's. Printed as the images are.
CREATE FUNCTION orgscope.history_of(target regclass, key anynonarray) RETURNS SETOF orgscope.change_log
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC' SET DateStyle = 'ISO, MDY' SET IntervalStyle = 'postgres' SET extra_float_digits = 1
    SET bytea_output = 'hex' SET lc_monetary = 'C'
    AS $$ SELECT l FROM orgscope.history_of(target, to_jsonb(key) #>> '{}') l $$;
COMMENT ON FUNCTION orgscope.history_of(regclass, anynonarray) IS
    'the same with the value of a primary key of one column, in its own type';

CREATE VIEW orgscope.history_tables AS
    SELECT c.oid::regclass AS target, s.schema_name, s.table_name,
           ARRAY(SELECT pg_catalog.jsonb_array_elements_text(s.history -> 'exclude')::name) AS exclude_columns
    FROM orgscope.scoped_table s
    LEFT JOIN (pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid)
           ON n.nspname = s.schema_name AND c.relname = s.table_name
    WHERE s.history IS NOT NULL;
COMMENT ON VIEW orgscope.history_tables IS 'the tables with change history';
COMMENT ON COLUMN orgscope.history_tables.target IS 'the table; NULL when it is not there under its name';
COMMENT ON COLUMN orgscope.history_tables.schema_name IS 'the table''s schema';
COMMENT ON COLUMN orgscope.history_tables.table_name IS 'its name';
COMMENT ON COLUMN orgscope.history_tables.exclude_columns IS 'columns whose values are not recorded';
