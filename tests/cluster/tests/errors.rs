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
