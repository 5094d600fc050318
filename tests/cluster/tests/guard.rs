//! What each role may write, and that no foreign row is ever stored, whoever asks.

mod common;

use common::*;

fn insert(id: i32, org: &str) -> String {
    format!("INSERT INTO ticket (id, title, organization_id) VALUES ({id}, 'new', '{org}')")
}

#[test]
fn a_normal_role_writes_its_own_rows_and_no_others() {
    let world = World::new("normal");
    for (user, base) in [("app", 100), ("owner", 200)] {
        let mut client = world.connect(user);
        let before = all_tickets(&world);
        for org in [A, B, C] {
            refused(&mut client, "OS001", &insert(base, org));
        }
        for sql in [
            "INSERT INTO ticket VALUES (999)",
            "UPDATE ticket SET title = 'x'",
            "DELETE FROM ticket",
            "TRUNCATE ticket, comment",
            "MERGE INTO ticket USING (VALUES (1)) v (id) ON ticket.id = v.id WHEN MATCHED THEN DELETE",
            "INSERT INTO ticket VALUES (1) ON CONFLICT DO NOTHING",
        ] {
            refused(&mut client, "OS001", sql);
        }
        refused_under(&mut client, A, "OS002", &insert(base, B));
        refused_under(&mut client, A, "OS002", &format!("UPDATE ticket SET organization_id = '{B}' WHERE id = 1"));
        refused_under(&mut client, A, "OS002", "TRUNCATE ticket, comment");
        refused_under(&mut client, A, "OS002", "TRUNCATE ticket CASCADE");
        for (sql, tag) in [("UPDATE ticket SET title = 'x' WHERE id > 10", 0), ("DELETE FROM ticket WHERE id > 10", 0)]
        {
            begin(&mut client, A);
            assert_eq!(client.execute(sql, &[]).unwrap(), tag);
            run(&mut client, "COMMIT");
        }
        assert_eq!(all_tickets(&world), before, "{user}");

        let own = format!("{} RETURNING organization_id", insert(base, A));
        assert_eq!(rows_under(&mut client, A, &own), [A]);
        let filled = format!(
            "INSERT INTO ticket (id, organization_id) VALUES ({}, NULL), ({}, DEFAULT) RETURNING organization_id",
            base + 1,
            base + 2
        );
        assert_eq!(rows_under(&mut client, A, &filled), [A, A]);
        let update = "UPDATE ticket SET title = 'mine', organization_id = NULL RETURNING organization_id";
        assert!(rows_under(&mut client, A, update).iter().all(|org| org == A));
        let delete = format!("DELETE FROM ticket WHERE id >= {base} RETURNING id");
        assert_eq!(rows_under(&mut client, A, &delete).len(), 3);
        run(&mut world.superuser(), "UPDATE ticket SET title = 'a' || id WHERE id < 3");
    }
    run(&mut world.superuser(), "GRANT SELECT (id), TRUNCATE ON orgscope.organization TO app");
    refused_under(&mut world.app(), A, "OS002", "TRUNCATE orgscope.organization CASCADE");
}

#[test]
fn upsert_and_merge_cannot_reach_a_foreign_row() {
    let world = World::new("upsert");
    run(
        &mut world.owner(),
        "CREATE TABLE account (email text UNIQUE, n int, organization_id uuid);
        SELECT orgscope.enable_org_scoping('public.account'); GRANT ALL ON account TO app, dba",
    );
    let before = all_tickets(&world);
    let mut app = world.app();
    let upsert = "INSERT INTO ticket VALUES (11, 'stolen') ON CONFLICT (id) DO UPDATE SET title = 'stolen'";
    refused_under(&mut app, A, "42501", upsert);
    assert!(
        rows_under(&mut app, A, "INSERT INTO ticket VALUES (11, 'x') ON CONFLICT DO NOTHING RETURNING id").is_empty()
    );
    refused_under(&mut app, A, "23505", "INSERT INTO ticket VALUES (11, 'x')");
    let merge = |org: &str| {
        format!(
            "MERGE INTO ticket t USING (VALUES (12, 'm')) v (id, title) ON t.id = v.id
         WHEN MATCHED THEN UPDATE SET title = v.title
         WHEN NOT MATCHED THEN INSERT (id, title, organization_id) VALUES (1000, v.title, '{org}')"
        )
    };
    refused_under(&mut app, A, "OS002", &merge(B));
    refused_under(
        &mut app,
        B,
        "OS002",
        &format!(
            "MERGE INTO ticket t USING (VALUES (12)) v (id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET organization_id = '{A}'"
        ),
    );
    assert_eq!(all_tickets(&world), before);
    rows_under(&mut app, A, &merge(A));
    assert_eq!(rows_under(&mut app, A, "SELECT title FROM ticket WHERE id = 1000"), ["m"]);

    // Unique per organization: the same e-mail twice, and each upsert hits its own row.
    for org in [A, B] {
        for _ in 0..2 {
            let sql = "INSERT INTO account VALUES ('x@y', 1) ON CONFLICT (organization_id, email) DO UPDATE SET n = account.n + 1 RETURNING n";
            rows_under(&mut app, org, sql);
        }
        assert_eq!(rows_under(&mut app, org, "SELECT email, n FROM account"), ["x@y|2"]);
    }
    refused_under(&mut app, A, "23505", "INSERT INTO account VALUES ('x@y', 1)");
}

#[test]
fn a_bypassing_role_with_a_context_keeps_to_it() {
    let world = World::new("bypass_context");
    for user in ["dba", "postgres"] {
        for replica in [false, true] {
            if replica && user == "dba" {
                continue;
            }
            let mut client = world.connect(user);
            if replica {
                run(&mut client, "SET session_replication_role = replica");
            }
            let before = all_tickets(&world);
            for sql in [
                insert(300, B),
                "UPDATE ticket SET title = 'x'".into(),
                "UPDATE ticket SET title = 'x' WHERE id = 11".into(),
                format!("UPDATE ticket SET organization_id = '{B}' WHERE id = 1"),
                format!("UPDATE ticket SET organization_id = '{A}' WHERE id = 11"),
                "DELETE FROM comment".into(),
                "DELETE FROM ticket WHERE id = 11".into(),
                "TRUNCATE ticket CASCADE".into(),
                "INSERT INTO ticket VALUES (11, 'x') ON CONFLICT (id) DO UPDATE SET title = 'x'".into(),
                "MERGE INTO ticket t USING (VALUES (11)) v (id) ON t.id = v.id WHEN MATCHED THEN DELETE".into(),
                "MERGE INTO ticket t USING (VALUES (11)) v (id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET title = 'x'".into(),
                "WITH gone AS (DELETE FROM ticket RETURNING id) SELECT count(*) FROM gone".into(),
            ] {
                refused_under(&mut client, A, "OS002", &sql);
            }
            assert_eq!(all_tickets(&world), before, "{user}");
            assert_eq!(rows_under(&mut client, A, "INSERT INTO ticket VALUES (301) RETURNING organization_id"), [A]);
            rows_under(
                &mut client,
                A,
                "UPDATE ticket SET title = 'x' WHERE id = 301; DELETE FROM ticket WHERE id = 301",
            );
        }
    }
}

#[test]
fn a_bypassing_role_without_a_context() {
    let world = World::new("bypass_free");
    for (user, id) in [("dba", 400), ("postgres", 410)] {
        let mut client = world.connect(user);
        run(&mut client, &insert(id, A));
        run(&mut client, &insert(id + 1, B));
        refused(&mut client, "OS001", "INSERT INTO ticket VALUES (499)");
        refused(&mut client, "OS001", "INSERT INTO ticket VALUES (499, 'x', NULL)");
        refused(&mut client, "OS002", &format!("UPDATE ticket SET organization_id = '{B}' WHERE id = {id}"));
        refused(
            &mut client,
            "OS002",
            &format!(
                "MERGE INTO ticket t USING (VALUES ({id})) v (id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET organization_id = '{B}'"
            ),
        );
        let kept =
            format!("UPDATE ticket SET organization_id = NULL, title = 'y' WHERE id = {id} RETURNING organization_id");
        assert_eq!(rows(&mut client, &kept), [A]);
        refused(&mut client, "23503", &insert(499, "dddddddd-0000-7000-8000-000000000004"));
        run(&mut client, &format!("DELETE FROM ticket WHERE id >= {id}"));
    }
    assert_eq!(all_tickets(&world).len(), 5);
}

#[test]
fn copy_in_is_guarded_row_by_row() {
    use std::io::Write;
    let world = World::new("copy_in");
    let copy = |user: &str, context: Option<&str>, columns: &str, text: &str| -> String {
        let mut client = world.connect(user);
        run(&mut client, "BEGIN");
        if let Some(org) = context {
            run(&mut client, &format!("SET LOCAL orgscope.current_org = '{org}'"));
        }
        let result = client.copy_in(&format!("COPY ticket {columns} FROM STDIN")).and_then(|mut writer| {
            writer.write_all(text.as_bytes()).unwrap();
            writer.finish()
        });
        if result.is_ok() {
            run(&mut client, "COMMIT");
        }
        result.map_or_else(|e| code(&e), |rows| rows.to_string())
    };
    let (own, foreign) = (format!("501\tx\t{A}\n502\ty\t\\N\n"), format!("503\tx\t{A}\n504\ty\t{B}\n"));
    for user in ["dba", "postgres"] {
        assert_eq!(copy(user, Some(A), "", &foreign), "OS002");
        assert_eq!(copy(user, None, "", "505\tx\t\\N\n"), "OS001");
        assert_eq!(copy(user, None, "(id)", "505\n"), "OS001");
    }
    assert_eq!(copy("app", Some(A), "", &foreign), "OS002");
    assert_eq!(copy("app", None, "", &own), "OS001");
    assert_eq!(copy("app", Some(A), "", "507\tx\t\\N\n"), "1");
    assert_eq!(copy("dba", Some(A), "", &own), "2");
    assert_eq!(copy("postgres", Some(A), "(id)", "506\n"), "1");
    assert_eq!(copy("postgres", None, "", &foreign), "2");
    let stored = rows(
        &mut world.superuser(),
        "SELECT id, left(organization_id::text, 1) FROM ticket WHERE id > 500 ORDER BY id",
    );
    assert_eq!(stored, ["501|a", "502|a", "503|a", "504|b", "506|a", "507|a"]);
}

/// Names that sort before, between and after ours.
const FLIPS: [&str; 5] = ["aaa_flip", "zzz_flip", "~zzz_flip", "\u{00e9}_flip", "\u{ffff}"];

#[test]
fn no_trigger_of_the_application_can_change_the_organization() {
    let world = World::new("flip_triggers");
    let mut admin = world.superuser();
    run(&mut admin, &format!(
        "CREATE FUNCTION flip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.organization_id := '{B}'; RETURN NEW; END $$;
         CREATE FUNCTION null_flip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.organization_id := NULL; RETURN NEW; END $$;
         CREATE FUNCTION after_flip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             UPDATE ticket SET organization_id = '{B}' WHERE id = NEW.id; RETURN NULL; END $$"));
    let before = all_tickets(&world);
    let writes = [
        "INSERT INTO ticket VALUES (600, 'x')",
        "UPDATE ticket SET title = 'x' WHERE id = 1",
        "INSERT INTO ticket VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET title = 'y'",
    ];
    for name in FLIPS {
        for (timing, function, allowed) in [
            // 23503: a comment refers to the ticket of this organization, and PostgreSQL looks before the last word.
            ("BEFORE", "flip", &["OS002", "42501", "23503"][..]),
            ("AFTER", "after_flip", &["OS002", "42501"]),
            ("BEFORE", "null_flip", &["OS001", "23502", "00000", "42501"]),
        ] {
            run(&mut admin, &format!("CREATE TRIGGER \"{name}\" {timing} INSERT OR UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION {function}();
                ALTER TABLE ticket ENABLE ALWAYS TRIGGER \"{name}\""));
            for user in ["app", "owner", "dba", "postgres", "replica"] {
                let mut client = world.connect(if user == "replica" { "postgres" } else { user });
                if user == "replica" {
                    run(&mut client, "SET session_replication_role = replica");
                }
                for write in writes {
                    begin(&mut client, A);
                    let found = state(&mut client, write);
                    assert!(allowed.contains(&found.as_str()), "{user}, {timing} {name} {function}: {found}: {write}");
                    run(&mut client, "ROLLBACK");
                }
            }
            run(&mut admin, &format!("DROP TRIGGER \"{name}\" ON ticket"));
        }
    }
    assert_eq!(all_tickets(&world), before);
}

#[test]
fn a_trigger_that_turns_the_context_does_not_open_the_guard() {
    let world = World::new("turn_triggers");
    let mut admin = world.superuser();
    run(
        &mut admin,
        &format!(
            "CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM set_config('orgscope.current_org', '{B}', true); NEW.organization_id := '{B}'; RETURN NEW; END $$;
         CREATE TRIGGER \"1_turn\" BEFORE INSERT OR UPDATE ON ticket FOR EACH ROW EXECUTE FUNCTION turn()"
        ),
    );
    for user in ["app", "dba", "postgres"] {
        let mut client = world.connect(user);
        refused_under(&mut client, A, "OS003", "INSERT INTO ticket VALUES (700, 'x')");
        refused_under(&mut client, A, "OS003", "UPDATE ticket SET title = 'x' WHERE id = 1");
    }
}
