//! Foreign keys and uniqueness between scoped tables: what crossed organizations before does not after, and the way back
//! leaves nothing behind.

mod common;

use common::*;

fn enable(table: &str, options: &str) -> String {
    format!("SELECT sql FROM orgscope.enable_org_scoping('public.{table}', options => '{options}')")
}

fn disable(table: &str) -> String {
    format!("SELECT sql FROM orgscope.disable_org_scoping('public.{table}')")
}

fn notes(client: &mut postgres::Client, table: &str, options: &str) -> Vec<String> {
    rows(
        client,
        &format!(
            "SELECT reason FROM orgscope.plan_org_scoping('public.{table}', options => '{options}') WHERE kind = 'note'"
        ),
    )
}

fn definition(client: &mut postgres::Client, name: &str) -> String {
    one(
        client,
        &format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{name}' AND conparentid = 0"),
    )
}

/// Parents 1, 2 of A and 11, 12 of B in `p`; children in `c` with the given key, one of A and one of B. Not scoped yet.
fn family(world: &World, key: &str) {
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, organization_id uuid);
             CREATE TABLE c (id int PRIMARY KEY, p_id int DEFAULT 1, organization_id uuid, CONSTRAINT k FOREIGN KEY (p_id) REFERENCES p (id) {key});
             INSERT INTO p SELECT i, 'c' || i, '{A}' FROM generate_series(1, 2) i;
             INSERT INTO p SELECT i, 'c' || i, '{B}' FROM generate_series(11, 12) i;
             INSERT INTO c VALUES (1, 2, '{A}'), (11, 11, '{B}');
             GRANT ALL ON p, c TO app, dba"
        ),
    );
}

fn children(world: &World) -> Vec<String> {
    rows(&mut world.superuser(), "SELECT id, p_id, left(organization_id::text, 1) FROM c ORDER BY id")
}

const ORDERS: [[&str; 2]; 2] = [["p", "c"], ["c", "p"]];

#[test]
fn a_plain_key_crosses_organizations_and_a_composite_one_does_not() {
    let world = World::without_tables("keys_cross");
    let (mut owner, mut app) = (world.owner(), world.app());
    family(&world, "ON DELETE CASCADE");
    // Without this protection.
    run(&mut owner, &format!("{}; {}", enable("p", r#"{"foreign_keys": "report"}"#), enable("c", "{}")));
    rows_under(&mut app, A, "INSERT INTO c VALUES (2, 12)");
    assert_eq!(children(&world), ["1|2|a", "2|12|a", "11|11|b"]);
    run(&mut world.superuser(), "DELETE FROM p WHERE id = 12");
    assert_eq!(children(&world), ["1|2|a", "11|11|b"], "a cascade crossed");
    // With it.
    run(&mut owner, &enable("p", "{}"));
    assert_eq!(
        definition(&mut owner, "k"),
        "FOREIGN KEY (organization_id, p_id) REFERENCES p(organization_id, id) ON DELETE CASCADE"
    );
    begin(&mut app, A);
    let error = refused(&mut app, "23503", "INSERT INTO c VALUES (2, 11)");
    run(&mut app, "ROLLBACK");
    assert_eq!(error.detail(), Some("Key is not present in table \"p\"."), "no value at all");
    refused_under(&mut app, A, "23503", "UPDATE c SET p_id = 11");
    // Outside row security, too.
    refused(&mut world.superuser(), "23503", &format!("INSERT INTO c VALUES (3, 11, '{A}')"));
    refused(&mut world.dba(), "23503", &format!("INSERT INTO c VALUES (3, 11, '{A}')"));
    rows_under(&mut app, A, "INSERT INTO c VALUES (4, 1), (5, NULL)");
    rows_under(&mut app, A, "DELETE FROM p WHERE id = 1");
    assert_eq!(children(&world), ["1|2|a", "5|-|a", "11|11|b"]);
    assert_eq!(rows(&mut owner, &enable("p", "{}")), [""; 0]);
    assert_eq!(rows(&mut owner, &enable("c", "{}")), [""; 0]);
}

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

/// ON DELETE names the columns to set. ON UPDATE cannot, and sets the organization too, which the guard puts back.
#[test]
fn set_null_and_set_default_leave_the_organization() {
    let world = World::without_tables("keys_set");
    let (mut owner, mut app) = (world.owner(), world.app());
    for (action, set) in [("SET NULL", "-"), ("SET DEFAULT", "1")] {
        family(&world, &format!("ON DELETE {action} ON UPDATE {action}"));
        run(&mut owner, &format!("{}; {}", enable("p", "{}"), enable("c", "{}")));
        rows_under(&mut app, A, "UPDATE p SET id = 3 WHERE id = 2");
        assert_eq!(children(&world), [format!("1|{set}|a"), "11|11|b".into()]);
        rows_under(&mut app, A, "UPDATE c SET p_id = 3; DELETE FROM p WHERE id = 3");
        assert_eq!(children(&world), [format!("1|{set}|a"), "11|11|b".into()]);
        // Without a context, as an administrator. A default that is another organization's row is refused.
        let mut admin = world.superuser();
        for sql in ["UPDATE p SET id = 13 WHERE id = 11", "DELETE FROM p WHERE id = 11"] {
            if action == "SET NULL" {
                run(&mut admin, &format!("BEGIN; {sql}"));
                assert_eq!(one(&mut admin, "SELECT p_id, left(organization_id::text, 1) FROM c WHERE id = 11"), "-|b");
                run(&mut admin, "ROLLBACK");
            } else {
                refused(&mut admin, "23503", sql);
            }
        }
        run(&mut owner, "DROP TABLE c, p");
    }
}

#[test]
fn match_full_says_the_same_of_nulls() {
    let world = World::without_tables("keys_full");
    let (mut owner, mut app) = (world.owner(), world.app());
    run(
        &mut owner,
        &format!(
            "CREATE TABLE p (a int, b int, organization_id uuid, PRIMARY KEY (a, b));
             CREATE TABLE c (a int, b int, organization_id uuid, CONSTRAINT k FOREIGN KEY (a, b) REFERENCES p MATCH FULL);
             INSERT INTO p VALUES (1, 1, '{A}'), (2, 2, '{B}');
             INSERT INTO c VALUES (1, 1, '{A}'), (NULL, NULL, '{B}');
             GRANT ALL ON p, c TO app"
        ),
    );
    let before = dump(&world);
    for back in ORDERS {
        run(&mut owner, &format!("{}; {}", enable("p", "{}"), enable("c", "{}")));
        rows_under(&mut app, A, "INSERT INTO c VALUES (NULL, NULL), (1, 1)");
        refused_under(&mut app, A, "23514", "INSERT INTO c VALUES (NULL, 1)");
        refused_under(&mut app, A, "23503", "INSERT INTO c VALUES (2, 2)");
        run(&mut owner, &format!("{}; {}", disable(back[0]), disable(back[1])));
        assert_same(&before, &dump(&world), &format!("{back:?}"));
    }
}

#[test]
fn cycles_and_self_references() {
    let world = World::without_tables("keys_cycles");
    let (mut owner, mut app) = (world.owner(), world.app());
    run(
        &mut owner,
        "CREATE TABLE p (id int PRIMARY KEY, c_id int, up int REFERENCES p ON DELETE CASCADE, org uuid);
         CREATE TABLE c (id int PRIMARY KEY, p_id int REFERENCES p ON DELETE CASCADE, \"Org\" uuid);
         ALTER TABLE p ADD FOREIGN KEY (c_id) REFERENCES c DEFERRABLE INITIALLY DEFERRED;
         GRANT ALL ON p, c TO app",
    );
    let call = |verb: &str, table: &str| {
        let column = if table == "p" { "org" } else { "Org" };
        match verb {
            "enable" => format!("SELECT orgscope.enable_org_scoping('public.{table}', '{column}')"),
            _ => format!("SELECT orgscope.disable_org_scoping('public.{table}')"),
        }
    };
    let before = dump(&world);
    for there in ORDERS {
        for back in ORDERS {
            run(&mut owner, &format!("{}; {}", call("enable", there[0]), call("enable", there[1])));
            assert_eq!(
                definition(&mut owner, "p_c_id_fkey"),
                "FOREIGN KEY (org, c_id) REFERENCES c(\"Org\", id) DEFERRABLE INITIALLY DEFERRED"
            );
            rows_under(&mut app, A, "INSERT INTO p VALUES (1, 7, NULL), (2, NULL, 1); INSERT INTO c VALUES (7, 1)");
            refused_under(&mut app, B, "23503", "INSERT INTO p VALUES (3, NULL, 1)");
            refused_under(&mut app, B, "23503", "INSERT INTO p VALUES (3, 7, NULL)");
            rows_under(&mut app, A, "DELETE FROM p WHERE id = 1");
            assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM p"), "0");
            run(&mut owner, &format!("{}; {}", call("disable", back[0]), call("disable", back[1])));
            assert_same(&before, &dump(&world), &format!("{there:?} {back:?}"));
        }
    }
}

#[test]
fn rows_that_cross_are_counted_and_listed_but_not_shown() {
    let world = World::without_tables("keys_violated");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    family(&world, "");
    run(&mut owner, &format!("INSERT INTO c VALUES (3, 11, '{A}'), (4, 12, '{A}')"));
    run(&mut owner, &enable("p", "{}"));
    let before = dump(&world);
    let error = refused(&mut owner, "OS005", &enable("c", "{}"));
    assert_eq!(
        error.detail(),
        Some("By foreign key k 2 row(s) of public.c refer to a row of public.p of another organization.")
    );
    let query =
        |error: &postgres::error::DbError| error.hint().unwrap().split_once("lists them with: ").unwrap().1.to_owned();
    assert_eq!(rows(&mut admin, &query(&error)), [format!("3|11|{A}"), format!("4|12|{A}")]);
    assert_same(&before, &dump(&world), "nothing half done");
    // The organization that a backfill would have given.
    run(&mut owner, "ALTER TABLE c DROP COLUMN organization_id");
    for backfill in [B.to_owned(), format!("CASE WHEN p_id < 10 THEN ''{B}''::uuid ELSE ''{A}'' END")] {
        let error = refused(&mut owner, "OS005", &enable("c", &format!(r#"{{"backfill": "{backfill}"}}"#)));
        let crossing = if backfill == B { 1 } else { 4 };
        assert!(error.detail().unwrap().contains(&format!(" {crossing} row(s)")), "{error:?}");
        assert_eq!(rows(&mut admin, &query(&error)).len(), crossing);
    }
    run(&mut owner, &enable("c", &format!(r#"{{"foreign_keys": "report", "backfill": "{B}"}}"#)));
    let reason = "foreign key k of public.c to public.p is kept: the option {\"foreign_keys\": \"report\"} for \"c\"; rows can refer to another organization's, and cascades reach them";
    assert!(notes(&mut owner, "p", "{}").contains(&reason.into()));
    // The other table does not overrule it; asking for this table does.
    assert_eq!(rows(&mut owner, &enable("p", "{}")), [""; 0]);
    run(&mut admin, "DELETE FROM c WHERE p_id < 10");
    run(&mut owner, &enable("c", "{}"));
    assert!(definition(&mut owner, "k").contains("organization_id"));
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

const CODES: &str = "
    CREATE TABLE p (code text PRIMARY KEY, nick text NOT NULL, label text UNIQUE, organization_id uuid);
    CREATE UNIQUE INDEX p_nick ON p (nick DESC) WITH (fillfactor = 70);
    ALTER TABLE p CLUSTER ON p_pkey;
    COMMENT ON CONSTRAINT p_pkey ON p IS 'natural'; COMMENT ON INDEX p_nick IS 'short';
    CREATE TABLE c (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text REFERENCES p ON UPDATE CASCADE, nick text REFERENCES p (nick),
        label text REFERENCES p (label), organization_id uuid);
    GRANT ALL ON p, c TO app; GRANT USAGE ON SEQUENCE c_id_seq TO app";

#[test]
fn what_keys_refer_to_becomes_scoped_with_them() {
    let world = World::without_tables("keys_natural");
    let (mut owner, mut app) = (world.owner(), world.app());
    run(&mut owner, CODES);
    let before = dump(&world);
    let scoped = r#"{"primary_key": "scoped"}"#;
    for there in ORDERS {
        for back in ORDERS {
            run(&mut owner, &format!("{}; {}", enable(there[0], scoped), enable(there[1], scoped)));
            assert_eq!(rows(&mut owner, &enable("p", scoped)), [""; 0]);
            assert_eq!(rows(&mut owner, &enable("c", scoped)), [""; 0]);
            assert_eq!(definition(&mut owner, "p_pkey"), "PRIMARY KEY (organization_id, code)");
            assert_eq!(definition(&mut owner, "p_label_key"), "UNIQUE (organization_id, label)");
            assert_eq!(definition(&mut owner, "c_pkey"), "PRIMARY KEY (id)", "nobody chooses an identity");
            assert_eq!(notes(&mut owner, "p", scoped), [""; 0]);
            let clustered =
                "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'p'::regclass AND indisclustered";
            assert_eq!(one(&mut owner, clustered), "p_pkey");
            assert_eq!(
                one(&mut owner, "SELECT count(*) FROM pg_index WHERE indrelid = 'p'::regclass"),
                "4",
                "none twice: three, and the organization's"
            );
            for org in [A, B] {
                rows_under(
                    &mut app,
                    org,
                    "INSERT INTO p VALUES ('x', 'n', 'l'); INSERT INTO c (code, nick, label) VALUES ('x', 'n', 'l')",
                );
            }
            refused_under(&mut app, A, "23505", "INSERT INTO p VALUES ('x', 'm', 'm')");
            rows_under(&mut app, A, "UPDATE p SET code = 'y'");
            assert_eq!(rows(&mut world.superuser(), "SELECT code FROM c ORDER BY organization_id"), ["y", "x"]);
            // Two organizations hold the same values: the way back is refused, and shows none.
            let error = refused(&mut owner, "OS005", &disable(back[0]));
            assert_eq!(error.message(), "cannot change what is unique in table \"p\"");
            run(&mut world.superuser(), "DELETE FROM c; DELETE FROM p");
            run(&mut owner, &format!("{}; {}", disable(back[0]), disable(back[1])));
            assert_same(&before, &dump(&world), &format!("{there:?} {back:?}"));
        }
    }
    run(&mut owner, &format!("{}; {}", enable("p", "{}"), enable("c", "{}")));
    assert_eq!(definition(&mut owner, "p_pkey"), "PRIMARY KEY (code)");
    let note = "primary key p_pkey (code) is kept: no two organizations can have the same value; {\"primary_key\": \"scoped\"} puts the organization in front";
    assert_eq!(notes(&mut owner, "p", "{}"), [note]);
    run(&mut owner, &enable("p", scoped));
    assert_eq!(definition(&mut owner, "p_pkey"), "PRIMARY KEY (organization_id, code)");
    assert_eq!(rows(&mut owner, &enable("p", scoped)), [""; 0]);
    run(&mut owner, &format!("{}; {}", disable("c"), disable("p")));
    assert_same(&before, &dump(&world), "scoped later");
}

/// Parents first.
const DISABLE_ALL: &str = "SELECT orgscope.disable_org_scoping(t) FROM (SELECT target AS t FROM orgscope.scoped_tables ORDER BY target::text DESC OFFSET 0) s";

/// A third table keeps the old unique index in use, until it is scoped too.
#[test]
fn three_tables_in_any_order() {
    let world = World::without_tables("keys_three");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE p (code text PRIMARY KEY, organization_id uuid);
         CREATE TABLE c (code text REFERENCES p, organization_id uuid);
         CREATE TABLE d (code text REFERENCES p ON DELETE CASCADE, organization_id uuid)",
    );
    let before = dump(&world);
    let mut refused_orders = 0;
    let orders = [["p", "c", "d"], ["p", "d", "c"], ["c", "p", "d"], ["c", "d", "p"], ["d", "c", "p"], ["d", "p", "c"]];
    for options in ["{}", r#"{"primary_key": "scoped"}"#] {
        for there in orders {
            for back in orders {
                for table in there {
                    run(&mut owner, &enable(table, options));
                }
                for table in there {
                    assert_eq!(rows(&mut owner, &enable(table, options)), [""; 0], "{there:?}");
                }
                for table in back {
                    // The other one still needs the index as it is: the message names the order.
                    if let Err(error) = query(&mut owner, &disable(table)) {
                        let hint = error.as_db_error().unwrap().hint();
                        assert_eq!(hint, Some("Call orgscope.disable_org_scoping('public.p') first."));
                        assert_ne!(options, "{}");
                        refused_orders += 1;
                        break;
                    }
                }
                run(&mut owner, DISABLE_ALL);
                assert_same(&before, &dump(&world), &format!("{there:?} {back:?}"));
            }
        }
    }
    assert!(refused_orders < 36, "{refused_orders}");
}

#[test]
fn exclusion_constraints_become_scoped_with_btree_gist() {
    let world = World::without_tables("keys_exclude");
    let (mut owner, mut app) = (world.owner(), world.app());
    run(
        &mut owner,
        "CREATE TABLE booking (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, during int4range, organization_id uuid,
             CONSTRAINT free EXCLUDE USING gist (during WITH &&) WITH (fillfactor = 80) WHERE (during IS NOT NULL) DEFERRABLE);
         GRANT ALL ON booking TO app",
    );
    let before = dump(&world);
    run(&mut owner, &enable("booking", "{}"));
    assert_eq!(
        notes(&mut owner, "booking", "{}"),
        [
            "EXCLUDE constraint free (during) is kept: its access method takes no uuid column; CREATE EXTENSION btree_gist gives GiST what it needs"
        ]
    );
    run(&mut world.superuser(), "CREATE EXTENSION btree_gist SCHEMA orgscope");
    run(&mut owner, &enable("booking", "{}"));
    assert_eq!(rows(&mut owner, &enable("booking", "{}")), [""; 0]);
    for org in [A, B] {
        rows_under(&mut app, org, "INSERT INTO booking (during) VALUES ('[1,5)')");
        refused_under(&mut app, org, "23P01", "INSERT INTO booking (during) VALUES ('[2,6)')");
    }
    let error = refused(&mut owner, "OS005", &disable("booking"));
    assert_eq!(error.message(), "cannot change what is unique in table \"booking\"");
    rows_under(&mut app, A, "DELETE FROM booking");
    run(&mut owner, &disable("booking"));
    assert_same(&before, &dump(&world), "");
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
