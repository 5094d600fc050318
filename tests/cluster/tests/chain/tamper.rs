//! What a superuser changes behind the rules is found; what a purge takes away is on record.

use crate::common::*;
use crate::*;

/// As a superuser who takes the rules off first.
#[track_caller]
fn tampered(world: &World, sql: &str) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "BEGIN");
    for table in ["audit_log", "audit_seal", "audit_checkpoint"] {
        run(&mut admin, &format!("ALTER TABLE orgscope.{table} DISABLE TRIGGER USER"));
    }
    run(&mut admin, sql);
    // That the rules were taken off is on record, in nobody's chain, although it is rolled back.
    let found = verdicts(&mut admin).into_iter().filter(|v| !v.contains("|ok|")).collect();
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
        let found = tampered(&world, &format!("UPDATE orgscope.audit_log SET {set} WHERE id = nth(3)"));
        assert_eq!(found, ["a|changed|3|2|1"], "{set}");
    }
    let (a, b) = (A, B);
    let cases = [
        ("DELETE FROM orgscope.audit_log WHERE id = nth(6)".into(), vec!["b|missing|6|2|2"]),
        ("DELETE FROM orgscope.audit_log WHERE id = nth(8)".into(), vec!["-|missing|8|2|2"]),
        (
            format!("UPDATE orgscope.audit_log SET organization_id = '{b}' WHERE id = nth(5)"),
            vec!["a|missing|5|3|2", "b|added|5|-|-"],
        ),
        (
            "UPDATE orgscope.audit_log SET organization_id = NULL WHERE id = nth(2)".into(),
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
            format!("UPDATE orgscope.audit_seal SET row_ids = ARRAY[nth(1)] WHERE number = 1 AND chain = '{a}'"),
            vec!["a|seal broken|-|-|1"],
        ),
        (
            format!("UPDATE orgscope.audit_seal SET row_ids = ARRAY[nth(1), NULL] WHERE number = 1 AND chain = '{a}'"),
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
        (
            format!("UPDATE orgscope.audit_seal SET installation = 2 WHERE chain = '{a}'"),
            vec!["a|seal broken|-|-|1"],
        ),
        // A purge by hand.
        (
            format!(
                "DELETE FROM orgscope.audit_log WHERE id IN (nth(1), nth(3));
                     WITH s AS (DELETE FROM orgscope.audit_seal WHERE chain = '{a}' AND number = 1 RETURNING *)
                     INSERT INTO orgscope.audit_checkpoint (chain, installation, number, digest, sequence, last_id, record_id)
                     SELECT chain, installation, number, digest, 2, last_id, nth(5) FROM s"
            ),
            vec!["a|checkpoint|-|-|1"],
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(tampered(&world, &sql), expected, "{sql}");
    }
    // A row that is put back among the old ones, under an id that was taken once, and the contents of two rows swapped.
    let swap = "CREATE TEMP TABLE t AS SELECT * FROM orgscope.audit_log WHERE id IN (nth(1), nth(5));
        DELETE FROM orgscope.audit_log WHERE id IN (nth(1), nth(5));
        UPDATE t SET id = nth(6 - number(id)); INSERT INTO orgscope.audit_log OVERRIDING SYSTEM VALUE SELECT * FROM t";
    assert_eq!(tampered(&world, swap), ["a|changed|1|1|1"]);
    let backdated = format!(
        "INSERT INTO orgscope.audit_log (id, at, organization_id, action) OVERRIDING SYSTEM VALUE VALUES (nth(-3), '2020-01-01', '{B}', 'denied')"
    );
    assert_eq!(tampered(&world, &backdated), ["b|added|-3|-|-"]);
    let left = verdicts(&mut world.superuser());
    assert!(left.len() == 3 && left.iter().all(|v| v.contains("|ok|")), "{left:?}");
}

#[test]
fn a_purge_leaves_a_chain_that_verifies() {
    let world = sealed("purged");
    let mut admin = world.superuser();
    let count = "SELECT count(*) FROM orgscope.audit_log";
    assert_eq!(one(&mut admin, "SELECT orgscope.purge_audit_log('-infinity')"), "0");
    assert_eq!(one(&mut admin, count), "8", "what purges nothing records nothing");
    // Only whole seals: the second batch of A stays for its second row.
    let between = one(&mut admin, "SELECT at FROM orgscope.audit_log WHERE id = nth(7)");
    run(&mut admin, "SET orgscope.actor = 'auditor'; SET orgscope.reason = 'retention'");
    assert_eq!(one(&mut admin, &format!("SELECT orgscope.purge_audit_log('{between}')")), "5");
    let record = "SELECT number(id), left(organization_id::text, 1), action, operation, row_count, actor, reason, login_name, detail ->> 'seal', detail -> 'verified' ->> 'verdict'
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
        "ALTER TABLE orgscope.audit_log DISABLE TRIGGER audit_immutable; UPDATE orgscope.audit_log SET reason = 'x' WHERE id = nth(5)",
    );
    run(
        &mut admin,
        "ALTER TABLE orgscope.audit_log ENABLE ALWAYS TRIGGER audit_immutable; SELECT orgscope.purge_audit_log('infinity')",
    );
    assert_eq!(
        rows(&mut admin, "SELECT left(organization_id::text, 1), detail -> 'verified' ->> 'verdict', number((detail -> 'verified' ->> 'row_id')::bigint)
            FROM orgscope.audit_log WHERE operation = 'PURGE' AND organization_id IS NOT NULL ORDER BY id"),
        ["a|changed|5", "b|ok|-"]
    );
    assert!(verdicts(&mut admin).iter().all(|v| v.contains("|ok|")));
    // Its record, too, must not be lost.
    run(&mut admin, "ALTER TABLE orgscope.audit_log DISABLE TRIGGER audit_immutable");
    run(&mut admin, &format!("DELETE FROM orgscope.audit_log WHERE organization_id = '{B}'"));
    assert!(verdicts(&mut admin).contains(&"b|checkpoint|-|-|3".into()));
}
