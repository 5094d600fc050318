//! What a plain key lets cross, and what of it a composite key keeps.

use crate::common::*;
use crate::*;

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
