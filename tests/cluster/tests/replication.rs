//! Logical replication of scoped tables: apply workers have no context, and need none.

mod common;

use std::time::{Duration, Instant};

use common::*;
use orgscope_cluster::Options;

/// Waits until the subscriber shows what is expected; the time-out's message has its log.
#[track_caller]
fn eventually(world: &World, client: &mut postgres::Client, sql: &str, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = rows(client, sql);
        if found == expected {
            return;
        }
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(world.cluster().log_path()).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            panic!("{sql}: {found:?}, expected {expected:?}\n{tail:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// PostgreSQL 16 and later apply as the table's owner, whom FORCE ROW LEVEL SECURITY covers, unless the subscription says
/// otherwise: PostgreSQL stops there, and no row arrives.
fn applies_as_the_owner_first(world: &World, subscriber: &mut postgres::Client) {
    let refusal = "cannot replicate into relation with row-level security enabled: \"ticket\"";
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(world.cluster().log_path()).unwrap().contains(refusal) {
        assert!(Instant::now() < deadline, "the subscription did not stop");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(one(subscriber, "SELECT count(*) FROM ticket"), "0");
    run(subscriber, "ALTER SUBSCRIPTION all_tickets SET (run_as_owner = true)");
}

#[test]
fn rows_arrive_in_scoped_tables() {
    let world = World::in_own_cluster(&Options::default().line("wal_level = logical"));
    let mut publisher = world.superuser();
    run(&mut publisher, "CREATE DATABASE subscriber TEMPLATE test");
    let mut subscriber = world.cluster().connect("postgres", "subscriber").unwrap();
    run(
        &mut subscriber,
        "DELETE FROM comment; DELETE FROM ticket;
         CREATE TABLE seen (org uuid);
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.seen VALUES (orgscope.current_org()); RETURN NULL; END $$;
         CREATE TRIGGER look AFTER UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION look();
         ALTER TABLE ticket ENABLE ALWAYS TRIGGER look; GRANT INSERT ON seen TO PUBLIC",
    );
    let recorded = "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_write' AND row_count > 0";
    let before = one(&mut subscriber, recorded);
    run(&mut publisher, "CREATE PUBLICATION all_tickets FOR TABLE ticket, comment");
    run(&mut publisher, "SELECT pg_create_logical_replication_slot('all_tickets', 'pgoutput')");
    let connection = format!("host=127.0.0.1 port={} user=postgres dbname=test", world.cluster().port());
    run(
        &mut subscriber,
        &format!(
            "CREATE SUBSCRIPTION all_tickets CONNECTION '{connection}' PUBLICATION all_tickets WITH (create_slot = false, slot_name = all_tickets)"
        ),
    );

    // The initial copy, then each kind of change.
    let tickets = "SELECT id, title FROM ticket ORDER BY id";
    if major(&mut subscriber) >= 16 {
        applies_as_the_owner_first(&world, &mut subscriber);
    }
    eventually(&world, &mut subscriber, tickets, &["1|a1", "2|a2", "11|b11", "12|b12", "13|b13"]);
    eventually(&world, &mut subscriber, "SELECT count(*) FROM comment", &["5"]);
    rows_under(
        &mut world.app(),
        A,
        "INSERT INTO ticket VALUES (3, 'new'); UPDATE ticket SET title = 'changed' WHERE id = 1; DELETE FROM ticket WHERE id = 2",
    );
    eventually(&world, &mut subscriber, tickets, &["1|changed", "3|new", "11|b11", "12|b12", "13|b13"]);
    assert_eq!(rows(&mut subscriber, "SELECT org FROM seen"), ["-"], "the publisher's context stays there");
    run(&mut publisher, "TRUNCATE ticket, comment");
    eventually(&world, &mut subscriber, "SELECT count(*) FROM ticket", &["0"]);
    run(&mut publisher, &format!("INSERT INTO ticket VALUES (21, 'last', '{B}')"));
    eventually(&world, &mut subscriber, tickets, &["21|last"]);

    let mut app = world.cluster().connect("app", "subscriber").unwrap();
    assert_eq!(rows_under(&mut app, B, tickets), ["21|last"]);
    assert!(rows_under(&mut app, A, tickets).is_empty());
    assert_eq!(one(&mut subscriber, recorded), before, "what the publisher has recorded is not recorded twice");
    run(&mut subscriber, "DROP SUBSCRIPTION all_tickets");
}

/// What an apply worker does to organizations holds in open connections as anybody's doing does.
#[test]
fn a_suspension_arrives() {
    let options = Options::default().line("wal_level = logical").line("max_prepared_transactions = 5");
    let world = World::in_own_cluster(&options);
    let mut publisher = world.superuser();
    run(&mut publisher, "CREATE DATABASE subscriber TEMPLATE test");
    let mut subscriber = world.cluster().connect("postgres", "subscriber").unwrap();
    run(&mut publisher, "CREATE PUBLICATION organizations FOR TABLE orgscope.organization");
    run(&mut publisher, "SELECT pg_create_logical_replication_slot('organizations', 'pgoutput', false, true)");
    let connection = format!("host=127.0.0.1 port={} user=postgres dbname=test", world.cluster().port());
    run(
        &mut subscriber,
        &format!(
            "CREATE SUBSCRIPTION organizations CONNECTION '{connection}' PUBLICATION organizations
             WITH (create_slot = false, slot_name = organizations, copy_data = false, two_phase = true)"
        ),
    );
    let mut app = world.cluster().connect("app", "subscriber").unwrap();
    let count = "SELECT count(*) FROM ticket";
    let active = format!("SELECT is_active FROM orgscope.organization WHERE id = '{A}'");
    let set = |to: &str| format!("UPDATE orgscope.organization SET is_active = {to} WHERE id = '{A}'");
    let prepare = format!("BEGIN; {}; PREPARE TRANSACTION 'p'", set("false"));
    for suspend in [vec![set("false")], vec![prepare, "COMMIT PREPARED 'p'".into()]] {
        begin(&mut app, A);
        assert_eq!(one(&mut app, count), "2");
        suspend.iter().for_each(|statement| run(&mut publisher, statement));
        eventually(&world, &mut subscriber, &active, &["f"]);
        refused(&mut app, "OS004", count);
        run(&mut app, "ROLLBACK");
        run(&mut publisher, &set("true"));
        eventually(&world, &mut subscriber, &active, &["t"]);
    }
    run(&mut subscriber, "DROP SUBSCRIPTION organizations");
}
