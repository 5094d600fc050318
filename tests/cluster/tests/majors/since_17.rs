//! MERGE ... RETURNING and NOT MATCHED BY SOURCE, MAINTAIN, event triggers on login and REINDEX, COPY ... ON_ERROR.

use std::io::Write;

use crate::common::*;

/// Makes the table what the source says, and deletes the rest: the rest of one organization.
const MERGE: &str = "
    MERGE INTO ticket t USING (VALUES (1, 'kept'), (4, 'new')) v (id, title) ON t.id = v.id
    WHEN MATCHED THEN UPDATE SET title = v.title
    WHEN NOT MATCHED THEN INSERT (id, title) VALUES (v.id, v.title)
    WHEN NOT MATCHED BY SOURCE THEN DELETE
    RETURNING merge_action(), t.id, t.organization_id";

#[test]
fn merge_ends_at_the_organization() {
    let world = World::new("merge_by_source");
    let mut app = world.app();
    refused(&mut app, "OS001", MERGE);
    let mut merged = rows_under(&mut app, A, MERGE);
    merged.sort();
    assert_eq!(merged, [format!("DELETE|2|{A}"), format!("INSERT|4|{A}"), format!("UPDATE|1|{A}")]);
    assert_eq!(all_tickets(&world), ["1|kept|a", "4|new|a", "11|b11|b", "12|b12|b", "13|b13|b"]);
    // Under B, row 1 is not there: its key is taken, and the whole statement is refused.
    refused_under(&mut app, B, "23505", MERGE);
    let inserts = format!(
        "MERGE INTO ticket t USING (VALUES (5)) v (id) ON t.id = v.id
         WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'x', '{B}') RETURNING t.*"
    );
    refused_under(&mut app, A, "OS002", &inserts);
    let moves = format!(
        "MERGE INTO ticket t USING (VALUES (1)) v (id) ON t.id = v.id
         WHEN NOT MATCHED BY SOURCE THEN UPDATE SET organization_id = '{B}' RETURNING t.*"
    );
    refused_under(&mut app, A, "OS002", &moves);
    assert_eq!(all_tickets(&world), ["1|kept|a", "4|new|a", "11|b11|b", "12|b12|b", "13|b13|b"]);
}

#[test]
fn a_merge_outside_row_security_is_on_record() {
    let world = World::new("merge_bypass");
    run(
        &mut world.dba(),
        "MERGE INTO ticket t USING (VALUES (1), (11)) v (id) ON t.id = v.id
         WHEN MATCHED THEN UPDATE SET title = 'merged' WHEN NOT MATCHED BY SOURCE THEN DELETE",
    );
    let record = "SELECT operation, row_count, left(organization_id::text, 1) FROM orgscope.audit_log
                  WHERE table_name = 'public.ticket' ORDER BY 1, 3";
    assert_eq!(rows(&mut world.superuser(), record), ["DELETE|1|a", "DELETE|2|b", "UPDATE|1|a", "UPDATE|1|b"]);
}

/// MAINTAIN is enough for upkeep, and for nothing else.
#[test]
fn maintain_shows_and_changes_no_row() {
    let world = World::new("maintain");
    run(&mut world.superuser(), "CREATE ROLE keeper LOGIN; CREATE ROLE janitor LOGIN; GRANT pg_maintain TO janitor");
    run(&mut world.owner(), "GRANT MAINTAIN ON ticket TO keeper");
    for role in ["keeper", "janitor"] {
        let mut client = world.connect(role);
        for upkeep in [
            "VACUUM ticket",
            "VACUUM FULL ticket",
            "ANALYZE ticket",
            "REINDEX TABLE ticket",
            "CLUSTER ticket USING ticket_pkey",
            "BEGIN; LOCK TABLE ticket; COMMIT",
        ] {
            run(&mut client, upkeep);
        }
        for statement in [
            "SELECT * FROM ticket",
            "COPY ticket TO STDOUT",
            "DELETE FROM ticket",
            "TRUNCATE ticket",
            "ALTER TABLE ticket DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE ticket NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE ticket DISABLE TRIGGER ALL",
            "DROP POLICY orgscope_floor ON ticket",
            "SELECT orgscope.disable_org_scoping('ticket')",
        ] {
            refused_under(&mut client, A, "42501", statement);
        }
    }
    assert_eq!(all_tickets(&world).len(), 5);
    assert_eq!(
        one(&mut world.superuser(), "SELECT protected FROM orgscope.scoped_tables WHERE target = 'ticket'::regclass"),
        "t"
    );
}

/// `ddl_command_end` fires for REINDEX since 17; ours must not stand in its way, nor in that of another one.
#[test]
fn reindex_and_its_event_triggers_work_on_scoped_tables() {
    let world = World::new("reindex");
    run(
        &mut world.superuser(),
        "CREATE TABLE seen (tag text, identity text);
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             INSERT INTO public.seen SELECT command_tag, object_identity FROM pg_event_trigger_ddl_commands(); END $$;
         CREATE EVENT TRIGGER see ON ddl_command_end WHEN TAG IN ('REINDEX') EXECUTE FUNCTION see()",
    );
    let mut owner = world.owner();
    run(&mut owner, "REINDEX INDEX ticket_pkey; REINDEX TABLE comment");
    run(&mut owner, "REINDEX (CONCURRENTLY) TABLE ticket");
    let seen = rows(&mut world.superuser(), "SELECT DISTINCT identity FROM seen WHERE tag = 'REINDEX' ORDER BY 1");
    assert!(seen.contains(&"public.ticket_pkey".to_owned()), "{seen:?}");
    assert_eq!(rows_under(&mut world.app(), A, "SELECT id FROM ticket ORDER BY id"), ["1", "2"]);
}

/// A context set at login ends with the login's own transaction, unless the lifetime is `session`.
#[test]
fn a_context_set_at_login_holds_as_long_as_its_lifetime() {
    let world = World::in_own_cluster(&orgscope_cluster::Options::default());
    run(
        &mut world.superuser(),
        &format!(
            "CREATE FUNCTION enter() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF session_user = 'app' THEN PERFORM set_config('orgscope.current_org', '{A}', false); END IF; END $$;
             CREATE EVENT TRIGGER enter ON login EXECUTE FUNCTION enter()"
        ),
    );
    refused(&mut world.app(), "OS001", "SELECT * FROM ticket");
    run(&mut world.superuser(), "ALTER ROLE app SET orgscope.context_lifetime = 'session'");
    let mut app = world.app();
    assert_eq!(rows(&mut app, "SELECT id FROM ticket ORDER BY id"), ["1", "2"]);
    refused(&mut app, "OS002", &format!("INSERT INTO ticket VALUES (3, 'b', '{B}')"));
    // Nobody else has it.
    refused(&mut world.owner(), "OS001", "SELECT * FROM ticket");
    // A trigger that reads a scoped table without a context must not lock everybody out with a wrong answer.
    run(
        &mut world.superuser(),
        "CREATE OR REPLACE FUNCTION enter() RETURNS event_trigger LANGUAGE plpgsql SECURITY INVOKER AS $$ BEGIN
             PERFORM FROM public.ticket; END $$",
    );
    let refused = world.cluster().connect("app", world.name()).err().map(|e| format!("{e:#}")).unwrap_or_default();
    assert!(refused.contains("app"), "{refused}");
    world.superuser();
}

/// `event_triggers = off` is a superuser's; what keeps rows apart does not hang on event triggers.
#[test]
fn without_event_triggers_tables_stay_protected() {
    let world = World::new("no_event_triggers");
    refused(&mut world.app(), "42501", "SET event_triggers = off");
    let mut admin = world.superuser();
    run(&mut admin, "SET event_triggers = off; ALTER TABLE ticket RENAME TO issue");
    // That nobody looked is on record.
    let recorded = "SELECT operation, detail FROM orgscope.audit_log WHERE action = 'ddl'";
    assert_eq!(rows(&mut admin, recorded), ["ALTER TABLE|{\"event_triggers\": \"off\"}"]);
    refused(&mut world.app(), "OS001", "SELECT * FROM issue");
    refused_under(&mut world.app(), A, "OS002", &format!("INSERT INTO issue VALUES (3, 'b', '{B}')"));
    refused(&mut admin, "OS006", "DROP EXTENSION orgscope CASCADE");
    refused(
        &mut admin,
        "OS006",
        "CREATE TABLE parent (id int, title text, organization_id uuid); ALTER TABLE issue INHERIT parent",
    );
    run(&mut admin, "DROP TABLE issue CASCADE");
    // The registry keeps the name of a table that went unseen; the others are not touched by it.
    assert_eq!(
        rows(&mut admin, "SELECT target, table_name, protected FROM orgscope.scoped_tables ORDER BY 2"),
        ["comment|comment|t", "-|ticket|f"]
    );
}

/// ON_ERROR ignore skips what PostgreSQL cannot read; it does not skip a refusal.
#[test]
fn copy_that_ignores_errors_does_not_ignore_refusals() {
    let world = World::new("copy_on_error");
    let copy = |data: &str| {
        let mut dba = world.dba();
        let mut writer = dba.copy_in("COPY ticket (id, title, organization_id) FROM STDIN (ON_ERROR ignore)").unwrap();
        writer.write_all(data.as_bytes()).unwrap();
        writer.finish().map_err(|error| code(&error))
    };
    assert_eq!(copy(&format!("21\tfine\t{A}\nno number\tskipped\t{A}\n")), Ok(1));
    assert_eq!(copy(&format!("22\tfine\t{A}\n23\tnobody's\t\\N\n")), Err("OS001".into()));
    assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM ticket WHERE id > 20"), "1");
    let copy = |data: &str| {
        let mut app = world.app();
        begin(&mut app, A);
        let mut writer = app.copy_in("COPY ticket FROM STDIN (ON_ERROR ignore)").unwrap();
        writer.write_all(data.as_bytes()).unwrap();
        let copied = writer.finish().map_err(|error| code(&error));
        run(&mut app, if copied.is_ok() { "COMMIT" } else { "ROLLBACK" });
        copied
    };
    assert_eq!(copy("no number\tx\t\\N\n31\tfine\t\\N\n\tx\tno uuid\n"), Ok(1));
    assert_eq!(copy(&format!("32\tfine\t\\N\n33\tx\t{B}\n")), Err("OS002".into()));
    assert_eq!(rows(&mut world.superuser(), "SELECT id FROM ticket WHERE id > 30"), ["31"]);
}

/// An estimator looks through WITH, for an operator that came with a function put in line: not at what the policy hides.
#[test]
fn statistics_in_with_are_shown_to_no_function_put_in_line() {
    let world = World::new("with_statistics");
    run(
        &mut world.superuser(),
        &format!(
            "ALTER ROLE app IN DATABASE with_statistics SET orgscope.leakproof_operators = on;
             INSERT INTO ticket SELECT i, 'secret', '{B}' FROM generate_series(100, 600) i; ANALYZE ticket"
        ),
    );
    let mut app = world.app();
    run(
        &mut app,
        "CREATE FUNCTION pg_temp.tap(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM set_config('tap.seen', coalesce(current_setting('tap.seen', true), '') || $1 || ' ', false);
                RETURN false; END $$;
         CREATE OPERATOR pg_temp.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.tap, RESTRICT = eqsel);
         CREATE FUNCTION pg_temp.tapped(text) RETURNS SETOF int LANGUAGE sql STABLE AS
             $$ SELECT 1 WHERE $1 OPERATOR(pg_temp.<<<) 'x' $$",
    );
    for tickets in ["ticket", "(SELECT title FROM ticket OFFSET 0)"] {
        let sql = format!(
            "EXPLAIN WITH t AS MATERIALIZED (SELECT title FROM {tickets} AS s)
             SELECT FROM t, LATERAL pg_temp.tapped(t.title) WHERE title <> 'y'"
        );
        rows_under(&mut app, A, &sql);
        let seen = "SELECT coalesce(current_setting('tap.seen', true), '') LIKE '%secret%'";
        assert_eq!(one(&mut app, seen), "f", "{tickets}");
    }
}
