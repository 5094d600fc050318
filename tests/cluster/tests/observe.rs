//! Observe mode: scoping is installed, nothing is refused or hidden, and what enforcing would do is on record.

mod common;

use common::*;

const OBSERVE: &str = "SELECT orgscope.enable_org_scoping('item', options => '{\"mode\": \"observe\"}')";
const ENFORCE: &str = "SELECT orgscope.enable_org_scoping('item', options => '{\"mode\": \"enforce\"}')";

/// Items 1 and 2 of A, 3 of B, 4 of nobody; a team's unique code.
const ITEMS: &str = "
    CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, organization_id uuid);
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON item TO app, dba;
    INSERT INTO item VALUES (1, 'a', 'aaaaaaaa-0000-7000-8000-000000000001'),
        (2, 'b', 'aaaaaaaa-0000-7000-8000-000000000001'), (3, 'c', 'bbbbbbbb-0000-7000-8000-000000000002'), (4, 'd', NULL)";

fn world(database: &str) -> World {
    let world = World::without_tables(database);
    run(&mut world.owner(), ITEMS);
    run(&mut world.owner(), OBSERVE);
    world
}

/// What was observed, one line for each row of the audit log.
fn observed(world: &World) -> Vec<String> {
    rows(
        &mut world.superuser(),
        "SELECT concat_ws(' ', operation, detail ->> 'why', event_count, row_count, sqlstate, role_name, left(organization_id::text, 1))
         FROM orgscope.audit_log WHERE action = 'observed' ORDER BY id",
    )
}

const READINESS: &str = "SELECT ready, reads_without_context, writes_without_context, wrong_organization_writes,
    null_organizations, truncates, context_changes FROM orgscope.scoping_readiness()";

/// Every statement that enforcing would refuse succeeds with its whole effect, and is on record as what it would break.
#[test]
fn what_enforcing_would_refuse_succeeds_and_is_recorded() {
    let world = world("observe_refuse");
    let mut app = world.app();
    let cases: &[(&str, &str, &str)] = &[
        ("", "SELECT * FROM item", "SELECT no context 1 OS001 app"),
        ("", "SELECT * FROM item WHERE false OR id = -1", "SELECT no context 1 OS001 app"),
        (
            "",
            "INSERT INTO item VALUES (10, 'x', 'aaaaaaaa-0000-7000-8000-000000000001')",
            "INSERT no context 1 OS001 app",
        ),
        ("", "UPDATE item SET code = code WHERE id < 4", "UPDATE no context 1 OS001 app"),
        ("", "DELETE FROM item WHERE id = 10", "DELETE no context 1 OS001 app"),
        (B, "UPDATE item SET code = 'B' WHERE id IN (2, 3)", "UPDATE wrong organization 1 1 OS002 app b"),
        (
            B,
            "INSERT INTO item VALUES (11, 'y', 'aaaaaaaa-0000-7000-8000-000000000001')",
            "INSERT wrong organization 1 1 OS002 app b",
        ),
        (B, "DELETE FROM item WHERE id = 11", "DELETE wrong organization 1 1 OS002 app b"),
        (
            A,
            "UPDATE item SET organization_id = 'bbbbbbbb-0000-7000-8000-000000000002' WHERE id = 1",
            "UPDATE wrong organization 1 1 OS002 app a",
        ),
        (A, "TRUNCATE item", "TRUNCATE truncate 1 OS002 app a"),
        ("", "TRUNCATE item", "TRUNCATE truncate 1 OS001 app"),
    ];
    let mut expected = Vec::new();
    run(
        &mut world.owner(),
        ENFORCE.replace("\"mode\"", "\"backfill\": \"aaaaaaaa-0000-7000-8000-000000000001\", \"mode\"").as_str(),
    );
    let enforced: Vec<_> = cases
        .iter()
        .map(|(org, sql, _)| {
            let result = if org.is_empty() { query(&mut app, sql) } else { under(&mut app, org, sql) };
            result.map_or_else(|e| code(&e), |_| "00000".into())
        })
        .collect();
    run(&mut world.owner(), OBSERVE);
    for ((org, sql, record), enforced) in cases.iter().zip(enforced) {
        let result = if org.is_empty() { query(&mut app, sql) } else { under(&mut app, org, sql) };
        assert!(result.is_ok(), "{sql}: {result:?}");
        expected.push((*record).to_owned());
        assert_eq!(observed(&world), expected, "{sql}");
        // Row security hides rows where enforcing refuses nothing.
        assert!(record.contains(&enforced) || enforced == "00000", "{sql}: {enforced}");
    }
    let readiness = rows(&mut world.owner(), READINESS);
    assert_eq!(readiness, ["f|2|3|4|0|2|0"]);
}

#[test]
fn nothing_is_hidden_and_a_context_is_no_observation() {
    let world = world("observe_open");
    let mut app = world.app();
    assert_eq!(rows_under(&mut app, A, "SELECT count(*) FROM item"), ["4"]);
    run(&mut app, "BEGIN; SET LOCAL orgscope.current_org = 'aaaaaaaa-0000-7000-8000-000000000001';
        INSERT INTO item (id) VALUES (20); UPDATE item SET code = 'z' WHERE id = 20; DELETE FROM item WHERE id = 20; COMMIT");
    assert_eq!(observed(&world), [""; 0]);
    assert_eq!(rows(&mut world.owner(), READINESS), ["t|0|0|0|0|0|0"]);
    assert_eq!(one(&mut app, "SELECT count(*) FROM item"), "4");
    assert_eq!(one(&mut world.owner(), "SELECT count(*) FROM item"), "4", "its owner sees all, and is observed too");
    assert_eq!(observed(&world), ["SELECT no context 1 OS001 app", "SELECT no context 1 OS001 owner"]);
}

/// A NULL organization is filled from the context, and where there is none goes in and is counted, row by row.
#[test]
fn rows_of_nobody_are_counted() {
    let world = world("observe_null");
    let mut app = world.app();
    run(&mut app, "INSERT INTO item (id) SELECT generate_series(30, 34)");
    assert_eq!(observed(&world), ["INSERT no context 1 OS001 app", "INSERT null organization 1 5 OS001 app"]);
    assert_eq!(rows(&mut world.owner(), READINESS), ["f|0|1|0|5|0|0"]);
    assert_eq!(
        rows_under(&mut app, A, "INSERT INTO item VALUES (40, 'n', NULL) RETURNING left(organization_id::text, 1)"),
        ["a"]
    );
    // Such rows stand in the way of enforcing, and backfill_org() fills them.
    refused(&mut world.owner(), "OS005", ENFORCE);
    run(&mut world.owner(), "CALL orgscope.backfill_org('item', $$'aaaaaaaa-0000-7000-8000-000000000001'$$)");
    run(&mut world.owner(), ENFORCE);
    refused(&mut app, "OS001", "SELECT * FROM item");
}

/// Equal statements of a transaction are one row; the record says who, from where and with which words.
#[test]
fn equal_observations_are_one_row() {
    let world = world("observe_equal");
    let mut app = world.app();
    run(&mut app, "SET application_name = 'billing'; BEGIN");
    for _ in 0..3 {
        run(&mut app, "SELECT FROM item, item other");
    }
    run(&mut app, "UPDATE item SET code = code WHERE id < 4; COMMIT");
    assert_eq!(observed(&world), ["SELECT no context 3 OS001 app", "UPDATE no context 1 OS001 app"]);
    let words = "SELECT table_name, application_name, login_name, statement FROM orgscope.audit_log WHERE action = 'observed' ORDER BY id LIMIT 1";
    assert_eq!(rows(&mut world.superuser(), words), ["public.item|billing|app|SELECT FROM item, item other"]);
    assert_eq!(
        rows(&mut world.owner(), "SELECT target, applications FROM orgscope.scoping_readiness()"),
        ["item|{billing}"]
    );
    assert_eq!(one(&mut world.owner(), "SELECT ready FROM orgscope.scoping_readiness(now())"), "t");
}

/// Transactions that roll back or are read-only.
#[test]
fn what_rolls_back_or_cannot_be_written_is_on_record() {
    let world = world("observe_back");
    let mut app = world.app();
    run(&mut app, "BEGIN; SELECT FROM item; ROLLBACK");
    run(&mut app, "BEGIN READ ONLY; SELECT FROM item WHERE id = 1; COMMIT");
    run(&mut app, "BEGIN; SAVEPOINT s; DELETE FROM item WHERE id = 3; ROLLBACK TO s; ROLLBACK");
    let read = "SELECT no context 1 OS001 app";
    run(&mut world.superuser(), "SELECT orgscope.flush_audit()");
    assert_eq!(observed(&world), [read, read, "DELETE no context 1 OS001 app"]);
    let back = "SELECT detail ->> 'rolled_back' FROM orgscope.audit_log WHERE action = 'observed' ORDER BY id";
    assert_eq!(rows(&mut world.superuser(), back), ["true", "-", "true"]);
    assert_eq!(one(&mut world.owner(), "SELECT reads_without_context FROM orgscope.scoping_readiness()"), "2");
    // Nobody forges an observation with our triggers on a table of their own.
    run(
        &mut app,
        "CREATE TEMP TABLE forged (organization_id uuid);
         CREATE POLICY p ON forged USING (orgscope.observe_read('forged'::regclass)); BEGIN; SELECT * FROM forged; ROLLBACK",
    );
    run(&mut world.superuser(), "SELECT orgscope.flush_audit()");
    assert_eq!(observed(&world).len(), 3);
}

/// One transaction for two organizations is what enforcing refuses with OS003.
#[test]
fn a_second_organization_is_recorded() {
    let world = world("observe_second");
    let mut app = world.app();
    begin(&mut app, A);
    run(&mut app, "SELECT FROM item");
    run(&mut app, &format!("SET LOCAL orgscope.current_org = '{B}'; SELECT FROM item; COMMIT"));
    assert_eq!(observed(&world), ["SELECT context change 1 OS003 app b"]);
}

/// Roles outside row security are recorded as they are when enforcing.
#[test]
fn bypassing_roles_are_recorded_as_ever() {
    let world = world("observe_bypass");
    for mut client in [world.dba(), world.superuser()] {
        run(&mut client, "SELECT FROM item; UPDATE item SET code = code WHERE id = 1");
    }
    let log = "SELECT action, operation, row_count FROM orgscope.audit_log WHERE action <> 'bypass_read' ORDER BY id";
    assert_eq!(
        rows(&mut world.superuser(), log),
        ["lifecycle|OBSERVE|-", "bypass_write|UPDATE|1", "bypass_write|UPDATE|1"]
    );
}

/// The functions are anybody's to call or attach; only observed tables come on record, and only owners are told.
#[test]
fn others_learn_and_forge_nothing() {
    let world = world("observe_others");
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app");
    let mut app = world.app();
    run(
        &mut app,
        "CREATE TABLE mine (organization_id uuid);
         CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION orgscope.statement('observe');
         CREATE TRIGGER r AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION orgscope.last_word('organization_id', 'observe');
         INSERT INTO mine VALUES (NULL); SELECT orgscope.observe_read('mine'), orgscope.observe_read(NULL)",
    );
    assert_eq!(observed(&world), [""; 0]);
    run(&mut app, "SELECT FROM item");
    assert_eq!(rows(&mut app, READINESS), [""; 0]);
    assert_eq!(rows(&mut world.superuser(), READINESS), ["f|1|0|0|0|0|0"]);
}

/// There and back again, and out of either mode: the table is as it was.
#[test]
fn the_mode_is_one_call_and_disable_restores() {
    let world = World::without_tables("observe_switch");
    let mut owner = world.owner();
    let mut app = world.app();
    run(&mut owner, ITEMS);
    run(&mut owner, "DELETE FROM item WHERE id = 4");
    let before = dump(&world);
    let protected = "SELECT protected, options ->> 'mode' FROM orgscope.scoped_tables";
    for modes in [&[OBSERVE][..], &[OBSERVE, ENFORCE], &[OBSERVE, ENFORCE, OBSERVE], &[ENFORCE, OBSERVE, ENFORCE]] {
        for mode in modes {
            run(&mut owner, mode);
            let again = rows(&mut owner, &mode.replace("SELECT ", "SELECT sql FROM "));
            assert_eq!(again, [""; 0], "enabled a second time, nothing is left to do");
            assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('item')"), [""; 0]);
            let enforced = *mode == ENFORCE;
            assert_eq!(state(&mut app, "SELECT FROM item"), if enforced { "OS001" } else { "00000" });
            assert_eq!(rows(&mut owner, protected), [if enforced { "t|-" } else { "f|observe" }]);
            // What was unique stays so until it is enforced per organization.
            let twice = under(&mut app, B, "INSERT INTO item VALUES (50, 'a', NULL)").map_err(|e| code(&e));
            if modes[0] == OBSERVE && modes.len() == 1 {
                assert_eq!(twice, Err("23505".into()));
            }
            run(&mut world.superuser(), "DELETE FROM item WHERE id = 50");
        }
        run(&mut owner, "SELECT orgscope.disable_org_scoping('item')");
        assert_same(&before, &dump(&world), &format!("{modes:?}"));
    }
}

/// Row security of the team's own goes on as it was, for the table's owner too.
#[test]
fn row_security_of_the_teams_own_stays_as_it_was() {
    let world = World::without_tables("observe_own");
    let mut owner = world.owner();
    run(&mut owner, ITEMS);
    run(&mut owner, "CREATE POLICY few ON item USING (id < 3); ALTER TABLE item ENABLE ROW LEVEL SECURITY");
    for sql in [OBSERVE, &ENFORCE.replace("{", "{\"backfill\": \"aaaaaaaa-0000-7000-8000-000000000001\", "), OBSERVE] {
        run(&mut owner, sql);
    }
    assert_eq!(one(&mut world.app(), "SELECT count(*) FROM item"), "2");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM item"), "4");
    run(&mut owner, "SELECT orgscope.disable_org_scoping('item')");
    // Policies that sleep: a restrictive one would wake up and hide rows, permissive ones add to what all may see.
    run(&mut owner, "ALTER TABLE item DISABLE ROW LEVEL SECURITY");
    run(&mut owner, OBSERVE);
    assert_eq!(one(&mut world.app(), "SELECT count(*) FROM item"), "4");
    run(
        &mut owner,
        "SELECT orgscope.disable_org_scoping('item'); CREATE POLICY strict ON item AS RESTRICTIVE USING (id > 3)",
    );
    refused(&mut owner, "OS005", OBSERVE);
}

/// The policies name their table: that must not tie it down.
#[test]
fn an_observed_table_is_renamed_and_dropped_like_any_other() {
    let world = world("observe_rename");
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE item RENAME TO \"it's\"");
    run(&mut world.app(), "SELECT FROM \"it's\"");
    assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('\"it''s\"')"), [""; 0]);
    assert_eq!(
        one(&mut owner, "SELECT target || ' ' || reads_without_context FROM orgscope.scoping_readiness()"),
        "\"it's\" 1"
    );
    run(&mut owner, "DROP TABLE \"it's\"");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.scoping_readiness()"), "0");
}

/// What a parallel worker notes would end with it.
#[test]
fn reads_are_seen_whatever_the_plan() {
    let world = world("observe_parallel");
    let mut app = world.app();
    force_parallel(&mut app, "on");
    run(&mut app, "SELECT count(*) FROM item");
    run(&mut app, "PREPARE p AS SELECT count(*) FROM item WHERE id = $1; SET plan_cache_mode = force_generic_plan");
    run(&mut app, "EXECUTE p (1)");
    run(&mut app, "BEGIN; DECLARE c CURSOR FOR SELECT FROM item; FETCH c; COMMIT");
    assert_eq!(observed(&world), ["SELECT no context 1 OS001 app"; 3]);
}
