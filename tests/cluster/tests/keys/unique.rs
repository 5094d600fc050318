//! What keys refer to, natural primary keys, EXCLUDE.

use crate::common::*;
use crate::*;

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
        for (n, there) in orders.into_iter().enumerate() {
            for back in [orders[n], orders[(n + 1) % 6], orders[5 - n]] {
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
    assert!((1..18).contains(&refused_orders), "{refused_orders}");
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

/// What a failed CREATE UNIQUE INDEX CONCURRENTLY leaves behind keeps nothing unique, and rows may be in its way.
#[test]
fn an_invalid_index_is_left_alone() {
    let world = World::new("keys_invalid");
    let mut owner = world.owner();
    run(&mut world.superuser(), "UPDATE ticket SET title = 'same'");
    refused(&mut owner, "23505", "CREATE UNIQUE INDEX CONCURRENTLY left_behind ON ticket (title)");
    assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('public.ticket')"), [""; 0]);
    run(
        &mut owner,
        "SELECT orgscope.enable_change_history('ticket'); SELECT orgscope.disable_change_history('ticket')",
    );
    assert_eq!(notes(&mut owner, "ticket", r#"{"unique": "keep"}"#).iter().filter(|n| n.contains("left_")).count(), 0);
    run(&mut owner, &format!("{}; {}", disable("ticket"), enable("ticket", r#"{"on_delete": "cascade"}"#)));
    let valid =
        "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = 'left_behind'::regclass";
    assert_eq!(one(&mut owner, valid), "f|CREATE UNIQUE INDEX left_behind ON public.ticket USING btree (title)");
    // Made valid, it is one like any other.
    run(&mut world.superuser(), "UPDATE ticket SET title = id; REINDEX INDEX left_behind");
    let repaired =
        rows(&mut owner, "SELECT sql FROM orgscope.repair_org_scoping('public.ticket') WHERE kind = 'unique'");
    assert_eq!(repaired.len(), 2, "{repaired:#?}");
}
