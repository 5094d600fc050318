//! A database with scoped tables, and one connection per kind of role.
#![allow(dead_code)] // every test file is a program of its own and uses a part of this

use std::sync::OnceLock;

use orgscope_cluster::{Cluster, Options, SUPERUSER};
use postgres::{Client, SimpleQueryMessage, error::DbError};

pub const A: &str = "aaaaaaaa-0000-7000-8000-000000000001";
pub const B: &str = "bbbbbbbb-0000-7000-8000-000000000002";
pub const C: &str = "cccccccc-0000-7000-8000-000000000003";

pub const ROLES: &str = "CREATE ROLE app LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE dba LOGIN BYPASSRLS";

/// With a time of their own they count as restored, and a test begins with an empty log.
const ORGANIZATIONS: &str = "
    CREATE EXTENSION orgscope;
    GRANT CREATE ON SCHEMA public TO owner;
    INSERT INTO orgscope.organization (id, name, slug, created_at) VALUES
        ('aaaaaaaa-0000-7000-8000-000000000001', 'Acme', 'acme', '2026-01-01'),
        ('bbbbbbbb-0000-7000-8000-000000000002', 'Globex', 'globex', '2026-01-01'),
        ('cccccccc-0000-7000-8000-000000000003', 'Initech', 'initech', '2026-01-01')";

/// Two tickets of A (1, 2), three of B (11, 12, 13), none of C; a comment on each. The comments are scoped first: their
/// owner is not a superuser, and could not read scoped tickets of every organization.
const TICKETS: &str = "
    CREATE TABLE ticket (id int PRIMARY KEY, title text, organization_id uuid);
    CREATE TABLE comment (id serial PRIMARY KEY, ticket_id int REFERENCES ticket ON DELETE CASCADE, body text);
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ticket, comment TO app, dba;
    GRANT USAGE ON SEQUENCE comment_id_seq TO app, dba;
    INSERT INTO ticket SELECT i, 'a' || i, 'aaaaaaaa-0000-7000-8000-000000000001' FROM generate_series(1, 2) i;
    INSERT INTO ticket SELECT i, 'b' || i, 'bbbbbbbb-0000-7000-8000-000000000002' FROM generate_series(11, 13) i;
    INSERT INTO comment (ticket_id, body) SELECT id, 'on ' || title FROM ticket ORDER BY id;
    SELECT orgscope.enable_org_scoping('public.comment', options =>
        '{\"on_delete\": \"cascade\", \"backfill\": \"(SELECT t.organization_id FROM public.ticket t WHERE t.id = ticket_id)\"}');
    SELECT orgscope.enable_org_scoping('public.ticket', options => '{\"on_delete\": \"cascade\"}')";

/// One database of a cluster.
pub struct World {
    cluster: &'static Cluster,
    database: String,
}

impl World {
    /// A database of the shared cluster with organizations A, B, C and the tables `ticket` and `comment`.
    pub fn new(database: &str) -> Self {
        let world = Self::without_tables(database);
        run(&mut world.owner(), TICKETS);
        world
    }

    /// The same without tables.
    pub fn without_tables(database: &str) -> Self {
        static ROLES_MADE: OnceLock<()> = OnceLock::new();
        let cluster = Cluster::shared().unwrap();
        ROLES_MADE.get_or_init(|| run(&mut cluster.connect(SUPERUSER, "postgres").unwrap(), ROLES));
        let world = Self::empty(cluster, database);
        run(&mut world.superuser(), ORGANIZATIONS);
        world
    }

    fn empty(cluster: &'static Cluster, database: &str) -> Self {
        cluster.create_database(database).unwrap();
        Self { cluster, database: database.into() }
    }

    /// A world in a cluster of its own, for tests that change or stop the server. It lives as long as the process.
    pub fn in_own_cluster(options: &Options) -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(options).unwrap()));
        run(&mut cluster.connect(SUPERUSER, "postgres").unwrap(), ROLES);
        let world = Self::empty(cluster, "test");
        run(&mut world.superuser(), ORGANIZATIONS);
        run(&mut world.owner(), TICKETS);
        world
    }

    /// The same database on a standby. It lives as long as the process.
    pub fn standby(&self, options: &Options) -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(self.cluster.standby(options).unwrap()));
        Self { cluster, database: self.database.clone() }
    }

    /// An empty database of the same cluster.
    pub fn beside(&self, database: &str) -> Self {
        Self::empty(self.cluster, database)
    }

    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    pub fn name(&self) -> &str {
        &self.database
    }

    pub fn connect(&self, user: &str) -> Client {
        self.cluster.connect(user, &self.database).unwrap()
    }

    /// A connection whose startup packet carries `options`, as PGOPTIONS would.
    pub fn connect_with(&self, user: &str, options: &str) -> Result<Client, postgres::Error> {
        self.cluster.client_config(user, &self.database).options(options).connect(postgres::NoTls)
    }

    pub fn app(&self) -> Client {
        self.connect("app")
    }

    pub fn owner(&self) -> Client {
        self.connect("owner")
    }

    pub fn dba(&self) -> Client {
        self.connect("dba")
    }

    pub fn superuser(&self) -> Client {
        self.connect(SUPERUSER)
    }
}

/// Runs statements that must succeed.
#[track_caller]
pub fn run(client: &mut Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql) {
        panic!("{}\n{sql}", describe(&error));
    }
}

/// Rows of the last statement that has some, columns joined by `|`, NULL as `-`.
pub fn query(client: &mut Client, sql: &str) -> Result<Vec<String>, postgres::Error> {
    let mut rows = Vec::new();
    for message in client.simple_query(sql)? {
        match message {
            SimpleQueryMessage::RowDescription(_) => rows.clear(),
            SimpleQueryMessage::Row(row) => {
                let fields = (0..row.len()).map(|i| row.get(i).unwrap_or("-").to_owned());
                rows.push(fields.collect::<Vec<_>>().join("|"));
            }
            _ => {}
        }
    }
    Ok(rows)
}

#[track_caller]
pub fn rows(client: &mut Client, sql: &str) -> Vec<String> {
    match query(client, sql) {
        Ok(rows) => rows,
        Err(error) => panic!("{}\n{sql}", describe(&error)),
    }
}

/// The only field of the only row.
#[track_caller]
pub fn one(client: &mut Client, sql: &str) -> String {
    let mut rows = rows(client, sql);
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0)
}

/// The major version of the server.
pub fn major(client: &mut Client) -> u32 {
    one(client, "SELECT current_setting('server_version_num')::int / 10000").parse().unwrap()
}

/// Plans every query for a parallel worker, or not; PostgreSQL 16 gave the setting another name.
pub fn force_parallel(client: &mut Client, value: &str) {
    let name =
        one(client, "SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')");
    run(client, &format!("SET {name} = {value}"));
}

/// The SQLSTATE a statement fails with, `00000` when it does not.
pub fn state(client: &mut Client, sql: &str) -> String {
    match client.batch_execute(sql) {
        Ok(()) => "00000".into(),
        Err(error) => code(&error),
    }
}

pub fn code(error: &postgres::Error) -> String {
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

#[track_caller]
pub fn refused(client: &mut Client, sqlstate: &str, sql: &str) -> DbError {
    match client.batch_execute(sql) {
        Ok(()) => panic!("succeeded, expected {sqlstate}:\n{sql}"),
        Err(error) => {
            assert_eq!(code(&error), sqlstate, "{}\n{sql}", describe(&error));
            error.as_db_error().unwrap().clone()
        }
    }
}

pub fn describe(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!(
            "{}: {} / {} / {}",
            db.code().code(),
            db.message(),
            db.detail().unwrap_or("-"),
            db.where_().unwrap_or("-")
        ),
        None => error.to_string(),
    }
}

/// Begins a transaction of the organization.
#[track_caller]
pub fn begin(client: &mut Client, org: &str) {
    run(client, &format!("BEGIN; SET LOCAL orgscope.current_org = '{org}'"));
}

/// Runs `sql` in a transaction of its own under the organization; the transaction ends in any case.
pub fn under(client: &mut Client, org: &str, sql: &str) -> Result<Vec<String>, postgres::Error> {
    begin(client, org);
    let result = query(client, sql);
    let end = client.batch_execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" });
    end.and(result)
}

#[track_caller]
pub fn rows_under(client: &mut Client, org: &str, sql: &str) -> Vec<String> {
    match under(client, org, sql) {
        Ok(rows) => rows,
        Err(error) => panic!("{}\n{sql}", describe(&error)),
    }
}

#[track_caller]
pub fn refused_under(client: &mut Client, org: &str, sqlstate: &str, sql: &str) {
    match under(client, org, sql) {
        Ok(_) => panic!("succeeded, expected {sqlstate}:\n{sql}"),
        Err(error) => assert_eq!(code(&error), sqlstate, "{}\n{sql}", describe(&error)),
    }
}

/// Every ticket as `id|title|organization letter`, seen by the superuser.
pub fn all_tickets(world: &World) -> Vec<String> {
    rows(&mut world.superuser(), "SELECT id, title, left(organization_id::text, 1) FROM ticket ORDER BY id")
}

/// What a program that must succeed has printed.
#[track_caller]
pub fn output(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The schema as pg_dump prints it, in blocks: a failure then names the object.
pub fn dump(world: &World) -> Vec<String> {
    let mut pg_dump = world.cluster().command("pg_dump");
    let text = output(pg_dump.args(["--schema-only", "-n", "public", "-d", world.name()]));
    // psql's \\restrict has a random key.
    let restrict = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    let text = text.lines().filter(restrict).collect::<Vec<_>>().join("\n");
    text.split("\n\n\n").map(str::to_owned).collect()
}

#[track_caller]
pub fn assert_same(before: &[String], after: &[String], context: &str) {
    let lost: Vec<_> = before.iter().filter(|block| !after.contains(block)).collect();
    let new: Vec<_> = after.iter().filter(|block| !before.contains(block)).collect();
    assert!(lost.is_empty() && new.is_empty(), "{context}\nlost: {lost:#?}\nnew: {new:#?}");
    assert_eq!(after, before, "{context}: the order changed");
}
