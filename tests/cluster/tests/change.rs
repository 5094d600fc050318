//! The context in force is the one at execution, and a transaction keeps to one organization.

mod common;

use common::*;

const COUNT: &str = "SELECT count(*) FROM ticket";

#[test]
fn savepoints_and_exception_blocks_bring_the_right_context_back() {
    let world = World::new("savepoints");
    let mut app = world.app();
    run(&mut app, &format!("BEGIN; SAVEPOINT s; SET LOCAL orgscope.current_org = '{A}'"));
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "ROLLBACK TO s");
    refused(&mut app, "OS001", COUNT);
    run(&mut app, "ROLLBACK");

    begin(&mut app, A);
    run(&mut app, "SAVEPOINT s; SELECT orgscope.clear_current_org()");
    run(&mut app, "ROLLBACK TO s");
    assert_eq!(one(&mut app, COUNT), "2");
    run(&mut app, "SAVEPOINT t; SET LOCAL orgscope.current_org = ''; RELEASE t");
    refused(&mut app, "OS001", COUNT);
    run(&mut app, "ROLLBACK");

    let block = format!(
        "DO $$ BEGIN
             PERFORM set_config('orgscope.current_org', '{A}', true);
             BEGIN
                 PERFORM set_config('orgscope.current_org', '', true);
                 RAISE EXCEPTION 'x';
             EXCEPTION WHEN raise_exception THEN
                 ASSERT (SELECT count(*) FROM ticket) = 2;
             END;
             BEGIN
                 PERFORM set_config('orgscope.current_org', '{B}', true);
                 ASSERT false, 'not refused';
             EXCEPTION WHEN SQLSTATE 'OS003' THEN
                 ASSERT (SELECT count(*) FROM ticket) = 2;
             END;
         END $$"
    );
    run(&mut app, &block);
    refused(&mut app, "OS001", COUNT);
}

#[test]
fn cached_plans_follow_the_context() {
    let world = World::new("cached_plans");
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app");
    for mode in ["force_generic_plan", "force_custom_plan", "auto"] {
        let mut app = world.app();
        run(
            &mut app,
            &format!("SET plan_cache_mode = {mode}; PREPARE p(int) AS SELECT id FROM ticket WHERE id > $1 ORDER BY id"),
        );
        run(
            &mut app,
            "CREATE OR REPLACE FUNCTION ids() RETURNS text LANGUAGE plpgsql AS
                       $$ BEGIN RETURN (SELECT string_agg(id::text, ',' ORDER BY id) FROM ticket); END $$",
        );
        let statement = app.prepare("SELECT id FROM ticket WHERE id > $1 ORDER BY id").unwrap();
        for _ in 0..7 {
            for (org, ids) in [(A, vec!["1", "2"]), (B, vec!["11", "12", "13"]), (C, vec![])] {
                assert_eq!(rows_under(&mut app, org, "EXECUTE p(0)"), ids, "{mode}");
                let joined = if ids.is_empty() { "-".to_owned() } else { ids.join(",") };
                assert_eq!(rows_under(&mut app, org, "SELECT ids()"), [joined]);
                begin(&mut app, org);
                let found: Vec<String> =
                    app.query(&statement, &[&0]).unwrap().iter().map(|r| r.get::<_, i32>(0).to_string()).collect();
                assert_eq!(found, ids);
                run(&mut app, "COMMIT");
            }
            refused(&mut app, "OS001", "EXECUTE p(0)");
            refused(&mut app, "OS001", "SELECT ids()");
            assert_eq!(code(&app.query(&statement, &[&0]).unwrap_err()), "OS001");
        }
    }
}

#[test]
fn a_prepared_statement_keeps_to_the_role_that_executes_it() {
    let world = World::new("role_plans");
    let mut admin = world.superuser();
    run(&mut admin, "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM ticket");
    assert_eq!(one(&mut admin, "EXECUTE p"), "5");
    run(&mut admin, "SET ROLE app");
    refused(&mut admin, "OS001", "EXECUTE p");
    assert_eq!(rows_under(&mut admin, A, "EXECUTE p"), ["2"]);
    run(&mut admin, "RESET ROLE");
    assert_eq!(one(&mut admin, "EXECUTE p"), "5");
}

#[test]
fn a_held_cursor_has_the_rows_of_its_own_transaction() {
    let world = World::new("cursors");
    let mut app = world.app();
    begin(&mut app, A);
    run(&mut app, "DECLARE held CURSOR WITH HOLD FOR SELECT id FROM ticket ORDER BY id; COMMIT");
    begin(&mut app, B);
    assert_eq!(rows(&mut app, "FETCH ALL FROM held"), ["1", "2"]);
    assert_eq!(one(&mut app, COUNT), "3");
    run(&mut app, "COMMIT; CLOSE held");

    // A cursor half read when the context ends.
    begin(&mut app, A);
    run(&mut app, "DECLARE c CURSOR FOR SELECT id FROM ticket ORDER BY id + 0; FETCH 1 FROM c");
    run(&mut app, "SELECT orgscope.clear_current_org()");
    let rest = query(&mut app, "FETCH ALL FROM c");
    assert!(rest.as_ref().map_or_else(|e| code(e) == "OS001", |rows| rows == &["2"]), "{rest:?}");
    run(&mut app, "ROLLBACK");
}

#[test]
fn a_deferred_trigger_runs_under_the_context_of_its_transaction() {
    let world = World::new("deferred");
    run(
        &mut world.superuser(),
        "CREATE TABLE seen (n bigint, org uuid);
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO seen SELECT count(*), orgscope.current_org() FROM ticket; RETURN NULL; END $$;
         GRANT ALL ON seen TO app;
         CREATE CONSTRAINT TRIGGER look AFTER INSERT ON ticket DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION look()",
    );
    let mut app = world.app();
    rows_under(&mut app, A, "INSERT INTO ticket VALUES (3, 'x')");
    run(
        &mut app,
        &format!(
            "BEGIN; SELECT set_config('orgscope.current_org', '{B}', false); INSERT INTO ticket VALUES (14, 'x'); COMMIT"
        ),
    );
    assert_eq!(rows(&mut app, "SELECT n, org FROM seen ORDER BY n"), [format!("3|{A}"), format!("4|{B}")]);
    begin(&mut app, A);
    run(&mut app, "INSERT INTO ticket VALUES (4, 'x'); SELECT orgscope.clear_current_org()");
    assert_eq!(state(&mut app, "COMMIT"), "OS001");
    assert_eq!(all_tickets(&world).len(), 7);
}

#[test]
fn a_procedure_cannot_carry_its_context_over_a_commit() {
    let world = World::new("procedures");
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app");
    for is_local in ["true", "false"] {
        let mut app = world.app();
        run(
            &mut app,
            &format!(
                "CREATE OR REPLACE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN
                     PERFORM set_config('orgscope.current_org', '{A}', {is_local});
                     ASSERT (SELECT count(*) FROM ticket) = 2;
                     COMMIT;
                     PERFORM count(*) FROM ticket;
                 END $$"
            ),
        );
        refused(&mut app, "OS001", "CALL work()");
    }
}

#[test]
fn a_transaction_keeps_to_one_organization() {
    let world = World::new("once");
    let mut app = world.app();
    for change in [
        format!("SET LOCAL orgscope.current_org = '{B}'"),
        format!("SELECT set_config('orgscope.current_org', '{B}', true)"),
        format!("SELECT set_config('orgscope.current_org', '{B}', false)"),
        format!("SELECT orgscope.set_current_org('{B}')"),
        format!(
            "SELECT id::text FROM ticket UNION ALL SELECT set_config('orgscope.current_org', '{B}', true) UNION ALL SELECT title FROM ticket"
        ),
        format!("SELECT orgscope.clear_current_org(); SET LOCAL orgscope.current_org = '{B}'"),
        format!("SAVEPOINT s; SET LOCAL orgscope.current_org = '{B}'"),
    ] {
        refused_under(&mut app, A, "OS003", &format!("{COUNT}; {change}"));
        // A write is a use too, and so is one that was rolled back to a savepoint.
        refused_under(&mut app, A, "OS003", &format!("INSERT INTO ticket VALUES (3); {change}"));
        refused_under(&mut app, A, "OS003", &format!("SAVEPOINT u; {COUNT}; ROLLBACK TO u; {change}"));
    }
    // Before its first use the context may still change, and ending it is always allowed.
    let unused = format!("SET LOCAL orgscope.current_org = '{B}'; {COUNT}");
    assert_eq!(rows_under(&mut app, A, &unused), ["3"]);
    let again =
        format!("{COUNT}; SET LOCAL orgscope.current_org = ''; SET LOCAL orgscope.current_org = '{A}'; {COUNT}");
    assert_eq!(rows_under(&mut app, A, &again), ["2"]);
    assert_eq!(rows_under(&mut app, B, COUNT), ["3"], "the next transaction is free");
    assert_eq!(all_tickets(&world).len(), 5);
}

#[test]
fn another_organization_reached_without_a_check_is_refused_at_use() {
    let world = World::new("unchecked");
    run(&mut world.superuser(), "ALTER ROLE app IN DATABASE unchecked SET orgscope.context_lifetime = 'connection'");
    let mut app = world.connect_with("app", &format!("-c orgscope.current_org={A}")).unwrap();
    for reset in ["RESET orgscope.current_org", "RESET ALL", "SET LOCAL orgscope.current_org TO DEFAULT"] {
        for touch in [COUNT, "UPDATE ticket SET title = title", "INSERT INTO ticket VALUES (99)", "DELETE FROM ticket"]
        {
            refused_under(&mut app, B, "OS003", &format!("{COUNT}; {reset}; {touch}"));
        }
    }
    // Back to the connection's organization by the end of a savepoint.
    run(&mut app, &format!("BEGIN; SAVEPOINT s; SET LOCAL orgscope.current_org = '{B}'; {COUNT}; ROLLBACK TO s"));
    refused(&mut app, "OS003", COUNT);
    run(&mut app, "ROLLBACK");
    assert_eq!(one(&mut app, COUNT), "2");
}

#[test]
fn a_flip_inside_a_statement_shows_no_foreign_row() {
    let world = World::new("flip");
    let mut app = world.app();
    let where_flip = format!("SELECT id FROM ticket WHERE set_config('orgscope.current_org', '{B}', true) IS NOT NULL");
    refused_under(&mut app, A, "OS003", &where_flip);
    let lateral = format!(
        "SELECT t.id FROM (SELECT set_config('orgscope.current_org', '{B}', true) AS x OFFSET 0) s, LATERAL (SELECT id FROM ticket WHERE s.x IS NOT NULL) t"
    );
    let found = under(&mut app, A, &lateral);
    match found {
        Ok(rows) => {
            assert!(rows.iter().all(|id| id.len() == 2) || rows.iter().all(|id| id.len() == 1), "mixed: {rows:?}")
        }
        Err(error) => assert_eq!(code(&error), "OS003"),
    }
}

#[test]
fn free_lets_a_transaction_serve_several() {
    let world = World::new("free");
    run(&mut world.superuser(), "ALTER ROLE app IN DATABASE free SET orgscope.context_change = 'free'");
    let mut app = world.app();
    let two = format!("{COUNT}; SET LOCAL orgscope.current_org = '{B}'; {COUNT}");
    assert_eq!(rows_under(&mut app, A, &two), ["3"]);
    assert_eq!(
        rows_under(
            &mut app,
            A,
            &format!("SAVEPOINT s; SET LOCAL orgscope.current_org = '{B}'; {COUNT}; ROLLBACK TO s; {COUNT}")
        ),
        ["2"]
    );
    refused(&mut app, "OS001", COUNT);
    refused(&mut app, "42501", "SET orgscope.context_change = 'free'");
    refused(&mut app, "42501", "SET orgscope.context_lifetime = 'session'");
}

#[test]
fn a_lifetime_set_for_one_transaction_leaves_nothing_behind() {
    let world = World::new("local_lifetime");
    let mut admin = world.superuser();
    run(
        &mut admin,
        &format!("BEGIN; SET LOCAL orgscope.context_lifetime = 'session'; SET orgscope.current_org = '{A}'; COMMIT"),
    );
    assert_eq!(one(&mut admin, "SELECT COALESCE(orgscope.current_org()::text, 'none')"), "none");
}
