//! PostgreSQL's own errors reach the client with every field they began with, orgscope loaded or not.

mod common;

use std::io::Write;

use common::*;
use orgscope_cluster::{Cluster, Options, SUPERUSER};
use postgres::{Client, error::DbError, error::ErrorPosition};

const SCHEMA: &str = "
    CREATE ROLE app LOGIN;
    CREATE DOMAIN positive AS int CONSTRAINT above_zero CHECK (VALUE > 0);
    CREATE TABLE parent (id int PRIMARY KEY, p positive, CONSTRAINT small CHECK (id < 1000));
    CREATE TABLE child (id int PRIMARY KEY, parent_id int NOT NULL CONSTRAINT to_parent REFERENCES parent, u text CONSTRAINT once UNIQUE);
    INSERT INTO parent VALUES (1, 1), (2, 2); INSERT INTO child VALUES (1, 1, 'x');
    CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'custom %', NEW.id USING ERRCODE = 'ZZ001', DETAIL = 'the detail', HINT = 'the hint',
            COLUMN = 'a_column', CONSTRAINT = 'a_constraint', DATATYPE = 'a_type', TABLE = 'a_table', SCHEMA = 'a_schema'; END $$;
    CREATE TABLE complaining (id int); CREATE TRIGGER complain BEFORE INSERT ON complaining FOR EACH ROW EXECUTE FUNCTION complain();
    CREATE FUNCTION nested(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        IF n = 0 THEN EXECUTE 'SELECT 1 / 0'; END IF; RETURN nested(n - 1); END $$;
    CREATE FUNCTION as_sql() RETURNS int LANGUAGE sql AS 'SELECT nested(2)';
    CREATE PROCEDURE utilities() LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE t (i int); DROP TABLE missing; END $$;
    CREATE TABLE guarded (id int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT ALL ON guarded TO app";

const STATEMENTS: [&str; 42] = [
    "SELECT * FROM missing",
    "SELECT missing FROM parent",
    "SELEC 1",
    "SELECT 1 / 0",
    "SELECT 'x'::int",
    "SELECT 'ä' || missing('ö')",
    "INSERT INTO parent VALUES (1, 1)",
    "INSERT INTO parent VALUES (3, 0)",
    "INSERT INTO parent VALUES (5000, 1)",
    "INSERT INTO child VALUES (2, 99, 'y')",
    "INSERT INTO child VALUES (2, 1, 'x')",
    "INSERT INTO child (id) VALUES (2)",
    "DELETE FROM parent WHERE id = 1",
    "UPDATE parent SET id = 7 WHERE id = 1",
    "TRUNCATE parent",
    "INSERT INTO complaining VALUES (42)",
    "SELECT nested(3)",
    "SELECT as_sql()",
    "CALL utilities()",
    "DO $$ BEGIN PERFORM nested(1); END $$",
    "DO $$ BEGIN RAISE SQLSTATE 'OS001' USING MESSAGE = 'not ours', DETAIL = 'd', HINT = 'h'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'plain'; END $$",
    "DO $$ BEGIN SET LOCAL search_path = ''; PERFORM 1 FROM parent; END $$",
    "SET missing.setting.name = 1; SET work_mem = 'x'",
    "SET work_mem = '1'",
    "SET search_path TO DEFAULT; SET statement_timeout = -5",
    "SET ROLE missing",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRIT",
    "DROP TABLE missing",
    "DROP TABLE parent",
    "DROP SCHEMA missing",
    "DROP EXTENSION missing",
    "DROP SCHEMA public",
    "DROP OWNED BY missing",
    "DROP OWNED BY postgres",
    "ALTER TABLE parent ADD CONSTRAINT small CHECK (id > 0)",
    "ALTER TABLE parent ADD CHECK (id > 1)",
    "CREATE TABLE parent (id int)",
    "CREATE INDEX ON parent (missing)",
    "COPY parent FROM '/nonexistent'",
    "BEGIN; SELECT 1 / 0; SELECT 1",
    "PREPARE p AS SELECT $1::int; EXECUTE p('x')",
];

type Field = (&'static str, String);

/// Every field, also those that only a `\errverbose` shows.
fn fields(e: &DbError) -> Vec<Field> {
    let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let position = match e.position() {
        Some(ErrorPosition::Original(at)) => at.to_string(),
        Some(ErrorPosition::Internal { position, query }) => format!("{position} in {query}"),
        None => "-".into(),
    };
    vec![
        ("severity", e.severity().into()),
        ("code", e.code().code().into()),
        ("message", e.message().into()),
        ("detail", text(e.detail())),
        ("hint", text(e.hint())),
        ("position", position),
        ("where", text(e.where_())),
        ("schema", text(e.schema())),
        ("table", text(e.table())),
        ("column", text(e.column())),
        ("datatype", text(e.datatype())),
        ("constraint", text(e.constraint())),
        ("file", text(e.file())),
        ("line", e.line().map_or("-".into(), |line| line.to_string())),
        ("routine", text(e.routine())),
    ]
}

fn failure(client: &mut Client, sql: &str) -> Vec<Field> {
    let error = client.batch_execute(sql).expect_err(sql);
    client.batch_execute("ROLLBACK").unwrap();
    fields(error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}")))
}

fn copy_failure(client: &mut Client, sql: &str, text: &str) -> Vec<Field> {
    let mut writer = client.copy_in(sql).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    fields(writer.finish().expect_err(sql).as_db_error().unwrap())
}

#[test]
fn postgresqls_errors_are_the_same_with_and_without_orgscope() {
    let plain = Cluster::start(&Options::without_preload()).unwrap();
    let loaded = Cluster::start(&Options::default()).unwrap();
    let mut clients = [&plain, &loaded].map(|cluster| cluster.connect(SUPERUSER, "postgres").unwrap());
    for client in &mut clients {
        run(client, SCHEMA);
    }
    run(&mut clients[1], "CREATE EXTENSION orgscope");
    let mut differences = Vec::new();
    for sql in STATEMENTS {
        let [without, with] = clients.each_mut().map(|client| failure(client, sql));
        differences.extend(difference(&without, &with, sql));
    }
    for (sql, text) in [
        ("COPY parent FROM STDIN", "3\t3\nx\t4\n"),
        ("COPY parent FROM STDIN", "3\n"),
        ("COPY parent FROM STDIN", "3\t-1\n"),
        ("COPY parent (id) FROM STDIN (FORMAT csv)", "3\n1\n"),
        ("COPY child FROM STDIN", "9\t99\tz\n"),
        ("COPY complaining FROM STDIN", "9\n"),
    ] {
        let [without, with] = clients.each_mut().map(|client| copy_failure(client, sql, text));
        differences.extend(difference(&without, &with, &format!("{sql}: {text}")));
    }
    for client in &mut clients {
        run(client, "SET ROLE app");
    }
    for sql in [
        "INSERT INTO guarded VALUES (1)",
        "SELECT * FROM parent",
        "SET log_min_messages = 'panic'",
        "ALTER SYSTEM SET work_mem = 1",
        "DROP TABLE child",
    ] {
        let [without, with] = clients.each_mut().map(|client| failure(client, sql));
        differences.extend(difference(&without, &with, sql));
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

fn difference(without: &[Field], with: &[Field], what: &str) -> Vec<String> {
    let different = without.iter().zip(with).filter(|(a, b)| a != b);
    different.map(|((field, a), (_, b))| format!("{what}: {field} is {b:?}, without orgscope {a:?}")).collect()
}

const TICKETS: &str = "
    CREATE ROLE app LOGIN; CREATE ROLE dba LOGIN BYPASSRLS;
    CREATE TABLE ticket (id int CONSTRAINT numbered PRIMARY KEY, title text NOT NULL, organization_id uuid NOT NULL);
    CREATE TABLE comment (id int PRIMARY KEY, ticket_id int CONSTRAINT on_ticket REFERENCES ticket, organization_id uuid NOT NULL);
    CREATE TABLE secret (id int, organization_id uuid NOT NULL);
    GRANT SELECT, INSERT, UPDATE, DELETE ON ticket, comment TO app, dba;
    INSERT INTO ticket SELECT i, 't', 'aaaaaaaa-0000-7000-8000-000000000001' FROM generate_series(1, 3) i;
    CREATE VIEW inverse AS SELECT 1 / (id - 2) AS of FROM ticket; GRANT SELECT ON inverse TO app, dba;
    CREATE FUNCTION twice() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ticket VALUES (1, 'x', 'aaaaaaaa-0000-7000-8000-000000000001'); END $$;
    CREATE FUNCTION spy() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM secret); END $$";

/// What PostgreSQL itself says otherwise under row security, which hides values, and of a key of two columns.
const ALIKE: &str = "
    ALTER TABLE ticket ADD UNIQUE (organization_id, id);
    ALTER TABLE comment DROP CONSTRAINT on_ticket,
        ADD CONSTRAINT on_ticket FOREIGN KEY (organization_id, ticket_id) REFERENCES ticket (organization_id, id);
    DO $$ DECLARE t text; BEGIN FOREACH t IN ARRAY ARRAY['ticket', 'comment', 'secret'] LOOP
        EXECUTE format('ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON %1$s USING (true)', t);
        END LOOP; END $$";

const SCOPED: &str = "CREATE EXTENSION orgscope;
    INSERT INTO orgscope.organization (id, name, slug) VALUES ('aaaaaaaa-0000-7000-8000-000000000001', 'Acme', 'acme');
    SELECT orgscope.enable_org_scoping(t::regclass) FROM unnest(ARRAY['ticket', 'comment', 'secret']) t";

const ON_SCOPED: [&str; 19] = [
    "SELECT * FROM ticket WHER id = 1",
    "SELECT missing FROM ticket",
    "SELECT 1 / (id - 2) FROM ticket",
    "SELECT * FROM inverse",
    "BEGIN; DECLARE c CURSOR FOR SELECT 1 / (id - 2) FROM ticket ORDER BY id; FETCH 1 FROM c; FETCH 1 FROM c",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT 1 / (id - 2) FROM ticket LOOP NULL; END LOOP; END $$",
    "PREPARE p AS SELECT 1 / (id - $1) FROM ticket; EXECUTE p(2)",
    "EXPLAIN ANALYZE SELECT 1 / (id - 2) FROM ticket",
    "CREATE TEMP TABLE copied AS SELECT 1 / (id - 2) AS i FROM ticket",
    "COPY (SELECT 1 / (id - 2) FROM ticket) TO '/dev/null'",
    "UPDATE ticket SET title = 1 / (id - 2)",
    "UPDATE ticket SET title = NULL",
    "DELETE FROM ticket WHERE 1 / (id - 2) = 0",
    "INSERT INTO ticket VALUES (1, 'x', 'aaaaaaaa-0000-7000-8000-000000000001')",
    "SELECT twice()",
    "DO $$ BEGIN PERFORM twice(); END $$",
    "INSERT INTO comment VALUES (1, 99, 'aaaaaaaa-0000-7000-8000-000000000001')",
    "DO $$ BEGIN UPDATE ticket SET id = 2 WHERE id = 1; END $$",
    "SET LOCAL statement_timeout = 20; SELECT pg_sleep(1) FROM ticket",
];

const DENIED: [&str; 2] = ["SELECT * FROM secret", "SELECT spy()"];

/// What goes on record, and what row security covers, fails as it does on an ordinary table.
#[test]
fn errors_on_scoped_tables_are_those_of_ordinary_ones() {
    let plain = Cluster::start(&Options::without_preload()).unwrap();
    let scoped = Cluster::start(&Options::default().line("orgscope.audit_durability = sync")).unwrap();
    for cluster in [&plain, &scoped] {
        run(&mut cluster.connect(SUPERUSER, "postgres").unwrap(), TICKETS);
    }
    run(&mut plain.connect(SUPERUSER, "postgres").unwrap(), ALIKE);
    run(&mut scoped.connect(SUPERUSER, "postgres").unwrap(), SCOPED);
    let mut differences = Vec::new();
    for (role, more) in [(SUPERUSER, &[][..]), ("dba", &DENIED), ("app", &DENIED)] {
        for sql in ON_SCOPED.iter().chain(more) {
            let [without, with] = [&plain, &scoped].map(|cluster| {
                let mut client = cluster.connect(role, "postgres").unwrap();
                run(&mut client, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'"));
                failure(&mut client, sql.trim_start_matches("BEGIN; "))
            });
            differences.extend(difference(&without, &with, &format!("{role}: {sql}")));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    let mut admin = scoped.connect(SUPERUSER, "postgres").unwrap();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let seen = "SELECT DISTINCT role_name FROM orgscope.audit_log WHERE action = 'bypass_read' ORDER BY 1";
    assert_eq!(rows(&mut admin, seen), ["app", "dba", "postgres"], "{SUPERUSER} owns the view");
}

/// The same through our own functions, which run others' SQL: a backfill expression and a table's own trigger.
#[test]
fn errors_of_the_users_code_pass_through_ours() {
    let world = World::without_tables("pass_through");
    let mut owner = world.owner();
    run(&mut owner, "CREATE FUNCTION fail() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'custom' USING ERRCODE = 'ZZ002', DETAIL = 'the detail', HINT = 'the hint', CONSTRAINT = 'a_constraint'; END $$;
        CREATE TABLE t (id int, organization_id uuid); INSERT INTO t VALUES (1)");
    let enable = |backfill: &str| {
        format!("SELECT orgscope.enable_org_scoping('public.t', options => '{{\"backfill\": \"{backfill}\"}}')")
    };
    let error = refused(&mut owner, "ZZ002", &enable("public.fail()"));
    assert_eq!(
        (error.message(), error.detail(), error.hint(), error.constraint()),
        ("custom", Some("the detail"), Some("the hint"), Some("a_constraint"))
    );
    assert!(
        error
            .where_()
            .is_some_and(|w| w.contains("PL/pgSQL function fail() line 2 at RAISE") && w.contains("UPDATE public.t")),
        "{error:?}"
    );
    refused(&mut owner, "22012", &enable("(1 / (id - 1))::text::uuid"));
    refused(&mut owner, "42703", &enable("missing"));
    refused(&mut owner, "42601", &enable("1 +"));
    refused(&mut owner, "42883", "SELECT orgscope.enable_org_scoping()");
    refused(&mut owner, "42P01", "SELECT orgscope.enable_org_scoping('missing')");
    run(&mut owner, &format!("SELECT orgscope.enable_org_scoping('public.t', options => '{{\"backfill\": \"{A}\"}}')"));

    let mut admin = world.superuser();
    run(&mut admin, "BEGIN");
    let error = refused(&mut admin, "OS001", "INSERT INTO t VALUES (2)");
    assert_eq!((error.schema(), error.table(), error.column()), (Some("public"), Some("t"), Some("organization_id")));
    assert!(error.detail().is_some() && error.hint().is_some());
    run(&mut admin, "ROLLBACK");
}
