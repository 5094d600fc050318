//! Tamper evidence: what a superuser changes behind the audit log's back is found, and what is legitimate is not.

#[path = "../common/mod.rs"]
mod common;
mod kept;
mod tamper;

use common::*;
use postgres::Client;

/// Verdicts as `organization|verdict|row|sequence|seal`, all chains.
pub fn verdicts(client: &mut Client) -> Vec<String> {
    rows(
        client,
        "SELECT left(organization_id::text, 1), verdict, public.number(row_id), sequence, seal FROM orgscope.verify_audit(NULL)",
    )
}

pub fn seal(client: &mut Client) -> String {
    one(client, "SELECT orgscope.seal_audit()")
}

pub fn world(database: &str) -> World {
    let world = World::without_tables(database);
    number_ids(&world);
    world
}

/// `nth(1)` is the first id, whose number is `number(id)`: they begin with the clock.
pub fn number_ids(world: &World) {
    let mut admin = world.superuser();
    let first: i64 =
        one(&mut admin, "SELECT seqstart FROM pg_sequence WHERE seqrelid = 'orgscope.audit_log_id_seq'::regclass")
            .parse()
            .unwrap();
    run(
        &mut admin,
        &format!(
            "CREATE FUNCTION nth(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {first} - 1 + n';
             CREATE FUNCTION number(id bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT id - {first} + 1'"
        ),
    );
}

/// Two batches: rows 1 to 4 and 5 to 8, each a row of A, B, A, and none.
pub fn sealed(database: &str) -> World {
    let world = world(database);
    let mut admin = world.superuser();
    for batch in 1..=2 {
        for org in [format!("'{A}'"), format!("'{B}'"), format!("'{A}'"), "NULL".into()] {
            run(
                &mut admin,
                &format!(
                    "INSERT INTO orgscope.audit_log (organization_id, action, table_name, row_count, login_name, client_addr, txid, statement, detail)
                     VALUES ({org}, 'bypass_write', 'public.ticket', {batch}, 'dba', '10.0.0.1', '77', 'UPDATE ä', '{{\"b\": 1.50, \"a\": [null]}}')"
                ),
            );
        }
        assert_eq!(seal(&mut admin), "4");
    }
    world
}

pub const GOOD: [&str; 3] = ["-|ok|-|-|2", "a|ok|-|-|2", "b|ok|-|-|2"];

#[test]
fn transactions_may_end_in_any_order() {
    let world = world("out_of_order");
    let (mut first, mut second, mut admin) = (world.superuser(), world.superuser(), world.superuser());
    let add =
        |org: &str| format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{org}', 'denied')");
    run(&mut first, &format!("BEGIN; {}; {}", add(A), add(B)));
    run(&mut second, &format!("BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s; {}", add(A), add(A), add(B)));
    run(&mut admin, &add(A));
    let gaps = "SELECT public.number(first_id), number(last_id) FROM orgscope.audit_gap ORDER BY 1";
    assert_eq!(seal(&mut admin), "1");
    assert_eq!(rows(&mut admin, gaps), ["1|5"]);
    assert_eq!(verdicts(&mut admin), ["a|ok|-|-|1"]);
    run(&mut second, "COMMIT");
    assert_eq!(verdicts(&mut admin), ["a|ok|-|-|1", "b|ok|-|-|-"], "committed, and not sealed yet");
    assert_eq!(
        rows(&mut admin, "SELECT left(organization_id::text, 1), unsealed FROM orgscope.verify_audit()"),
        ["a|1", "b|1"]
    );
    assert_eq!(seal(&mut admin), "2");
    assert_eq!(rows(&mut admin, gaps), ["1|2", "4|4"], "4 was rolled back, but the first transaction is as old");
    run(&mut first, "COMMIT");
    run(&mut admin, &add(B));
    assert_eq!(seal(&mut admin), "3");
    // A transaction of another test may be as old as the gap.
    let started = std::time::Instant::now();
    while rows(&mut admin, gaps) != [""; 0] {
        assert!(started.elapsed().as_secs() < 60);
        assert_eq!(seal(&mut admin), "0");
    }
    assert_eq!(
        rows(
            &mut admin,
            "SELECT left(chain::text, 1), audit_seal.number, first_sequence, ARRAY(SELECT number(id) FROM unnest(row_ids) id)
             FROM orgscope.audit_seal ORDER BY chain, audit_seal.number"
        ),
        ["a|1|1|{6}", "a|2|2|{3}", "a|3|3|{1}", "b|1|1|{5}", "b|2|2|{2,7}"]
    );
    assert_eq!(verdicts(&mut admin), ["a|ok|-|-|3", "b|ok|-|-|2"]);
    // In a gap that is closed a row is no longer expected.
    run(
        &mut admin,
        &format!(
            "INSERT INTO orgscope.audit_log (id, organization_id, action) OVERRIDING SYSTEM VALUE VALUES (nth(4), '{A}', 'x')"
        ),
    );
    assert_eq!(verdicts(&mut admin), ["a|added|4|-|-", "b|ok|-|-|2"]);
}

#[test]
fn sealers_take_turns() {
    let world = World::without_tables("two_sealers");
    let mut admin = world.superuser();
    run(
        &mut admin,
        &format!(
            "INSERT INTO orgscope.audit_log (organization_id, action) SELECT '{A}', 'denied' FROM generate_series(1, 25000)"
        ),
    );
    let sealers: Vec<_> = (0..3).map(|_| world.superuser()).collect();
    let total: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> =
            sealers.into_iter().map(|mut c| scope.spawn(move || seal(&mut c).parse::<u64>().unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(total, 25000);
    assert_eq!(
        rows(&mut admin, "SELECT verdict, rows, seals, unsealed FROM orgscope.verify_audit(NULL)"),
        ["ok|25000|3|0"]
    );
}

#[test]
fn a_tenant_verifies_its_own_chain_alone() {
    let world = sealed("own_chain");
    let mut app = world.app();
    let verify = "SELECT left(organization_id::text, 1), verdict, rows, seals FROM orgscope.verify_audit()";
    assert_eq!(rows_under(&mut app, A, verify), ["a|ok|4|2"]);
    assert_eq!(rows_under(&mut app, B, verify), ["b|ok|2|2"]);
    refused(&mut app, "OS001", verify);
    for other in ["NULL".into(), format!("'{B}'"), "'00000000-0000-0000-0000-000000000000'".into()] {
        refused_under(&mut app, A, "OS002", &format!("SELECT * FROM orgscope.verify_audit({other})"));
    }
    let digest =
        "SELECT left(organization_id::text, 1), seal, sequence, length(digest) FROM orgscope.audit_digest(NULL)";
    assert_eq!(rows_under(&mut app, A, digest), ["a|2|4|64"]);
    assert_eq!(rows(&mut app, digest), [""; 0]);
    assert_eq!(rows(&mut world.dba(), digest), ["-|2|2|64", "a|2|4|64", "b|2|2|64"]);
    assert_eq!(verdicts(&mut world.dba()), GOOD);
    assert_eq!(rows_under(&mut app, A, "SELECT number FROM orgscope.audit_seal ORDER BY 1"), ["1", "2"]);
    for hidden in ["salt", "row_digests", "row_ids"] {
        refused_under(&mut app, A, "42501", &format!("SELECT {hidden} FROM orgscope.audit_seal"));
    }
    for table in ["audit_gap", "audit_beginning"] {
        refused_under(&mut app, A, "42501", &format!("SELECT * FROM orgscope.{table}"));
    }
    for call in ["seal_audit()", "purge_audit_log(now())"] {
        for user in ["app", "owner", "dba"] {
            refused(&mut world.connect(user), "42501", &format!("SELECT orgscope.{call}"));
        }
    }
    for table in ["audit_seal", "audit_checkpoint", "audit_installation", "audit_beginning"] {
        refused(&mut world.superuser(), "OS008", &format!("DELETE FROM orgscope.{table}"));
        refused(&mut world.superuser(), "OS008", &format!("TRUNCATE orgscope.{table}"));
    }
}

#[test]
fn each_seal_is_in_the_server_log_once_it_is_committed() {
    let world = sealed("anchored");
    let mut admin = world.superuser();
    let lines = || {
        let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
        let of = |line: &&str| line.contains("orgscope audit seal") && line.contains("\"anchored\"");
        log.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = lines();
    assert_eq!(before.len(), 6);
    let add = format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied')");
    run(&mut admin, &format!("BEGIN; {add}; SELECT orgscope.seal_audit(); ROLLBACK"));
    run(&mut admin, &format!("BEGIN; SAVEPOINT s; {add}; SELECT orgscope.seal_audit(); ROLLBACK TO s; COMMIT"));
    assert_eq!(lines().len(), 6);
    run(&mut admin, &format!("BEGIN; SAVEPOINT s; {add}; SELECT orgscope.seal_audit(); RELEASE s"));
    assert_eq!(lines().len(), 6);
    run(&mut admin, "COMMIT");
    let last = lines().split_off(6);
    assert_eq!(last.len(), 1);
    assert!(last[0].contains("LOG:"), "{}", last[0]);
    let json: String = last[0].split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap();
    let digest = one(&mut admin, &format!("SELECT digest FROM orgscope.audit_digest('{A}')"));
    let fields = format!(
        "SELECT j ->> 'organization_id', j ->> 'seal', j ->> 'sequence', j ->> 'digest' FROM CAST('{json}' AS jsonb) j"
    );
    assert_eq!(rows(&mut admin, &fields), [format!("{A}|3|5|{digest}")]);
}

#[test]
fn an_id_taken_before_the_transaction_had_a_number_is_waited_for() {
    let world = world("numbered");
    let (mut slow, mut admin) = (world.superuser(), world.superuser());
    let add = "INSERT INTO orgscope.audit_log (action) VALUES ('denied')";
    run(&mut admin, add);
    run(&mut admin, "SELECT pg_advisory_lock(4711)");
    // Its id is taken when it comes to wait for the lock.
    let slow = std::thread::spawn(move || {
        run(
            &mut slow,
            "BEGIN; INSERT INTO orgscope.audit_log (action) VALUES ((pg_advisory_xact_lock(4711) IS NULL)::text)",
        );
        slow
    });
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4711";
    while one(&mut admin, waiting) == "0" {
        assert!(!slow.is_finished());
    }
    assert_eq!(one(&mut admin, "SELECT number(last_value) FROM orgscope.audit_log_id_seq"), "2");
    run(&mut admin, add);
    assert_eq!(seal(&mut admin), "2");
    run(&mut admin, "SELECT pg_advisory_unlock(4711)");
    let mut slow = slow.join().unwrap();
    assert_eq!(seal(&mut admin), "0");
    run(&mut slow, "COMMIT");
    assert_eq!(seal(&mut admin), "1");
    assert_eq!(verdicts(&mut admin), ["-|ok|-|-|2"]);
}

/// Sealed is what comes from the installation's first id on, whatever becomes of the sequence.
#[test]
fn another_start_of_the_sequence_takes_nothing_out_of_the_chain() {
    let world = sealed("moved_start");
    let mut admin = world.superuser();
    let add = "INSERT INTO orgscope.audit_log (action) VALUES ('denied')";
    for start in ["9000000000000000", "1"] {
        run(&mut admin, &format!("ALTER SEQUENCE orgscope.audit_log_id_seq START WITH {start}"));
        run(&mut admin, add);
        let unsealed = "SELECT unsealed_since IS NOT NULL FROM orgscope.stats";
        assert_eq!((one(&mut admin, unsealed).as_str(), seal(&mut admin).as_str()), ("t", "2"), "and the DDL's record");
        assert_eq!(one(&mut admin, unsealed), "f");
    }
    assert_eq!(verdicts(&mut admin), ["-|ok|-|-|4", "a|ok|-|-|2", "b|ok|-|-|2"]);
    refused(&mut admin, "OS008", "UPDATE orgscope.audit_installation SET first_id = 1");
    refused(&mut admin, "23505", "INSERT INTO orgscope.audit_installation (first_id) VALUES (1)");
}
