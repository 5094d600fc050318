//! A server without orgscope in shared_preload_libraries: the library is loaded by the first statement that needs it.

mod common;

use common::*;
use orgscope_cluster::Options;
use std::sync::OnceLock;

const COUNT: &str = "SELECT count(*) FROM ticket";

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::in_own_cluster(&Options::without_preload()))
}

#[test]
fn policies_and_guards_hold() {
    let insert = format!("INSERT INTO ticket VALUES (50, 'x', '{B}')");
    // A new connection each: the statement under test is the one that loads the library.
    for sql in
        [COUNT, insert.as_str(), "UPDATE ticket SET title = 'x'", "DELETE FROM ticket", "TRUNCATE ticket, comment"]
    {
        refused(&mut world().app(), "OS001", sql);
    }
    for sql in [insert.as_str(), "TRUNCATE ticket, comment"] {
        refused_under(&mut world().app(), A, "OS002", sql);
        refused_under(&mut world().dba(), A, "OS002", sql);
    }
    refused_under(&mut world().dba(), A, "OS002", "UPDATE ticket SET title = 'x'");
    refused(&mut world().dba(), "OS002", &format!("UPDATE ticket SET organization_id = '{A}' WHERE id = 11"));
    assert_eq!(rows_under(&mut world().app(), A, COUNT), ["2"]);
    assert_eq!(rows_under(&mut world().app(), B, COUNT), ["3"]);
    refused(&mut world().superuser(), "OS008", "DELETE FROM orgscope.audit_log");
}

#[test]
fn writes_outside_row_security_are_recorded() {
    let mut dba = world().dba();
    run(&mut dba, "UPDATE ticket SET title = title WHERE id > 10");
    let record = "SELECT row_count, login_name FROM orgscope.audit_log WHERE operation = 'UPDATE'";
    assert_eq!(rows(&mut world().superuser(), record), ["3|dba"]);
}

/// There is no queue, and no writer to wait for.
#[test]
fn a_synchronous_read_is_refused() {
    let mut admin = world().superuser();
    run(&mut admin, "UPDATE ticket SET title = title WHERE false; SET orgscope.audit_durability = sync");
    refused(&mut admin, "OS007", COUNT);
    run(&mut admin, "SET orgscope.audit_durability = async");
    assert_eq!(one(&mut admin, COUNT), "5");
}

#[test]
fn the_context_still_ends_with_its_transaction() {
    let mut app = world().app();
    assert_eq!(rows_under(&mut app, A, COUNT), ["2"]);
    refused(&mut app, "OS001", COUNT);
    run(&mut app, &format!("BEGIN; SELECT set_config('orgscope.current_org', '{A}', false); COMMIT"));
    refused(&mut app, "OS001", COUNT);
    refused(&mut app, "OS003", &format!("SET orgscope.current_org = '{A}'"));

    let mut app = world().app();
    run(&mut app, &format!("BEGIN; SELECT set_config('orgscope.current_org', '{A}', false); {COUNT}; COMMIT"));
    refused(&mut app, "OS001", COUNT);
    let mut app = world().connect_with("app", &format!("-c orgscope.current_org={A}")).unwrap();
    refused(&mut app, "OS001", COUNT);
}

/// Before the library is loaded its settings are placeholders, which any role may set to anything.
#[test]
fn a_placeholder_loosens_nothing() {
    let mut app = world().app();
    run(
        &mut app,
        "SET orgscope.require_context = 'off'; SET orgscope.context_lifetime = 'session'; SET orgscope.context_change = 'free'",
    );
    refused(&mut app, "OS001", COUNT);
    assert_eq!(one(&mut app, "SHOW orgscope.require_context"), "all");
    assert_eq!(one(&mut app, "SHOW orgscope.context_lifetime"), "transaction");
    assert_eq!(one(&mut app, "SHOW orgscope.context_change"), "once");

    let mut app = world().app();
    run(&mut app, "SET orgscope.current_org = 'nonsense'");
    refused(&mut app, "OS001", COUNT);
}

#[test]
fn a_context_set_by_an_earlier_transaction_before_the_library_was_loaded_counts_for_nothing() {
    for set in [
        format!("SET orgscope.current_org = '{A}'"),
        format!("BEGIN; SELECT set_config('orgscope.current_org', '{A}', false); COMMIT"),
    ] {
        let mut app = world().app();
        run(&mut app, &set);
        refused(&mut app, "OS001", COUNT);
    }
}

/// A placeholder of the startup packet stands in the place of what the role, the database or the server has set.
#[test]
fn a_startup_packet_loosens_nothing() {
    let world = World::in_own_cluster(&Options::without_preload().line("orgscope.token_audience = 'db'"));
    let mut admin = world.superuser();
    run(
        &mut admin,
        "ALTER ROLE app SET orgscope.context_source = 'token'; ALTER ROLE dba SET orgscope.bypass = 'deny'",
    );
    let as_if_set = |user: &str, option: &str| world.connect_with(user, &format!("-c orgscope.{option}"));
    let loosening = [
        ("app", "context_source=setting"),
        ("app", "Context_Source=setting"),
        ("app", "context_lifetime=session"),
        ("app", "token_audience=x"),
        ("dba", "bypass=audit"),
    ];
    for (user, option) in loosening {
        let mut client = as_if_set(user, option).unwrap();
        // A role outside row security loads the library with its first write.
        for sql in ["UPDATE ticket SET title = title", "DELETE FROM ticket"] {
            refused_under(&mut client, A, "42501", sql);
        }
    }
    // Loaded as the session begins, there is no session.
    run(&mut admin, "ALTER DATABASE test SET session_preload_libraries = 'orgscope'");
    for (user, option) in loosening {
        let refusal = as_if_set(user, option).err().expect(option);
        assert_eq!(code(&refusal), "42501", "{option}");
    }
    for option in ["actor=x".to_owned(), format!("current_org={A}")] {
        refused(&mut as_if_set("dba", &option).unwrap(), "OS007", COUNT);
    }
    assert_eq!(one(&mut as_if_set("postgres", "audit_reads=off").unwrap(), COUNT), "5");
    let mut app = as_if_set("app", "actor=x").unwrap();
    refused(&mut app, "OS003", &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; {COUNT}"));
}
