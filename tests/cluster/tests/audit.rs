//! Writes outside row security are on record, in their transaction, and the record cannot be changed.

mod common;

use common::*;

/// What was recorded, in order.
fn record(world: &World) -> Vec<String> {
    rows(
        &mut world.superuser(),
        "SELECT table_name, operation, row_count, left(organization_id::text, 1) FROM orgscope.audit_log
         WHERE action = 'bypass_write' AND row_count IS DISTINCT FROM 0 AND detail IS NULL ORDER BY id",
    )
}

/// What a statement adds to the record, sorted.
fn added(world: &World, client: &mut postgres::Client, sql: &str) -> Vec<String> {
    let before = record(world).len();
    run(client, sql);
    let mut added = record(world).split_off(before);
    added.sort();
    added
}

#[test]
fn every_kind_of_write_is_counted_per_organization() {
    let world = World::new("counts");
    for user in ["dba", "postgres"] {
        let mut client = world.connect(user);
        let c = &mut client;
        assert_eq!(
            added(&world, c, "UPDATE ticket SET title = title"),
            ["public.ticket|UPDATE|2|a", "public.ticket|UPDATE|3|b"]
        );
        assert_eq!(added(&world, c, "UPDATE ticket SET title = title WHERE false"), [""; 0]);
        let insert = format!(
            "INSERT INTO ticket SELECT i, 'x', CASE WHEN i % 2 = 0 THEN '{A}'::uuid ELSE '{B}' END FROM generate_series(1001, 1010) i"
        );
        assert_eq!(added(&world, c, &insert), ["public.ticket|INSERT|5|a", "public.ticket|INSERT|5|b"]);
        let upsert = format!(
            "INSERT INTO ticket VALUES (1001, 'y', '{B}'), (1002, 'y', '{A}'), (1011, 'y', '{A}') ON CONFLICT (id) DO UPDATE SET title = 'y'"
        );
        assert_eq!(
            added(&world, c, &upsert),
            ["public.ticket|INSERT|1|a", "public.ticket|UPDATE|1|a", "public.ticket|UPDATE|1|b"]
        );
        assert_eq!(added(&world, c, "INSERT INTO ticket SELECT * FROM ticket ON CONFLICT DO NOTHING"), [""; 0]);
        let merge = format!(
            "MERGE INTO ticket t USING generate_series(1009, 1014) i ON t.id = i
            WHEN MATCHED AND i = 1009 THEN DELETE WHEN MATCHED THEN UPDATE SET title = 'm'
            WHEN NOT MATCHED THEN INSERT VALUES (i, 'm', '{C}')"
        );
        assert_eq!(
            added(&world, c, &merge),
            ["public.ticket|DELETE|1|b", "public.ticket|INSERT|3|c", "public.ticket|UPDATE|2|a"]
        );
        let cte = format!("WITH gone AS (DELETE FROM ticket WHERE id > 1000 RETURNING id), new AS (INSERT INTO comment (ticket_id, organization_id) VALUES (1, '{A}') RETURNING 1)
            SELECT count(*) FROM gone, new");
        let both = [
            "public.comment|INSERT|1|a",
            "public.ticket|DELETE|3|c",
            "public.ticket|DELETE|4|b",
            "public.ticket|DELETE|6|a",
        ];
        assert_eq!(added(&world, c, &cte), both);
        run(c, "DELETE FROM comment WHERE ticket_id = 1 AND body IS NULL");
    }
    let mut admin = world.superuser();
    assert_eq!(added(&world, &mut admin, "TRUNCATE comment"), ["public.comment|TRUNCATE|-|-"]);
    assert_eq!(
        added(&world, &mut admin, "TRUNCATE ticket CASCADE"),
        ["public.comment|TRUNCATE|-|-", "public.ticket|TRUNCATE|-|-"]
    );
    assert_eq!(
        one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_write' AND event_count <> 1"),
        "0"
    );
}

#[test]
fn copy_is_counted() {
    use std::io::Write;
    let world = World::new("copy_counted");
    let mut dba = world.dba();
    let mut writer = dba.copy_in("COPY ticket FROM STDIN").unwrap();
    write!(writer, "2001\tx\t{A}\n2002\tx\t{B}\n2003\tx\t{B}\n").unwrap();
    writer.finish().unwrap();
    assert_eq!(record(&world), ["public.ticket|INSERT|1|a", "public.ticket|INSERT|2|b"]);
    assert_eq!(
        rows(&mut world.superuser(), "SELECT DISTINCT statement FROM orgscope.audit_log WHERE action = 'bypass_write'"),
        ["COPY ticket FROM STDIN"]
    );
}

#[test]
fn a_row_says_who_and_why() {
    let world = World::new("who");
    run(&mut world.superuser(), "GRANT app TO dba");
    let mut client =
        world.cluster().client_config("postgres", "who").application_name("the tool").connect(postgres::NoTls).unwrap();
    run(&mut client, "SET orgscope.actor = 'alice@example.com'; SET orgscope.reason = 'ticket 4711'");
    let txid = one(&mut client, "BEGIN; SELECT pg_current_xact_id()");
    run(&mut client, "SAVEPOINT s");
    run(&mut client, "UPDATE ticket SET title = 'x' WHERE id = 1");
    run(&mut client, "COMMIT");
    let columns = "actor, reason, login_name, session_user_name, role_name, application_name, host(client_addr), txid, statement, action, organization_id, sqlstate";
    let last =
        format!("SELECT {columns} FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY id DESC LIMIT 1");
    assert_eq!(
        rows(&mut client, &last),
        [format!(
            "alice@example.com|ticket 4711|postgres|postgres|postgres|the tool|127.0.0.1|{txid}|UPDATE ticket SET title = 'x' WHERE id = 1|bypass_write|{A}|-"
        )]
    );

    let names = "SELECT login_name, session_user_name, role_name FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY id DESC LIMIT 1";
    for (set, expected) in [
        ("SET ROLE dba", "postgres|postgres|dba"),
        ("SET SESSION AUTHORIZATION dba", "postgres|dba|dba"),
        ("SET LOCAL ROLE dba", "postgres|postgres|dba"),
    ] {
        run(&mut client, "BEGIN");
        run(&mut client, set);
        run(&mut client, "UPDATE ticket SET title = 'x' WHERE id = 1");
        run(&mut client, "COMMIT; RESET SESSION AUTHORIZATION; RESET ROLE");
        assert_eq!(rows(&mut client, names), [expected], "{set}");
    }
    // The extended protocol: the prepared text, without the values.
    client.execute("UPDATE ticket SET title = $1 WHERE id = 1", &[&"secret"]).unwrap();
    assert_eq!(
        rows(
            &mut client,
            "SELECT statement FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY id DESC LIMIT 1"
        ),
        ["UPDATE ticket SET title = $1 WHERE id = 1"]
    );

    // A Unix socket has no address.
    let socket = world
        .cluster()
        .command("psql")
        .args(["-XqAtd", "who", "-c", "UPDATE ticket SET title = 'x' WHERE id = 1"])
        .status();
    assert!(socket.unwrap().success());
    assert_eq!(
        rows(
            &mut client,
            "SELECT client_addr, actor, reason, application_name FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY id DESC LIMIT 1"
        ),
        ["-|-|-|psql"]
    );
}

#[test]
fn what_was_rolled_back_is_not_counted() {
    let world = World::new("rolled_back");
    let mut dba = world.dba();
    run(&mut dba, "BEGIN; UPDATE ticket SET title = 'x'; ROLLBACK");
    assert_eq!(record(&world), [""; 0]);
    run(
        &mut dba,
        "BEGIN; SAVEPOINT s; UPDATE ticket SET title = 'x'; ROLLBACK TO s; UPDATE ticket SET title = 'y' WHERE id = 1; COMMIT",
    );
    assert_eq!(record(&world), ["public.ticket|UPDATE|1|a"]);
    // A statement that fails after some of its rows, inside an exception block.
    run(
        &mut dba,
        "DO $$ BEGIN
            BEGIN UPDATE ticket SET title = CASE WHEN id = 13 THEN (1 / (id - 13))::text ELSE 'z' END;
            EXCEPTION WHEN division_by_zero THEN NULL; END;
            UPDATE ticket SET title = 'w' WHERE id = 11;
        END $$",
    );
    assert_eq!(record(&world), ["public.ticket|UPDATE|1|a", "public.ticket|UPDATE|1|b"]);
    // The same outside of one: the next transaction starts from nothing.
    refused(&mut dba, "22012", "UPDATE ticket SET title = (1 / (id - 13))::text");
    run(&mut dba, "UPDATE ticket SET title = 'v' WHERE id = 12");
    assert_eq!(record(&world).split_off(2), ["public.ticket|UPDATE|1|b"]);
}

#[test]
fn nested_statements_are_counted_for_their_own_tables() {
    let world = World::new("nested");
    let mut admin = world.superuser();
    run(&mut admin, "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO comment (ticket_id, body, organization_id) VALUES (NEW.id, 'noted', NEW.organization_id); RETURN NEW; END $$;
        CREATE TRIGGER note AFTER UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION note()");
    run(&mut world.dba(), "UPDATE ticket SET title = 'x'");
    let totals = "SELECT table_name, operation, sum(row_count), left(organization_id::text, 1) FROM orgscope.audit_log WHERE action = 'bypass_write' GROUP BY 1, 2, 4 ORDER BY 1, 4";
    assert_eq!(
        rows(&mut admin, totals),
        [
            "public.comment|INSERT|2|a",
            "public.comment|INSERT|3|b",
            "public.ticket|UPDATE|2|a",
            "public.ticket|UPDATE|3|b"
        ]
    );
    // A trigger that writes its own table again.
    run(
        &mut admin,
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE ticket SET title = 'again' WHERE id = NEW.id AND title <> 'again'; RETURN NULL; END $$;
        DROP TRIGGER note ON ticket; CREATE TRIGGER again AFTER UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION again()",
    );
    let before: i64 =
        one(&mut admin, "SELECT sum(row_count) FROM orgscope.audit_log WHERE action = 'bypass_write'").parse().unwrap();
    run(&mut world.dba(), "UPDATE ticket SET title = 'y'");
    assert_eq!(
        one(&mut admin, "SELECT sum(row_count) FROM orgscope.audit_log WHERE action = 'bypass_write'"),
        (before + 10).to_string()
    );
}

#[test]
fn nobody_changes_the_record() {
    let world = World::new("immutable");
    run(&mut world.dba(), "UPDATE ticket SET title = 'x'");
    let before = record(&world);
    let changes = [
        "UPDATE orgscope.audit_log SET reason = 'x'",
        "UPDATE orgscope.audit_log SET reason = 'x' WHERE false",
        "DELETE FROM orgscope.audit_log",
        "TRUNCATE orgscope.audit_log",
        "MERGE INTO orgscope.audit_log USING (VALUES (1)) v (i) ON true WHEN MATCHED THEN DELETE",
        "WITH d AS (DELETE FROM orgscope.audit_log RETURNING 1) SELECT count(*) FROM d",
    ];
    for change in changes {
        let mut admin = world.superuser();
        let error = refused(&mut admin, "OS008", change);
        assert!(error.hint().is_some() && error.detail().is_some());
        assert_eq!((error.schema(), error.table()), (Some("orgscope"), Some("audit_log")), "{change}");
        run(&mut admin, "SET session_replication_role = replica");
        refused(&mut admin, "OS008", change);
        for user in ["app", "owner", "dba"] {
            refused(&mut world.connect(user), "42501", change);
        }
    }
    for user in ["app", "owner", "dba"] {
        refused(&mut world.connect(user), "42501", "INSERT INTO orgscope.audit_log (action) VALUES ('x')");
    }
    assert_eq!(record(&world), before);
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let denied = "SELECT DISTINCT table_name FROM orgscope.audit_log WHERE sqlstate = 'OS008'";
    assert_eq!(rows(&mut admin, denied), ["orgscope.audit_log"]);
}

#[test]
fn a_tenant_reads_its_own_part() {
    let world = World::new("tenant_audit");
    run(&mut world.dba(), "UPDATE ticket SET title = 'secret of another'");
    run(&mut world.superuser(), "TRUNCATE comment");
    let mut app = world.app();
    let read = "SELECT operation, row_count, organization_id FROM orgscope.audit_log";
    assert_eq!(rows_under(&mut app, A, read), [format!("UPDATE|2|{A}")]);
    assert_eq!(rows_under(&mut app, B, read), [format!("UPDATE|3|{B}")]);
    assert!(rows_under(&mut app, C, read).is_empty());
    assert!(rows(&mut app, read).is_empty());
    for denied in [
        "SELECT statement FROM orgscope.audit_log",
        "SELECT * FROM orgscope.audit_log",
        "SELECT audit_log FROM orgscope.audit_log",
        "SELECT detail FROM orgscope.audit_log",
    ] {
        refused_under(&mut app, A, "42501", denied);
    }
}

/// The trigger functions are everybody's to use: on a table of their own they must not write the record of others.
#[test]
fn nobody_forges_the_record() {
    let world = World::new("forged");
    let mut app = world.app();
    run(
        &mut app,
        "CREATE TEMP TABLE mine (c uuid);
        CREATE TRIGGER a AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION orgscope.last_word('c');
        CREATE TRIGGER b AFTER INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION orgscope.record('c');
        CREATE TRIGGER c BEFORE TRUNCATE ON mine FOR EACH STATEMENT EXECUTE FUNCTION orgscope.truncate('c')",
    );
    for sql in [format!("INSERT INTO mine VALUES ('{B}')"), "TRUNCATE mine".into()] {
        // Whether it is refused does not matter, only that nothing is recorded.
        state(&mut app, &sql);
    }
    for function in ["fill", "guard", "last_word", "record", "statement", "truncate"] {
        refused(&mut app, "39P01", &format!("SELECT orgscope.{function}()"));
    }
    assert_eq!(record(&world), [""; 0]);
}

/// Not on the registry either: statements that have nothing to do with orgscope would wait for it, or keep others waiting.
#[test]
fn an_access_leaves_no_lock_of_ours() {
    let world = World::new("audit_locks");
    let mut admin = world.superuser();
    run(&mut admin, "CREATE TABLE ordinary ()");
    run(&mut admin, "BEGIN; SELECT * FROM ticket; SELECT * FROM ordinary; INSERT INTO ordinary DEFAULT VALUES");
    let locked = "SELECT DISTINCT relation::regclass FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384 ORDER BY 1";
    let names = rows(&mut admin, locked);
    assert!(
        names.contains(&"ticket".to_owned()) && names.iter().all(|name| !name.starts_with("orgscope.")),
        "{names:?}"
    );
}
