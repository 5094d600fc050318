//! A new table that has the organization column, or a copy of scoped rows: `orgscope.new_tables`.

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use postgres::Client;

const SCOPED: &str = "SELECT count(*) FROM orgscope.scoped_tables WHERE protected AND table_name = 'born'";

/// Statements that bring a table with the organization column to life.
const BIRTHS: [&str; 6] = [
    "CREATE TABLE born (id int, organization_id uuid)",
    "CREATE TABLE born (LIKE ticket INCLUDING ALL)",
    "CREATE UNLOGGED TABLE born (id int, organization_id uuid NOT NULL)",
    "CREATE TABLE born (id int, org uuid REFERENCES orgscope.organization)",
    "CREATE TABLE born AS SELECT * FROM ticket WHERE false",
    "SELECT * INTO born FROM ticket WHERE false",
];

/// Those that copy scoped rows without saying whose they are.
const COPIES: [&str; 4] = [
    "CREATE TABLE born AS SELECT id, title FROM ticket",
    "SELECT count(*) AS n INTO born FROM (SELECT 1 FROM comment) c",
    "CREATE TABLE born AS WITH t AS (SELECT * FROM by_view) SELECT title FROM t",
    "CREATE MATERIALIZED VIEW born AS SELECT * FROM by_view",
];

/// Not new tables of the application, or nothing to do with organizations.
const OTHERS: [&str; 6] = [
    "CREATE TEMP TABLE born (id int, organization_id uuid)",
    "CREATE TEMP TABLE born AS SELECT * FROM ticket",
    "CREATE TABLE born (id int, other uuid)",
    "CREATE TABLE born (id int, organization_id text)",
    "CREATE TABLE born AS SELECT * FROM generate_series(1, 3)",
    "CREATE VIEW born AS SELECT * FROM ticket",
];

/// A superuser's connection, for whom no context is needed, and the warnings it hears.
fn listening(world: &World, mode: &str) -> (Client, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let mut config = world.cluster().client_config("postgres", world.name());
    config.options(&format!("-c orgscope.new_tables={mode}"));
    config.notice_callback(move |notice| {
        ear.lock().unwrap().push(format!("{} {} {}", notice.severity(), notice.code().code(), notice.message()));
    });
    (config.connect(postgres::NoTls).unwrap(), heard)
}

fn world(name: &str) -> World {
    let world = World::new(name);
    run(&mut world.superuser(), "CREATE VIEW by_view AS SELECT * FROM ticket");
    world
}

#[test]
fn warn_is_the_default_and_names_the_table() {
    let world = world("new_warn");
    assert_eq!(one(&mut world.app(), "SHOW orgscope.new_tables"), "warn");
    let (mut admin, heard) = listening(&world, "warn");
    for sql in BIRTHS.into_iter().chain(COPIES) {
        run(&mut admin, &format!("BEGIN; {sql}; ROLLBACK"));
        let warnings = std::mem::take(&mut *heard.lock().unwrap());
        assert_eq!(warnings, ["WARNING 01000 new table \"born\" is not scoped"], "{sql}");
    }
    for sql in OTHERS {
        run(&mut admin, &format!("BEGIN; {sql}; ROLLBACK"));
        assert_eq!(*heard.lock().unwrap(), [""; 0], "{sql}");
    }
    let (mut admin, heard) = listening(&world, "ignore");
    for sql in BIRTHS.into_iter().chain(COPIES) {
        run(&mut admin, &format!("BEGIN; {sql}; ROLLBACK"));
        assert_eq!(*heard.lock().unwrap(), [""; 0], "{sql}");
    }
}

#[test]
fn scope_scopes_in_the_same_statement_or_refuses() {
    let world = world("new_scope");
    let (mut admin, heard) = listening(&world, "scope");
    for sql in BIRTHS {
        run(&mut admin, &format!("BEGIN; {sql}"));
        assert_eq!(one(&mut admin, SCOPED), "1", "{sql}");
        run(&mut admin, "ROLLBACK");
    }
    for sql in COPIES {
        refused(&mut admin, "OS006", sql);
    }
    for sql in OTHERS {
        run(&mut admin, &format!("BEGIN; {sql}"));
        assert_eq!(one(&mut admin, SCOPED), "0", "{sql}");
        run(&mut admin, "ROLLBACK");
    }
    assert_eq!(*heard.lock().unwrap(), [""; 0]);
    // Rows without an organization are nobody's.
    refused(&mut admin, "OS005", "CREATE TABLE born AS SELECT 1 AS id, NULL::uuid AS organization_id");
}

/// As the tenant's own role, with rows of its organization.
#[test]
fn a_copy_by_a_tenant_is_born_scoped() {
    let world = world("new_copy");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "GRANT CREATE ON SCHEMA public TO app; ALTER ROLE app IN DATABASE new_copy SET orgscope.new_tables = 'scope'",
    );
    let mut app = world.app();
    refused(&mut app, "42501", "SET orgscope.new_tables = 'ignore'");
    rows_under(&mut app, A, "CREATE TABLE born AS SELECT * FROM ticket");
    assert_eq!(one(&mut admin, SCOPED), "1");
    assert_eq!(rows_under(&mut app, A, "SELECT id FROM born ORDER BY id"), ["1", "2"]);
    assert_eq!(rows_under(&mut app, B, "SELECT id FROM born"), [""; 0]);
    refused(&mut app, "OS001", "SELECT * FROM born");
}

#[test]
fn reject_refuses() {
    let world = world("new_reject");
    let (mut admin, _) = listening(&world, "reject");
    for sql in BIRTHS.into_iter().chain(COPIES) {
        let error = refused(&mut admin, "OS006", sql);
        assert_eq!(error.table(), Some("born"), "{sql}");
    }
    for sql in OTHERS {
        run(&mut admin, &format!("BEGIN; {sql}; ROLLBACK"));
    }
    run(&mut admin, "CREATE TABLE born (id int); SELECT orgscope.enable_org_scoping('born')");
}

/// Before the first table is scoped only a chosen mode acts, and a restore is left alone.
#[test]
fn the_first_table_of_a_database() {
    let world = World::without_tables("new_first");
    let (mut admin, heard) = listening(&world, "warn");
    run(&mut admin, "CREATE TABLE born (organization_id uuid); DROP TABLE born");
    assert_eq!(*heard.lock().unwrap(), [""; 0]);
    let (mut admin, _) = listening(&world, "scope");
    run(&mut admin, "SET row_security = off; CREATE TABLE born (organization_id uuid)");
    assert_eq!(one(&mut admin, SCOPED), "0");
    run(&mut admin, "RESET row_security; DROP TABLE born; CREATE TABLE born (organization_id uuid)");
    assert_eq!(one(&mut admin, SCOPED), "1");
}

/// What an earlier statement has read is not held against a later one.
#[test]
fn sources_are_those_of_the_statement() {
    let world = world("new_sources");
    let (mut admin, _) = listening(&world, "reject");
    refused(&mut admin, "OS006", "CREATE TABLE born AS SELECT title FROM ticket");
    refused(&mut admin, "22012", "CREATE TABLE born AS SELECT 1 / (id - id) AS x FROM ticket");
    run(&mut admin, "CREATE TABLE born AS SELECT 1 AS x WITH NO DATA; DROP TABLE born");
    run(&mut admin, "CREATE TABLE born (x int)");
}
