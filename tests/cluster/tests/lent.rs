//! What PostgreSQL and the extension allow their own statements, and functions that run inside these.

mod common;

use common::*;

/// What a statement adds to the log: `role|action|table`.
fn added(world: &World, client: &mut postgres::Client, sql: &str) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let last = one(&mut admin, "SELECT COALESCE(max(id), 0) FROM orgscope.audit_log");
    run(client, sql);
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        &format!(
            "SELECT role_name, action, table_name FROM orgscope.audit_log
             WHERE action LIKE 'bypass%' AND event_count > 0 AND id > {last} ORDER BY id"
        ),
    )
}

/// A table of the owner's, with a trigger in a cascade that copies what it sees of `ticket`.
const CASCADE: &str = "
    CREATE TABLE seen (title text); GRANT ALL ON seen TO PUBLIC;
    CREATE TABLE parent (id int PRIMARY KEY, organization_id uuid);
    CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent ON DELETE CASCADE, organization_id uuid);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.seen SELECT title FROM public.ticket; RETURN old; END';
    CREATE TRIGGER look BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION look();
    GRANT ALL ON parent, child TO app, dba";

#[test]
fn a_trigger_in_a_cascade_sees_one_organization() {
    let world = World::new("lent_cascade");
    run(&mut world.owner(), CASCADE);
    run(
        &mut world.owner(),
        "SELECT orgscope.enable_org_scoping('parent'); SELECT orgscope.enable_org_scoping('child');
         ALTER TABLE seen OWNER TO owner",
    );
    let mut app = world.app();
    let rows_of_a = "INSERT INTO parent (id) VALUES (1), (2); INSERT INTO child (id, parent_id) VALUES (1, 1), (2, 2)";
    run(&mut app, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; {rows_of_a}; COMMIT"));
    run(&mut app, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; DELETE FROM parent WHERE id = 1; COMMIT"));
    let mut admin = world.superuser();
    assert_eq!(rows(&mut admin, "SELECT title FROM seen ORDER BY 1"), ["a1", "a2"]);
    assert_eq!(one(&mut admin, "SELECT count(*) FROM child"), "1", "the cascade itself reaches its rows");
    // Nor does it write any.
    run(
        &mut world.owner(),
        "CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN UPDATE public.ticket SET title = ''x''; RETURN old; END'",
    );
    run(&mut app, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; DELETE FROM parent WHERE id = 2; COMMIT"));
    assert_eq!(all_tickets(&world), ["1|x|a", "2|x|a", "11|b11|b", "12|b12|b", "13|b13|b"]);
}

/// Between tables that nobody has scoped.
#[test]
fn a_trigger_in_an_unscoped_cascade_is_held_like_any_code() {
    let world = World::new("lent_unscoped");
    let rows_of_nobody = "INSERT INTO parent VALUES (1), (2), (3); INSERT INTO child VALUES (1, 1), (2, 2), (3, 3)";
    let mut owner = world.owner();
    run(&mut owner, &format!("{CASCADE}; {rows_of_nobody}"));
    refused(&mut owner, "OS001", "DELETE FROM parent WHERE id = 1");
    refused(&mut world.app(), "OS001", "DELETE FROM parent WHERE id = 1");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM seen"), "0");
    // As who owns the table the key's action runs.
    let mut admin = world.superuser();
    run(&mut admin, "ALTER TABLE child OWNER TO postgres; ALTER TABLE parent OWNER TO postgres");
    let reading = "postgres|bypass_read|public.ticket";
    assert_eq!(added(&world, &mut admin, "DELETE FROM parent WHERE id = 1"), [reading]);
    assert_eq!(added(&world, &mut world.dba(), "DELETE FROM parent WHERE id = 2"), [reading]);
    run(&mut admin, "SET orgscope.bypass = deny");
    refused(&mut admin, "OS007", "DELETE FROM parent WHERE id = 3");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM child"), "1");
}

#[test]
fn a_default_beside_a_new_foreign_key_sees_one_organization() {
    let world = World::new("lent_default");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE plain (id int PRIMARY KEY, r int); INSERT INTO plain VALUES (1, 1);
         CREATE FUNCTION tickets() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public.ticket); END'",
    );
    let alter = "ALTER TABLE plain ADD COLUMN n bigint DEFAULT tickets(), ADD FOREIGN KEY (r) REFERENCES plain";
    refused(&mut owner, "OS001", alter);
    rows_under(&mut owner, A, alter);
    assert_eq!(one(&mut owner, "SELECT n FROM plain"), "2");
    let mut admin = world.superuser();
    let again = "ALTER TABLE plain DROP CONSTRAINT plain_r_fkey, DROP COLUMN n";
    run(&mut admin, again);
    assert_eq!(added(&world, &mut admin, alter), ["postgres|bypass_read|public.ticket"]);
    run(&mut admin, &format!("{again}; SET orgscope.bypass = deny"));
    refused(&mut admin, "OS007", alter);
}

/// A backfill's expression sees all organizations, also in functions: it says of each row whose it is.
#[test]
fn a_backfill_may_ask_a_function() {
    let world = World::new("lent_backfill");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE note (id int PRIMARY KEY, ticket_id int); INSERT INTO note VALUES (1, 1), (2, 12);
         CREATE FUNCTION organization_of(ticket int) RETURNS uuid LANGUAGE plpgsql STABLE AS
             'BEGIN RETURN (SELECT t.organization_id FROM public.ticket t WHERE t.id = ticket); END';
         SELECT orgscope.enable_org_scoping('note', options => '{\"backfill\": \"public.organization_of(ticket_id)\"}')",
    );
    assert_eq!(
        rows(&mut world.superuser(), "SELECT id, left(organization_id::text, 1) FROM note ORDER BY id"),
        ["1|a", "2|b"]
    );
}

/// Scoping looks at rows of the tables it works on, for nobody. What is called meanwhile does not.
#[test]
fn an_event_trigger_during_repair_is_on_record() {
    let world = World::new("lent_repair");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE TABLE seen (title text);
         CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.seen SELECT title FROM public.ticket; END'",
    );
    let weaken = "DROP POLICY orgscope_floor ON ticket";
    let watch = "CREATE EVENT TRIGGER look ON ddl_command_end EXECUTE FUNCTION look()";
    run(&mut admin, &format!("{weaken}; {watch}"));
    let found = added(&world, &mut admin, "SELECT orgscope.repair_org_scoping('ticket')");
    assert!(!found.is_empty() && found.iter().all(|row| row == "postgres|bypass_read|public.ticket"), "{found:?}");
    run(&mut admin, &format!("DROP EVENT TRIGGER look; {weaken}; {watch}; SET orgscope.bypass = deny"));
    refused(&mut admin, "OS007", "SELECT orgscope.repair_org_scoping('ticket')");
    run(&mut admin, "DROP EVENT TRIGGER look");
}

/// Change history makes images of rows as the table's owner.
#[test]
fn a_cast_in_a_row_image_is_on_record() {
    let world = World::new("lent_image");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE seen (title text);
         CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.seen SELECT title FROM public.ticket; RETURN to_json($1::text); END';
         CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
         CREATE TABLE diary (id int PRIMARY KEY, mood mood, organization_id uuid);
         SELECT orgscope.enable_org_scoping('diary'); SELECT orgscope.enable_change_history('diary')",
    );
    let write = format!("INSERT INTO diary VALUES (1, 'good', '{A}')");
    let found = added(&world, &mut admin, &write);
    assert!(found.contains(&"postgres|bypass_read|public.ticket".to_owned()), "{found:?}");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM seen"), "5");
}

/// A worker's own plan is its leader's access. What a function does in a worker is seen there.
#[test]
fn a_function_in_a_parallel_worker_is_on_record() {
    let world = World::new("lent_worker");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE FUNCTION titles() RETURNS text LANGUAGE plpgsql PARALLEL SAFE SECURITY DEFINER SET orgscope.audit_reads = off AS
             'BEGIN RETURN (SELECT string_agg(title, '','') FROM public.ticket); END';
         GRANT EXECUTE ON FUNCTION titles() TO app",
    );
    let mut app = world.app();
    force_parallel(&mut app, "on");
    assert_eq!(added(&world, &mut app, "SELECT titles()"), ["postgres|bypass_read|public.ticket"]);
    run(&mut admin, "ALTER FUNCTION titles() RESET orgscope.audit_reads; SET orgscope.bypass = deny");
    force_parallel(&mut admin, "on");
    refused(&mut admin, "OS007", "SELECT titles()");
    // The leader's access once, whatever its workers do.
    let mut dba = world.dba();
    force_parallel(&mut dba, "on");
    assert_eq!(added(&world, &mut dba, "SELECT count(*) FROM ticket"), ["dba|bypass_read|public.ticket"]);
}
