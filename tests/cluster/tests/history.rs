//! Change history: every changed row is on record with its images, for its own organization.

mod common;

use common::*;
use postgres::Client;

fn with_history(database: &str) -> World {
    let world = World::new(database);
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('ticket')");
    world
}

/// What was recorded: table, operation, organization, key, old and new title.
const LOG: &str =
    "SELECT table_name, operation, left(organization_id::text, 1), key->>'id', old->>'title', new->>'title'
    FROM orgscope.change_log ORDER BY id";

fn log(world: &World) -> Vec<String> {
    rows(&mut world.superuser(), LOG)
}

/// What a statement adds to the log, sorted.
fn added(world: &World, client: &mut Client, sql: &str) -> Vec<String> {
    let before = log(world).len();
    run(client, sql);
    let mut added = log(world).split_off(before);
    added.sort();
    added
}

fn under_a(sql: &str) -> String {
    format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; {sql}; COMMIT")
}

#[test]
fn every_kind_of_change_has_its_images() {
    let world = with_history("history_kinds");
    let mut app = world.app();
    let app = &mut app;
    assert_eq!(
        added(&world, app, &under_a("INSERT INTO ticket VALUES (3, 'x'), (4, 'y')")),
        ["public.ticket|INSERT|a|3|-|x", "public.ticket|INSERT|a|4|-|y"]
    );
    assert_eq!(
        added(&world, app, &under_a("UPDATE ticket SET title = title || '!' WHERE id > 2")),
        ["public.ticket|UPDATE|a|3|x|x!", "public.ticket|UPDATE|a|4|y|y!"]
    );
    assert_eq!(added(&world, app, &under_a("UPDATE ticket SET title = 'z' WHERE false")), [""; 0]);
    assert_eq!(
        added(
            &world,
            app,
            &under_a("INSERT INTO ticket VALUES (4, 'n'), (5, 'n') ON CONFLICT (id) DO UPDATE SET title = 'c'")
        ),
        ["public.ticket|INSERT|a|5|-|n", "public.ticket|UPDATE|a|4|y!|c"]
    );
    let merge = "MERGE INTO ticket t USING generate_series(3, 6) i ON t.id = i WHEN MATCHED AND i = 3 THEN DELETE
        WHEN MATCHED THEN UPDATE SET title = 'm' WHEN NOT MATCHED THEN INSERT VALUES (i, 'new')";
    assert_eq!(
        added(&world, app, &under_a(merge)),
        [
            "public.ticket|DELETE|a|3|x!|-",
            "public.ticket|INSERT|a|6|-|new",
            "public.ticket|UPDATE|a|4|c|m",
            "public.ticket|UPDATE|a|5|n|m"
        ]
    );
    assert_eq!(
        added(&world, app, &under_a("UPDATE ticket SET id = 7 WHERE id = 6")),
        ["public.ticket|UPDATE|a|6|new|-", "public.ticket|UPDATE|a|7|-|new"]
    );
    assert_eq!(added(&world, app, &under_a("DELETE FROM ticket WHERE id = 7")), ["public.ticket|DELETE|a|7|new|-"]);
    let before = log(&world).len();
    let mut dba = world.dba();
    let mut copy = dba.copy_in("COPY ticket FROM STDIN").unwrap();
    std::io::Write::write_all(&mut copy, format!("8\tcopied\t{A}\n14\tcopied\t{B}\n").as_bytes()).unwrap();
    copy.finish().unwrap();
    assert_eq!(
        log(&world).split_off(before),
        ["public.ticket|INSERT|a|8|-|copied", "public.ticket|INSERT|b|14|-|copied"]
    );
    let before = log(&world).len();
    run(app, &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; DELETE FROM ticket; ROLLBACK"));
    assert_eq!(log(&world).len(), before);
    assert_eq!(added(&world, &mut world.superuser(), "TRUNCATE ticket CASCADE"), ["public.ticket|TRUNCATE|-|-|-|-"]);
}

#[test]
fn who_and_when_are_on_record() {
    let world = with_history("history_who");
    run(&mut world.app(), &under_a("SET LOCAL orgscope.actor = 'jane'; UPDATE ticket SET title = 'q' WHERE id = 1"));
    assert_eq!(
        one(
            &mut world.superuser(),
            "SELECT actor, login_name, role_name, at <= clock_timestamp() AND statement_at <= at,
                 txid < pg_current_xact_id(), old, new FROM orgscope.change_log"
        ),
        format!(
            "jane|app|app|t|t|{{\"id\": 1, \"title\": \"a1\", \"organization_id\": \"{A}\"}}|{{\"id\": 1, \"title\": \"q\", \"organization_id\": \"{A}\"}}"
        )
    );
}

#[test]
fn a_cascade_is_on_record() {
    let world = with_history("history_cascade");
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('comment')");
    let added = added(&world, &mut world.app(), &under_a("DELETE FROM ticket WHERE id = 1"));
    assert_eq!(added, ["public.comment|DELETE|a|1|-|-", "public.ticket|DELETE|a|1|a1|-"]);
}

#[test]
fn a_tenant_reads_its_own_and_nobody_changes_it() {
    let world = with_history("history_tenant");
    let mut admin = world.superuser();
    run(&mut admin, "UPDATE ticket SET title = title || '!'");
    let mut app = world.app();
    assert_eq!(rows_under(&mut app, B, "SELECT key->>'id' FROM orgscope.change_log ORDER BY id"), ["11", "12", "13"]);
    assert_eq!(rows(&mut app, "SELECT 1 FROM orgscope.change_log"), [""; 0]);
    assert_eq!(rows_under(&mut app, B, "SELECT new->>'title' FROM orgscope.history_of('ticket', '11')"), ["b11!"]);
    assert_eq!(rows_under(&mut app, A, "SELECT new->>'title' FROM orgscope.history_of('ticket', '11')"), [""; 0]);
    for sql in
        ["INSERT INTO orgscope.change_log (operation) VALUES ('forged')", "SELECT FROM orgscope.change_log_default"]
    {
        refused_under(&mut app, A, "42501", sql);
    }
    for table in ["change_log", "change_log_default"] {
        for sql in ["UPDATE orgscope.{} SET actor = 'x'", "DELETE FROM orgscope.{}", "TRUNCATE orgscope.{}"] {
            let sql = sql.replace("{}", table);
            refused(&mut admin, "OS008", &sql);
            refused(&mut admin, "OS008", &format!("SET session_replication_role = replica; {sql}"));
        }
    }
    // Who may not read the table does not read its past.
    run(&mut world.owner(), "REVOKE SELECT ON ticket FROM app");
    assert_eq!(rows_under(&mut app, B, "SELECT 1 FROM orgscope.change_log"), [""; 0]);
}

/// Observed, a row may move to another organization.
#[test]
fn an_image_stays_in_its_organization() {
    let world = World::without_tables("history_move");
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE note (id int PRIMARY KEY, body text, organization_id uuid); GRANT ALL ON note TO app;
             INSERT INTO note VALUES (1, 'first', '{A}'), (2, 'nobody''s', NULL);
             SELECT orgscope.enable_org_scoping('note', options => '{{\"mode\": \"observe\"}}');
             SELECT orgscope.enable_change_history('note')"
        ),
    );
    run(&mut world.superuser(), &format!("UPDATE note SET organization_id = '{B}', body = 'moved'"));
    let all = "SELECT left(organization_id::text, 1), key->>'id', old->>'body', new->>'body'
        FROM orgscope.change_log ORDER BY 1, 2";
    assert_eq!(rows(&mut world.superuser(), all), ["a|1|first|-", "b|1|-|moved", "b|2|-|moved", "-|2|nobody's|-"]);
    assert_eq!(rows_under(&mut world.app(), B, all), ["b|1|-|moved", "b|2|-|moved"]);
    run(
        &mut world.superuser(),
        "INSERT INTO note VALUES (3, 'third'); UPDATE note SET body = 'still nobody''s' WHERE id = 3",
    );
    assert_eq!(
        rows(
            &mut world.superuser(),
            "SELECT old->>'body', new->>'body' FROM orgscope.change_log
             WHERE organization_id IS NULL AND old IS NOT NULL AND new IS NOT NULL ORDER BY id"
        ),
        ["third|still nobody's"]
    );
}

#[test]
fn a_tenant_finds_a_row_by_the_index() {
    let world = with_history("history_index");
    run(
        &mut world.superuser(),
        &format!(
            "INSERT INTO ticket SELECT i, 'n', '{A}' FROM generate_series(1001, 4000) i; ANALYZE orgscope.change_log"
        ),
    );
    let plan = rows_under(
        &mut world.app(),
        A,
        "EXPLAIN SELECT FROM orgscope.change_log WHERE orgscope.key_hash(key) = orgscope.key_hash('{\"id\": 2000}')",
    );
    assert!(plan.iter().any(|line| line.contains("change_log_default_key_idx")), "{plan:#?}");
}

#[test]
fn partitions_are_recorded_whichever_table_is_named() {
    let world = World::without_tables("history_partitions");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE event (id int PRIMARY KEY, title text, organization_id uuid NOT NULL) PARTITION BY RANGE (id);
         CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (1) TO (100);
         CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
         CREATE TABLE event_2a PARTITION OF event_2 FOR VALUES FROM (100) TO (150);
         SELECT orgscope.enable_org_scoping('event'); SELECT orgscope.enable_change_history('event', '{organization_id}');
         CREATE TABLE event_3 PARTITION OF event FOR VALUES FROM (200) TO (300);
         CREATE TABLE event_4 (title text, extra int, organization_id uuid NOT NULL, id int NOT NULL);
         ALTER TABLE event_4 DROP COLUMN extra;
         ALTER TABLE event ATTACH PARTITION event_4 FOR VALUES FROM (300) TO (400);
         GRANT ALL ON event, event_1, event_2, event_2a, event_3, event_4 TO app",
    );
    let (mut app, mut admin) = (world.app(), world.superuser());
    let triggers = "SELECT count(*), count(*) FILTER (WHERE tgenabled = 'A') FROM pg_trigger WHERE tgname LIKE 'orgscope_history%'";
    assert_eq!(one(&mut admin, triggers), "24|24");
    assert_eq!(one(&mut admin, "SELECT bool_and(protected) FROM orgscope.scoped_tables"), "t");
    for (n, table) in ["event", "event_1", "event_2", "event_2a", "event_3", "event_4"].iter().enumerate() {
        let id = [1, 2, 100, 101, 200, 300][n];
        let change = format!("INSERT INTO {table} (id, title) VALUES ({id}, 't')");
        assert_eq!(added(&world, &mut app, &under_a(&change)), [format!("public.event|INSERT|a|{id}|-|t")]);
    }
    assert_eq!(one(&mut admin, "SELECT DISTINCT new - 'id' FROM orgscope.change_log"), "{\"title\": \"t\"}");
    let moved = "UPDATE event SET id = id + 1 WHERE id = 2; UPDATE event SET id = 301, title = 'u' WHERE id = 1";
    assert_eq!(
        added(&world, &mut app, &under_a(moved)),
        [
            "public.event|UPDATE|a|1|t|-",
            "public.event|UPDATE|a|2|t|-",
            "public.event|UPDATE|a|301|-|u",
            "public.event|UPDATE|a|3|-|t"
        ]
    );
    let added_by_all = added(&world, &mut app, &under_a("UPDATE event SET title = 'all'"));
    assert_eq!(added_by_all.len(), 6);
    assert!(added_by_all.iter().all(|row| row.contains("|UPDATE|") && row.ends_with("|all")), "{added_by_all:#?}");
    assert_eq!(
        added(&world, &mut admin, "TRUNCATE event_2"),
        ["public.event_2a|TRUNCATE|-|-|-|-", "public.event_2|TRUNCATE|-|-|-|-"]
    );
    // What has left the tree is recorded under its own name.
    run(&mut owner, "ALTER TABLE event DETACH PARTITION event_3");
    let deleted = added(&world, &mut app, &under_a("DELETE FROM event_3"));
    assert_eq!(deleted, ["public.event_3|DELETE|a|200|all|-"]);
}

/// A key is unique in one table of an inheritance tree, not in all.
#[test]
fn children_of_the_same_key_are_not_mixed() {
    let world = World::without_tables("history_children");
    run(
        &mut world.owner(),
        "CREATE TABLE parent (id int PRIMARY KEY, title text, organization_id uuid NOT NULL);
         CREATE TABLE child (more int) INHERITS (parent);
         SELECT orgscope.enable_org_scoping('parent'); SELECT orgscope.enable_change_history('parent');
         GRANT ALL ON parent, child TO app",
    );
    let mut app = world.app();
    run(&mut app, &under_a("INSERT INTO parent VALUES (1, 'p'); INSERT INTO child (id, title) VALUES (1, 'c')"));
    assert_eq!(
        added(&world, &mut app, &under_a("UPDATE parent SET title = title || '!'")),
        ["public.parent|UPDATE|a|1|c|c!", "public.parent|UPDATE|a|1|p|p!"]
    );
    assert_eq!(
        added(&world, &mut app, &under_a("UPDATE child SET title = 'only'")),
        ["public.parent|UPDATE|a|1|c!|only"]
    );
}

#[test]
fn excluded_columns_stay_out_under_every_name() {
    let world = World::new("history_exclude");
    let (mut owner, mut app, mut admin) = (world.owner(), world.app(), world.superuser());
    run(&mut owner, "ALTER TABLE ticket ADD secret text, ADD note text");
    run(&mut owner, "SELECT orgscope.enable_change_history('ticket', '{secret}')");
    let change = "UPDATE ticket SET title = 'n', secret = 'hidden', note = 'hidden too' WHERE id = 1";
    run(&mut app, &under_a(change));
    run(&mut owner, "ALTER TABLE ticket RENAME COLUMN secret TO \"Other\"");
    run(&mut app, &under_a("UPDATE ticket SET \"Other\" = 'hidden', note = 'n' WHERE id = 2"));
    run(&mut owner, "SELECT orgscope.enable_change_history('ticket', '{Other, note}')");
    run(&mut app, &under_a("UPDATE ticket SET \"Other\" = 'hidden again' WHERE id = 2"));
    run(&mut owner, "ALTER TABLE ticket DROP COLUMN \"Other\", ADD COLUMN fresh int");
    run(&mut app, &under_a("UPDATE ticket SET fresh = 7 WHERE id = 2"));
    let seen = "SELECT string_agg(k, ',' ORDER BY k) FROM orgscope.change_log l, jsonb_object_keys(l.new) k GROUP BY l.id ORDER BY l.id";
    assert_eq!(
        rows(&mut admin, seen),
        [
            "id,note,organization_id,title",
            "id,note,organization_id,title",
            "id,organization_id,title",
            "fresh,id,organization_id,title"
        ]
    );
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.change_log l WHERE l::text LIKE '%hidden\"%'"), "0");
}

#[test]
fn what_records_is_not_taken_away() {
    let world = with_history("history_drift");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    refused(&mut owner, "OS006", "DROP TRIGGER orgscope_history_update ON ticket");
    refused(&mut owner, "OS006", "ALTER TABLE ticket DISABLE TRIGGER orgscope_history_update");
    refused(&mut owner, "OS005", "SELECT orgscope.disable_org_scoping('ticket')");
    refused(&mut world.app(), "42501", "SELECT orgscope.disable_change_history('ticket')");
    run(&mut admin, "DROP TRIGGER orgscope_history_update ON ticket");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.repair_org_scoping('ticket')"), "2");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.repair_org_scoping('ticket')"), "0");
    run(&mut admin, "SET session_replication_role = replica; UPDATE ticket SET title = 'r' WHERE id = 1");
    assert_eq!(log(&world), ["public.ticket|UPDATE|a|1|a1|r"]);
    // A second enable of scoping keeps it.
    run(&mut owner, "SELECT orgscope.enable_org_scoping('ticket', options => '{\"on_delete\": \"cascade\"}')");
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.history_tables"), "1");
    let steps = "SELECT count(*) FROM orgscope.disable_change_history('ticket')";
    assert_eq!(one(&mut owner, steps), "4");
    assert_eq!(rows(&mut owner, "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'orgscope_history%'"), [""; 0]);
    refused(&mut owner, "OS005", steps);
    run(&mut owner, "SELECT orgscope.disable_org_scoping('ticket')");
    refused(&mut owner, "OS005", "SELECT orgscope.enable_change_history('ticket')");
    assert_eq!(log(&world).len(), 1);
}

#[test]
fn nobody_forges_a_change() {
    let world = with_history("history_forged");
    let mut owner = world.owner();
    let event = |name: &str, table: &str| {
        format!(
            "CREATE TRIGGER {name} AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
             EXECUTE FUNCTION orgscope.history()"
        )
    };
    run(&mut owner, "CREATE TABLE mine (id int PRIMARY KEY, organization_id uuid)");
    run(&mut owner, &event("orgscope_history_insert", "mine"));
    run(&mut owner, &format!("INSERT INTO mine VALUES (1, '{B}')"));
    run(&mut owner, "DROP TRIGGER orgscope_history_insert ON mine");
    run(&mut owner, &event("another", "mine"));
    refused(&mut owner, "39P01", &format!("INSERT INTO mine VALUES (2, '{B}')"));
    assert_eq!(log(&world), [""; 0]);
    refused(&mut world.app(), "42501", "SELECT orgscope.row_image(ROW(1), 10)");
}

/// The statement that records is the superuser's; a type's cast to json is anybody's.
#[test]
fn a_cast_runs_as_the_owner_of_the_table() {
    let world = World::new("history_cast");
    run(
        &mut world.owner(),
        "CREATE TYPE mood AS ENUM ('good', 'bad');
         CREATE FUNCTION who(mood) RETURNS json LANGUAGE sql AS $$ SELECT to_json(current_user::text) $$;
         CREATE CAST (mood AS json) WITH FUNCTION who(mood);
         ALTER TABLE ticket ADD mood mood DEFAULT 'good';
         SELECT orgscope.enable_change_history('ticket')",
    );
    run(&mut world.superuser(), "UPDATE ticket SET mood = 'bad' WHERE id = 1");
    assert_eq!(
        one(&mut world.superuser(), "SELECT old->>'mood', new->>'mood', role_name FROM orgscope.change_log"),
        "owner|owner|postgres"
    );
}

#[test]
fn a_dump_brings_it_back() {
    let world = with_history("history_dumped");
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('ticket', '{title}')");
    run(&mut world.app(), &under_a("UPDATE ticket SET title = 'q' WHERE id = 1"));
    let copy = world.beside("history_restored");
    let file = world.cluster().scratch_directory("history").unwrap().join("dump");
    for (program, arguments) in [("pg_dump", ["-Fc", "-f"]), ("pg_restore", ["-e", "-1"])] {
        let database = if program == "pg_dump" { world.name() } else { copy.name() };
        output(world.cluster().command(program).args(["-d", database]).args(arguments).arg(&file));
    }
    assert_eq!(log(&copy), log(&world));
    run(&mut copy.app(), &under_a("UPDATE ticket SET title = 'r' WHERE id = 1"));
    let mut admin = copy.superuser();
    assert_eq!(
        one(&mut admin, "SELECT count(DISTINCT id), count(old->'id'), count(old->'title') FROM orgscope.change_log"),
        "2|2|0"
    );
    assert_eq!(one(&mut admin, "SELECT bool_and(protected) FROM orgscope.scoped_tables"), "t");
    refused(&mut copy.owner(), "OS006", "DROP TRIGGER orgscope_history_update ON ticket");
    run(&mut copy.owner(), "SELECT orgscope.disable_change_history('ticket')");
}
