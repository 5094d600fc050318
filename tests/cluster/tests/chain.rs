//! Tamper evidence: what a superuser changes behind the audit log's back is found, and what is legitimate is not.

mod common;

use common::*;
use postgres::Client;

/// Verdicts as `organization|verdict|row|sequence|seal`, all chains.
fn verdicts(client: &mut Client) -> Vec<String> {
    rows(
        client,
        "SELECT left(organization_id::text, 1), verdict, row_id, sequence, seal FROM orgscope.verify_audit(NULL)",
    )
}

fn seal(client: &mut Client) -> String {
    one(client, "SELECT orgscope.seal_audit()")
}

/// Two batches: rows 1 to 4 and 5 to 8, each a row of A, B, A, and none.
fn sealed(database: &str) -> World {
    let world = World::without_tables(database);
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

const GOOD: [&str; 3] = ["-|ok|-|-|2", "a|ok|-|-|2", "b|ok|-|-|2"];

/// As a superuser who takes the rules off first.
#[track_caller]
fn tampered(world: &World, sql: &str) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "BEGIN");
    for table in ["audit_log", "audit_seal", "audit_checkpoint"] {
        run(&mut admin, &format!("ALTER TABLE orgscope.{table} DISABLE TRIGGER USER"));
    }
    run(&mut admin, sql);
    let found = verdicts(&mut admin).into_iter().filter(|v| !GOOD.contains(&v.as_str())).collect();
    run(&mut admin, "ROLLBACK");
    found
}

#[test]
fn every_change_is_found() {
    let world = sealed("tampered");
    assert_eq!(verdicts(&mut world.superuser()), GOOD);
    let changed = [
        "at = at - interval '1 microsecond'",
        "action = 'denied'",
        "table_name = 'public.other'",
        "operation = 'UPDATE'",
        "row_count = 2",
        "event_count = 2",
        "actor = ''",
        "login_name = 'postgres'",
        "session_user_name = 'x'",
        "role_name = 'x'",
        "application_name = 'x'",
        "client_addr = '10.0.0.1/31'",
        "txid = '78'",
        "statement = NULL",
        "sqlstate = '00000'",
        "reason = 'x'",
        "detail = '{\"a\": [null], \"b\": 1.5}'",
    ];
    for set in changed {
        let found = tampered(&world, &format!("UPDATE orgscope.audit_log SET {set} WHERE id = 3"));
        assert_eq!(found, ["a|changed|3|2|1"], "{set}");
    }
    let (a, b) = (A, B);
    let cases = [
        ("DELETE FROM orgscope.audit_log WHERE id = 6".into(), vec!["b|missing|6|2|2"]),
        ("DELETE FROM orgscope.audit_log WHERE id = 8".into(), vec!["-|missing|8|2|2"]),
        (
            format!("UPDATE orgscope.audit_log SET organization_id = '{b}' WHERE id = 5"),
            vec!["a|missing|5|3|2", "b|added|5|-|-"],
        ),
        (
            "UPDATE orgscope.audit_log SET organization_id = NULL WHERE id = 2".into(),
            vec!["-|added|2|-|-", "b|missing|2|1|1"],
        ),
        (
            "DELETE FROM orgscope.audit_seal WHERE number = 1".into(),
            vec!["-|seal missing|-|-|1", "a|seal missing|-|-|1", "b|seal missing|-|-|1"],
        ),
        (format!("DELETE FROM orgscope.audit_seal WHERE number = 2 AND chain = '{a}'"), vec!["a|added|5|-|-"]),
        (
            format!(
                "UPDATE orgscope.audit_seal SET sealed_at = sealed_at - interval '1 s' WHERE number = 2 AND chain = '{a}'"
            ),
            vec!["a|seal broken|-|-|2"],
        ),
        (
            format!("UPDATE orgscope.audit_seal SET row_ids = '{{1}}' WHERE number = 1 AND chain = '{a}'"),
            vec!["a|seal broken|-|-|1"],
        ),
        (
            format!("UPDATE orgscope.audit_seal SET row_ids = '{{1,NULL}}' WHERE number = 1 AND chain = '{a}'"),
            vec!["a|seal broken|-|-|1"],
        ),
        (
            format!("UPDATE orgscope.audit_seal SET digest = '' WHERE number = 2 AND chain = '{a}'"),
            vec!["a|seal broken|-|-|2"],
        ),
        (
            format!("UPDATE orgscope.audit_seal SET salt = previous WHERE number = 1 AND chain = '{a}'"),
            vec!["a|seal broken|-|-|1"],
        ),
        // A purge by hand.
        (
            format!(
                "DELETE FROM orgscope.audit_log WHERE id IN (1, 3);
                     WITH s AS (DELETE FROM orgscope.audit_seal WHERE chain = '{a}' AND number = 1 RETURNING *)
                     INSERT INTO orgscope.audit_checkpoint (chain, number, digest, sequence, last_id, record_id)
                     SELECT chain, number, digest, 2, last_id, 5 FROM s"
            ),
            vec!["a|checkpoint|-|-|1"],
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(tampered(&world, &sql), expected, "{sql}");
    }
    // A row that is put back among the old ones, under an id that was taken once, and the contents of two rows swapped.
    let swap = "CREATE TEMP TABLE t AS SELECT * FROM orgscope.audit_log WHERE id IN (1, 5);
        DELETE FROM orgscope.audit_log WHERE id IN (1, 5);
        UPDATE t SET id = 6 - id; INSERT INTO orgscope.audit_log OVERRIDING SYSTEM VALUE SELECT * FROM t";
    assert_eq!(tampered(&world, swap), ["a|changed|1|1|1"]);
    let backdated = format!(
        "INSERT INTO orgscope.audit_log (id, at, organization_id, action) OVERRIDING SYSTEM VALUE VALUES (-3, '2020-01-01', '{B}', 'denied')"
    );
    assert_eq!(tampered(&world, &backdated), ["b|added|-3|-|-"]);
    assert_eq!(verdicts(&mut world.superuser()), GOOD);
}

#[test]
fn transactions_may_end_in_any_order() {
    let world = World::without_tables("out_of_order");
    let (mut first, mut second, mut admin) = (world.superuser(), world.superuser(), world.superuser());
    let add =
        |org: &str| format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{org}', 'denied')");
    run(&mut first, &format!("BEGIN; {}; {}", add(A), add(B)));
    run(&mut second, &format!("BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s; {}", add(A), add(A), add(B)));
    run(&mut admin, &add(A));
    let gaps = "SELECT first_id, last_id FROM orgscope.audit_gap ORDER BY 1";
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
    assert_eq!(seal(&mut admin), "0");
    assert_eq!(rows(&mut admin, gaps), [""; 0]);
    assert_eq!(
        rows(
            &mut admin,
            "SELECT left(chain::text, 1), number, first_sequence, row_ids FROM orgscope.audit_seal ORDER BY chain, number"
        ),
        ["a|1|1|{6}", "a|2|2|{3}", "a|3|3|{1}", "b|1|1|{5}", "b|2|2|{2,7}"]
    );
    assert_eq!(verdicts(&mut admin), ["a|ok|-|-|3", "b|ok|-|-|2"]);
    // In a gap that is closed a row is no longer expected.
    run(
        &mut admin,
        &format!(
            "INSERT INTO orgscope.audit_log (id, organization_id, action) OVERRIDING SYSTEM VALUE VALUES (4, '{A}', 'x')"
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
    refused_under(&mut app, A, "42501", "SELECT * FROM orgscope.audit_gap");
    for call in ["seal_audit()", "purge_audit_log(now())"] {
        for user in ["app", "owner", "dba"] {
            refused(&mut world.connect(user), "42501", &format!("SELECT orgscope.{call}"));
        }
    }
    for table in ["audit_seal", "audit_checkpoint"] {
        refused(&mut world.superuser(), "OS008", &format!("DELETE FROM orgscope.{table}"));
        refused(&mut world.superuser(), "OS008", &format!("TRUNCATE orgscope.{table}"));
    }
}

#[test]
fn a_chain_does_not_depend_on_settings() {
    let world = sealed("settings_apart");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "SET datestyle = 'German'; SET timezone = 'Asia/Kathmandu'; SET client_encoding = 'LATIN1'; SET bytea_output = 'escape';
         SET intervalstyle = 'iso_8601'; SET extra_float_digits = 0; SET search_path = ''",
    );
    assert_eq!(verdicts(&mut admin), GOOD);
    run(
        &mut admin,
        "INSERT INTO orgscope.audit_log (action, at) VALUES ('denied', 'infinity'), ('denied', '0044-03-15 BC'), ('denied', '2026-10-25 00:30:00.000001+00')",
    );
    assert_eq!(seal(&mut admin), "3");
    assert_eq!(verdicts(&mut world.superuser())[0], "-|ok|-|-|3");
    // A long statement is stored out of line.
    run(
        &mut admin,
        "INSERT INTO orgscope.audit_log (action, statement) SELECT 'denied', string_agg(md5(i::text), '') FROM generate_series(1, 9000) i",
    );
    assert_eq!(seal(&mut admin), "1");
    run(&mut admin, "VACUUM FULL orgscope.audit_log");
    run(&mut admin, "VACUUM FULL orgscope.audit_seal");
    assert_eq!(verdicts(&mut world.superuser())[0], "-|ok|-|-|4");
}

#[test]
fn dump_and_restore_keep_chains() {
    let world = sealed("chain_dumped");
    let mut admin = world.superuser();
    // This month has rows in the default partition, and stays there.
    assert_eq!(one(&mut admin, "SELECT orgscope.make_audit_partitions()"), "1");
    run(
        &mut admin,
        "INSERT INTO orgscope.audit_log (action, at) VALUES ('denied', now() + interval '1 month'), ('denied', now())",
    );
    seal(&mut admin);
    run(&mut admin, "SELECT orgscope.purge_audit_log('infinity')");
    run(
        &mut admin,
        &format!(
            "INSERT INTO orgscope.audit_log (organization_id, action, statement) VALUES ('{A}', 'denied', 'größer')"
        ),
    );
    seal(&mut admin);
    // Under way while the dump is made.
    let mut late = world.superuser();
    run(
        &mut late,
        &format!("BEGIN; INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{B}', 'denied')"),
    );
    run(&mut admin, &format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied')"));
    seal(&mut admin);
    run(&mut admin, &format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied')"));
    let before = verdicts(&mut admin);
    let digests = rows(&mut admin, "SELECT * FROM orgscope.audit_digest(NULL)");
    for (name, encoding) in [("chain_restored", "UTF8"), ("chain_latin1", "LATIN1")] {
        run(
            &mut world.cluster().connect("postgres", "postgres").unwrap(),
            &format!("CREATE DATABASE {name} ENCODING {encoding} TEMPLATE template0"),
        );
        let dump = world.cluster().scratch_directory(name).unwrap().join("dump");
        let made =
            world.cluster().command("pg_dump").args(["-Fc", "-d", "chain_dumped", "-f"]).arg(&dump).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let restored = world.cluster().command("pg_restore").args(["-e", "-d", name]).arg(&dump).output().unwrap();
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        let mut client = world.cluster().connect("postgres", name).unwrap();
        assert_eq!(verdicts(&mut client), before, "{name}");
        assert_eq!(rows(&mut client, "SELECT * FROM orgscope.audit_digest(NULL)"), digests);
        assert_eq!(seal(&mut client), "1");
        assert!(verdicts(&mut client).iter().all(|v| v.contains("|ok|")));
    }
}

#[test]
fn a_purge_leaves_a_chain_that_verifies() {
    let world = sealed("purged");
    let mut admin = world.superuser();
    let count = "SELECT count(*) FROM orgscope.audit_log";
    assert_eq!(one(&mut admin, "SELECT orgscope.purge_audit_log('-infinity')"), "0");
    assert_eq!(one(&mut admin, count), "8", "what purges nothing records nothing");
    // Only whole seals: the second batch of A stays for its second row.
    let between = one(&mut admin, "SELECT at FROM orgscope.audit_log WHERE id = 7");
    run(&mut admin, "SET orgscope.actor = 'auditor'; SET orgscope.reason = 'retention'");
    assert_eq!(one(&mut admin, &format!("SELECT orgscope.purge_audit_log('{between}')")), "5");
    let record = "SELECT id, left(organization_id::text, 1), action, operation, row_count, actor, reason, login_name, detail ->> 'seal', detail -> 'verified' ->> 'verdict'
        FROM orgscope.audit_log WHERE action = 'lifecycle' ORDER BY id";
    assert_eq!(
        rows(&mut admin, record),
        [
            "9|-|lifecycle|PURGE|1|auditor|retention|postgres|1|ok",
            "10|a|lifecycle|PURGE|2|auditor|retention|postgres|1|ok",
            "11|b|lifecycle|PURGE|2|auditor|retention|postgres|2|ok"
        ]
    );
    assert_eq!(verdicts(&mut admin), ["-|ok|-|-|2", "a|ok|-|-|2", "b|ok|-|-|2"]);
    seal(&mut admin);
    assert_eq!(verdicts(&mut admin), ["-|ok|-|-|3", "a|ok|-|-|3", "b|ok|-|-|3"]);
    assert_eq!(
        rows(&mut admin, "SELECT left(organization_id::text, 1), seal, sequence FROM orgscope.audit_digest(NULL)"),
        ["-|3|3", "a|3|5", "b|3|3"],
        "the sequence goes on"
    );
    // The rule is back.
    refused(&mut admin, "OS008", "DELETE FROM orgscope.audit_log");
    // What was changed before is on record when it is purged.
    run(
        &mut admin,
        "ALTER TABLE orgscope.audit_log DISABLE TRIGGER audit_immutable; UPDATE orgscope.audit_log SET reason = 'x' WHERE id = 5",
    );
    run(
        &mut admin,
        "ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_immutable; SELECT orgscope.purge_audit_log('infinity')",
    );
    assert_eq!(
        rows(&mut admin, "SELECT left(organization_id::text, 1), detail -> 'verified' ->> 'verdict', detail -> 'verified' ->> 'row_id'
            FROM orgscope.audit_log WHERE operation = 'PURGE' AND organization_id IS NOT NULL ORDER BY id"),
        ["a|changed|5", "b|ok|-"]
    );
    assert!(verdicts(&mut admin).iter().all(|v| v.contains("|ok|")));
    // Its record, too, must not be lost.
    run(&mut admin, "ALTER TABLE orgscope.audit_log DISABLE TRIGGER audit_immutable");
    run(&mut admin, &format!("DELETE FROM orgscope.audit_log WHERE organization_id = '{B}'"));
    assert!(verdicts(&mut admin).contains(&"b|checkpoint|-|-|3".into()));
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

const MAKE: &str = "SELECT orgscope.make_audit_partitions()";
const PARTITIONS: &str = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'orgscope.audit_log'::regclass ORDER BY 1";

#[test]
fn months_have_partitions_that_are_as_closed_as_the_table() {
    let world = World::new("months");
    let mut admin = world.superuser();
    run(&mut admin, "ALTER DEFAULT PRIVILEGES IN SCHEMA orgscope GRANT ALL ON TABLES TO app, dba, PUBLIC");
    assert_eq!(one(&mut admin, MAKE), "2");
    assert_eq!(one(&mut admin, MAKE), "0");
    let partitions = rows(&mut admin, PARTITIONS);
    assert_eq!(partitions.len(), 3);
    run(&mut admin, "UPDATE ticket SET title = 'x' WHERE id = 1");
    let month = format!("orgscope.{}", partitions[0]);
    assert_eq!(rows(&mut admin, &format!("SELECT operation FROM {month}")), ["UPDATE"], "making them is no drift");
    assert_eq!(seal(&mut admin), "1");
    for partition in &partitions {
        for change in
            ["UPDATE orgscope.{} SET reason = 'x' WHERE false", "DELETE FROM orgscope.{}", "TRUNCATE orgscope.{}"]
        {
            refused(&mut admin, "OS008", &change.replace("{}", partition));
        }
        for user in ["app", "dba"] {
            for sql in [
                "SELECT * FROM orgscope.{}",
                "INSERT INTO orgscope.{} (action) VALUES ('x')",
                "DELETE FROM orgscope.{}",
            ] {
                refused(&mut world.connect(user), "42501", &sql.replace("{}", partition));
            }
        }
        // Granted by hand, row security still holds.
        run(&mut admin, &format!("GRANT SELECT ON orgscope.{partition} TO app"));
        assert_eq!(rows_under(&mut world.app(), A, &format!("SELECT id FROM orgscope.{partition}")), [""; 0]);
    }
    assert_eq!(rows_under(&mut world.app(), A, "SELECT operation FROM orgscope.audit_log"), ["UPDATE"]);
    // What weakens one is on record.
    run(&mut admin, &format!("ALTER TABLE {month} DISABLE TRIGGER audit_immutable; DELETE FROM {month} WHERE id = 1"));
    run(&mut admin, &format!("ALTER TABLE orgscope.audit_log DETACH PARTITION orgscope.{}", partitions[1]));
    assert_eq!(
        rows(
            &mut admin,
            "SELECT operation, detail -> 'objects' FROM orgscope.audit_log WHERE action = 'ddl' ORDER BY id"
        ),
        [format!("ALTER TABLE|[\"{month}\"]"), "ALTER TABLE|[\"orgscope.audit_log\"]".into()]
    );
    assert!(verdicts(&mut admin).contains(&"a|missing|1|1|1".into()));
}

#[test]
fn nobody_waits_for_a_partition_and_it_goes_with_the_extension() {
    let world = World::without_tables("months_dropped");
    let (mut admin, mut reader) = (world.superuser(), world.superuser());
    run(&mut reader, "BEGIN; SELECT FROM orgscope.audit_log");
    assert_eq!(one(&mut admin, MAKE), "0");
    run(&mut reader, "ROLLBACK");
    assert_eq!(one(&mut admin, MAKE), "2");
    for user in ["app", "owner", "dba"] {
        refused(&mut world.connect(user), "42501", MAKE);
    }
    run(&mut admin, "DROP EXTENSION orgscope");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM pg_class WHERE relname LIKE 'audit_log%'"), "0");
}
