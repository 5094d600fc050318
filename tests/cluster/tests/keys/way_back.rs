//! Who may change the keys of two tables, in which order, and what is left afterwards.

use crate::common::*;
use crate::*;

/// Every action, in both orders there and in both orders back.
#[test]
fn actions_are_kept_and_come_back() {
    let world = World::without_tables("keys_actions");
    let (mut owner, mut app) = (world.owner(), world.app());
    let actions = ["", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"];
    let mut keys: Vec<String> = Vec::new();
    for action in &actions[1..] {
        keys.push(format!("ON DELETE {action}"));
        keys.push(format!("ON UPDATE {action}"));
    }
    keys.extend(["", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED", "MATCH FULL", "NOT VALID"].map(String::from));
    keys.push("MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL (p_id) DEFERRABLE INITIALLY DEFERRED".into());
    for (n, key) in keys.iter().enumerate() {
        family(&world, if key == "NOT VALID" { "" } else { key });
        if key == "NOT VALID" {
            run(
                &mut owner,
                "ALTER TABLE c DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY (p_id) REFERENCES p NOT VALID",
            );
        }
        run(&mut owner, "COMMENT ON CONSTRAINT k ON c IS 'why'");
        let before = dump(&world);
        for back in ORDERS {
            for table in ORDERS[n % 2] {
                run(&mut owner, &enable(table, "{}"));
            }
            for table in ["p", "c"] {
                assert_eq!(rows(&mut owner, &enable(table, "{}")), [""; 0], "{key}");
            }
            let now = definition(&mut owner, "k");
            assert!(now.starts_with("FOREIGN KEY (organization_id, p_id) REFERENCES p(organization_id, id)"), "{now}");
            if key == "NOT VALID" {
                let note = "foreign key k of public.c is NOT VALID: rows that were there before it may refer to another organization's";
                assert!(notes(&mut owner, "c", "{}").contains(&note.into()));
            }
            let validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'k'";
            assert_eq!(one(&mut owner, validated), if key == "NOT VALID" { "f" } else { "t" });
            refused_under(&mut app, A, "23503", "INSERT INTO c VALUES (5, 11); SET CONSTRAINTS ALL IMMEDIATE");
            for table in back {
                run(&mut owner, &disable(table));
            }
            assert_same(&before, &dump(&world), &format!("{key}, back by {back:?}"));
        }
        run(&mut owner, "DROP TABLE c, p");
    }
}

#[test]
fn tables_of_two_owners_need_a_superuser() {
    let world = World::without_tables("keys_owners");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    family(&world, "");
    run(
        &mut admin,
        "CREATE ROLE other_owner; GRANT USAGE, CREATE ON SCHEMA public TO other_owner; GRANT REFERENCES ON p TO other_owner; ALTER TABLE c OWNER TO other_owner",
    );
    let before = dump(&world);
    run(&mut admin, &enable("c", "{}"));
    let error = refused(&mut owner, "OS005", &enable("p", "{}"));
    assert_eq!(
        error.detail(),
        Some(
            "Its foreign key k between public.c and public.p has to change, and you are not the owner of table \"c\"."
        )
    );
    refused(&mut owner, "OS005", "SELECT orgscope.plan_org_scoping('public.p')");
    run(&mut admin, &enable("p", "{}"));
    assert_eq!(rows(&mut owner, &enable("p", "{}")), [""; 0]);
    refused_under(&mut world.app(), A, "23503", "INSERT INTO c VALUES (5, 11)");
    let error = refused(&mut owner, "OS005", &disable("p"));
    assert_eq!(error.hint(), Some("Call the function as a superuser or as a member of both owners."));
    run(&mut admin, &format!("{}; {}", disable("p"), disable("c")));
    assert_same(&before, &dump(&world), "by the superuser");
}

#[test]
fn keys_that_the_team_made_itself_are_left_alone() {
    let world = World::without_tables("keys_team");
    let mut owner = world.owner();
    family(&world, "ON DELETE CASCADE");
    run(&mut owner, &format!("{}; {}", enable("p", "{}"), enable("c", "{}")));
    // A migration refers to the unique constraint that scoping made; it stays for as long.
    run(
        &mut owner,
        "CREATE TABLE mine (id int PRIMARY KEY, p_id int, org uuid, CONSTRAINT m FOREIGN KEY (org, p_id) REFERENCES p (organization_id, id))",
    );
    assert_eq!(
        rows(
            &mut owner,
            "SELECT sql FROM orgscope.enable_org_scoping('public.mine', 'org') WHERE kind = 'composite key'"
        ),
        [""; 0]
    );
    run(&mut owner, &format!("{}; {}; {}", disable("c"), disable("p"), disable("mine")));
    assert_eq!(definition(&mut owner, "k"), "FOREIGN KEY (p_id) REFERENCES p(id) ON DELETE CASCADE");
    assert_eq!(definition(&mut owner, "m"), "FOREIGN KEY (org, p_id) REFERENCES p(organization_id, id)");
}

/// What undo needs is in the catalogs, under the names of the day.
#[test]
fn renamed_in_between() {
    let world = World::without_tables("keys_renamed");
    let mut owner = world.owner();
    family(&world, "ON DELETE SET NULL");
    for back in [["q", "c"], ["c", "q"]] {
        run(&mut owner, &format!("{}; {}", enable("p", "{}"), enable("c", "{}")));
        run(
            &mut owner,
            "ALTER TABLE p RENAME TO q; ALTER TABLE q RENAME id TO key; ALTER TABLE c RENAME p_id TO q_key; ALTER TABLE c ADD x int",
        );
        assert_eq!(rows(&mut owner, &enable("c", "{}")), [""; 0]);
        run(&mut owner, &format!("{}; {}", disable(back[0]), disable(back[1])));
        assert_eq!(definition(&mut owner, "k"), "FOREIGN KEY (q_key) REFERENCES q(key) ON DELETE SET NULL");
        assert_eq!(
            one(&mut owner, "SELECT count(*) FROM pg_constraint WHERE conrelid = 'q'::regclass AND contype = 'u'"),
            "1"
        );
        run(
            &mut owner,
            "ALTER TABLE q RENAME TO p; ALTER TABLE p RENAME key TO id; ALTER TABLE c RENAME q_key TO p_id; ALTER TABLE c DROP COLUMN x",
        );
    }
}

/// Of two tables that are scoped at the same time, the later one sees the earlier.
#[test]
fn two_ends_of_a_key_scoped_at_once() {
    let world = World::without_tables("keys_race");
    for order in ORDERS {
        family(&world, "");
        let (mut first, mut second) = (world.owner(), world.owner());
        run(&mut first, &format!("BEGIN; {}", enable(order[0], "{}")));
        refused(&mut second, "55P03", &format!("SET lock_timeout = '200ms'; {}", enable(order[1], "{}")));
        // Others read and write the other table meanwhile.
        let reading = format!("SET lock_timeout = '200ms'; SELECT FROM {0}; UPDATE {0} SET id = id", order[1]);
        run(&mut world.superuser(), &reading);
        let waiting = std::thread::spawn({
            let sql = format!("SET lock_timeout = '10s'; {}", enable(order[1], "{}"));
            move || second.batch_execute(&sql).map_err(|error| describe(&error))
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        run(&mut first, "COMMIT");
        waiting.join().unwrap().unwrap();
        assert!(definition(&mut first, "k").contains("organization_id"), "{order:?}");
        run(&mut first, "DROP TABLE c, p");
    }
}

/// As an ORM's migration does it: every key INITIALLY DEFERRED, rows to be filled, one transaction for all tables.
#[test]
fn deferred_keys_and_backfills_in_one_transaction() {
    let world = World::without_tables("keys_deferred");
    let (mut owner, mut app) = (world.owner(), world.app());
    family(&world, "DEFERRABLE INITIALLY DEFERRED");
    run(&mut owner, "ALTER TABLE c ADD c_id int REFERENCES c DEFERRABLE INITIALLY DEFERRED; UPDATE c SET c_id = id");
    let backfill = format!(r#"{{"backfill": "CASE WHEN id < 10 THEN ''{A}''::uuid ELSE ''{B}'' END"}}"#);
    for order in ORDERS {
        run(&mut owner, "UPDATE p SET organization_id = NULL; UPDATE c SET organization_id = NULL");
        let before = dump(&world);
        run(&mut owner, &format!("BEGIN; {}; {}; COMMIT", enable(order[0], &backfill), enable(order[1], &backfill)));
        begin(&mut app, A);
        run(&mut app, "INSERT INTO c (id, p_id, c_id) VALUES (5, 11, 5)");
        refused(&mut app, "23503", "COMMIT");
        run(&mut owner, &format!("BEGIN; {}; {}; COMMIT", disable(order[0]), disable(order[1])));
        assert_same(&before, &dump(&world), &format!("{order:?}"));
    }
}
