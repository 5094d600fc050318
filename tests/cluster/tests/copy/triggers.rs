//! Triggers, and what is left out of them for speed.

use crate::common::*;
use crate::{copy, copy_under};

/// The foreign key of the organization is checked once, and holds what the check of each row would.
#[test]
fn the_organization_is_kept_while_rows_are_copied() {
    let world = World::new("copy_locks");
    let mut app = world.app();
    begin(&mut app, C);
    assert_eq!(copy(&mut app, "COPY ticket (id) FROM STDIN", b"501\n502\n503\n"), "3");
    let delete = format!("SET lock_timeout = 200; DELETE FROM orgscope.organization WHERE id = '{C}'");
    refused(&mut world.superuser(), "55P03", &delete);
    run(&mut app, "COMMIT");
}

/// A function of the table's owner turns to another organization between two rows.
#[test]
fn each_organization_is_checked_when_the_context_changes_on_the_way() {
    let world = World::without_tables("copy_turns");
    let mut admin = world.superuser();
    run(&mut admin, "ALTER ROLE app IN DATABASE copy_turns SET orgscope.context_change = free");
    run(
        &mut world.owner(),
        "CREATE TABLE t (id int, turned text, organization_id uuid); SELECT orgscope.enable_org_scoping('t');
         GRANT ALL ON t TO app;
         CREATE SEQUENCE turn; GRANT USAGE ON SEQUENCE turn TO app;
         CREATE FUNCTION turn(orgs text[]) RETURNS text LANGUAGE sql AS
             $$ SELECT set_config('orgscope.current_org', orgs[nextval('turn')], true) $$",
    );
    let turn = |orgs: [&str; 4]| {
        let sql = format!("ALTER TABLE t ALTER turned SET DEFAULT turn('{{{}}}')", orgs.join(","));
        run(&mut world.owner(), &format!("{sql}; ALTER SEQUENCE turn RESTART"));
        copy_under(&world, "app", A, "COPY t (id, organization_id) FROM STDIN", "1\t\\N\n2\t\\N\n3\t\\N\n4\t\\N\n")
    };
    assert_eq!(turn([A, A, A, A]), "4");
    assert_eq!(turn([A, B, B, A]).len(), 5, "a write of two organizations is refused or none");
    let unknown = "dddddddd-0000-7000-8000-000000000004";
    assert_eq!(turn([A, A, unknown, A]).len(), 5);
    assert_eq!(rows(&mut admin, "SELECT DISTINCT left(organization_id::text, 1) FROM t"), ["a"]);
}

/// Triggers of the application see every row, and what they make of it is judged.
#[test]
fn triggers_of_the_application_are_called() {
    let world = World::without_tables("copy_triggers");
    run(
        &mut world.owner(),
        "CREATE TABLE t (id int PRIMARY KEY, title text, organization_id uuid);
         CREATE TABLE seen (n serial, what text); GRANT ALL ON seen TO app; GRANT USAGE ON SEQUENCE seen_n_seq TO app;
         SELECT orgscope.enable_org_scoping('t'); GRANT ALL ON t TO app;
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen (what) VALUES (concat_ws(' ', TG_NAME, NEW.id, left(NEW.organization_id::text, 1)));
             IF NEW.title = 'skip' THEN RETURN NULL; END IF;
             IF NEW.title = 'flip' THEN NEW.organization_id := 'bbbbbbbb-0000-7000-8000-000000000002'; END IF;
             RETURN NEW; END $$;
         CREATE FUNCTION see_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen (what) SELECT 'rows ' || count(*) FROM new_rows; RETURN NULL; END $$;
         CREATE TRIGGER before BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION see();
         CREATE TRIGGER after AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see();
         CREATE TRIGGER first BEFORE INSERT ON t EXECUTE FUNCTION see();
         CREATE TRIGGER last AFTER INSERT ON t REFERENCING NEW TABLE AS new_rows EXECUTE FUNCTION see_all()",
    );
    let mut app = world.app();
    let seen = |app: &mut postgres::Client| rows(app, "DELETE FROM seen RETURNING what");
    assert_eq!(copy_under(&world, "app", A, "COPY t (id, title) FROM STDIN", "1\tx\n2\tskip\n3\ty\n"), "2");
    assert_eq!(seen(&mut app), ["first", "before 1 a", "before 2 a", "before 3 a", "after 1 a", "after 3 a", "rows 2"]);
    assert_eq!(copy_under(&world, "app", A, "COPY t (id, title) FROM STDIN", "4\tflip\n"), "OS002");
    run(&mut world.owner(), "DROP TRIGGER before ON t; DROP TRIGGER after ON t");
    assert_eq!(copy_under(&world, "app", A, "COPY t (id, title) FROM STDIN", "5\tx\n6\tx\n7\tx\n"), "3");
    assert_eq!(seen(&mut app), ["first", "rows 3"]);
    run(&mut world.owner(), "CREATE TRIGGER after AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see()");
    assert_eq!(copy_under(&world, "app", A, "COPY t (id, title) FROM STDIN", "8\tx\n9\tx\n"), "2");
    assert_eq!(seen(&mut app), ["first", "after 8 a", "after 9 a", "rows 2"]);
}

/// A guard that is not there is not made up for: nothing is left out then.
#[test]
fn a_missing_guard_is_missing_for_copy_as_for_insert() {
    let world = World::new("copy_unguarded");
    run(&mut world.superuser(), "SET orgscope.drift = audit; DROP TRIGGER \"0_orgscope_fill\" ON ticket");
    let mut app = world.app();
    refused_under(&mut app, A, "42501", "INSERT INTO ticket VALUES (501, 'x', NULL)");
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", "501\tx\t\\N\n"), "42501");
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", &format!("501\tx\t{B}\n")), "OS002");
}

#[test]
fn change_history_has_every_row() {
    let world = World::new("copy_history");
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('ticket')");
    assert_eq!(copy_under(&world, "app", A, "COPY ticket (id, title) FROM STDIN", "501\tx\n502\ty\n"), "2");
    let log = "SELECT operation, new->>'id', role_name FROM orgscope.change_log ORDER BY id";
    assert_eq!(rows(&mut world.superuser(), log), ["INSERT|501|app", "INSERT|502|app"]);
}
