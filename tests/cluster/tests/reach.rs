//! The side doors: definer functions, views, cascades, locks, COPY TO.

mod common;

use common::*;

#[test]
fn a_definer_function_writes_no_foreign_row() {
    let world = World::new("definer");
    let mut admin = world.superuser();
    run(&mut admin, &format!(
        "CREATE FUNCTION rename_all() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'UPDATE ticket SET title = ''x''';
         CREATE FUNCTION add_foreign() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO ticket VALUES (800, ''x'', ''{B}'')';
         CREATE FUNCTION delete_all() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM ticket; END';
         CREATE FUNCTION empty() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'TRUNCATE ticket CASCADE'"));
    let before = all_tickets(&world);
    for owner in ["postgres", "dba"] {
        for name in ["rename_all", "add_foreign", "delete_all", "empty"] {
            run(&mut admin, &format!("ALTER FUNCTION {name}() OWNER TO {owner}"));
            let expected = if name == "empty" && owner == "dba" { "42501" } else { "OS002" };
            let expected = if owner == "dba" && name == "empty" { "OS002" } else { expected };
            refused_under(&mut world.app(), A, expected, &format!("SELECT {name}()"));
        }
    }
    assert_eq!(all_tickets(&world), before);
    // Without a context the function bypasses, and is on record with the caller's login. What was refused above is too, as soon
    // as the writer comes to it.
    run(&mut world.app(), "SELECT add_foreign()");
    let record = rows(
        &mut admin,
        "SELECT login_name, session_user_name, role_name, operation, row_count FROM orgscope.audit_log
         WHERE action = 'bypass_write' AND detail ->> 'rolled_back' IS NULL ORDER BY id DESC LIMIT 1",
    );
    assert_eq!(record, ["app|app|dba|INSERT|1"]);
}

#[test]
fn a_superusers_view_writes_no_foreign_row() {
    let world = World::new("views");
    run(&mut world.superuser(), "CREATE VIEW every_ticket AS SELECT * FROM ticket; GRANT ALL ON every_ticket TO app");
    let before = all_tickets(&world);
    let mut app = world.app();
    for sql in [
        format!("INSERT INTO every_ticket VALUES (810, 'x', '{B}')"),
        "UPDATE every_ticket SET title = 'x' WHERE id = 11".into(),
        "DELETE FROM every_ticket WHERE id = 11".into(),
        format!("UPDATE every_ticket SET organization_id = '{B}' WHERE id = 1"),
        "INSERT INTO every_ticket VALUES (11) ON CONFLICT (id) DO UPDATE SET title = 'x'".into(),
    ] {
        refused_under(&mut app, A, "OS002", &sql);
        refused(&mut app, "OS001", &sql);
    }
    assert_eq!(all_tickets(&world), before);
    assert_eq!(rows_under(&mut app, A, "INSERT INTO every_ticket (id) VALUES (811) RETURNING organization_id"), [A]);
}

#[test]
fn deleting_an_organization_cascades_and_is_on_record() {
    let world = World::new("cascade");
    let mut admin = world.superuser();
    refused_under(&mut admin, A, "OS002", &format!("DELETE FROM orgscope.organization WHERE id = '{B}'"));
    assert_eq!(all_tickets(&world).len(), 5);
    run(&mut admin, &format!("DELETE FROM orgscope.organization WHERE id = '{B}'"));
    assert_eq!(all_tickets(&world), ["1|a1|a", "2|a2|a"]);
    let record = rows(
        &mut admin,
        "SELECT table_name, operation, sum(row_count), organization_id FROM orgscope.audit_log
        WHERE action = 'bypass_write' GROUP BY 1, 2, 4 ORDER BY 1",
    );
    assert_eq!(record, [format!("public.comment|DELETE|3|{B}"), format!("public.ticket|DELETE|3|{B}")]);
}

#[test]
fn a_tenants_cascade_stays_inside_its_organization() {
    let world = World::new("tenant_cascade");
    let mut app = world.app();
    rows_under(&mut app, A, "DELETE FROM ticket WHERE id = 1");
    let mut admin = world.superuser();
    assert_eq!(one(&mut admin, "SELECT count(*) FROM comment"), "4");
    assert_eq!(
        one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_write'"),
        "0",
        "a tenant's cascade is no bypass"
    );
    // A comment of B on a ticket of A: not with a composite key, whoever tries.
    let foreign = format!("INSERT INTO comment (ticket_id, organization_id) VALUES (2, '{B}')");
    refused(&mut admin, "23503", &foreign);
    // With a plain key only a role outside row security can make it, and the cascade ends there.
    run(
        &mut world.owner(),
        "ALTER TABLE comment DROP CONSTRAINT comment_ticket_id_fkey, ADD FOREIGN KEY (ticket_id) REFERENCES ticket ON DELETE CASCADE",
    );
    run(&mut admin, &foreign);
    refused_under(&mut app, A, "OS002", "DELETE FROM ticket WHERE id = 2");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM comment WHERE ticket_id = 2"), "2");
}

/// Since PostgreSQL 18 a cascade's AFTER triggers run as the owner of the table, who may be a superuser.
#[test]
fn a_cascade_over_a_superusers_tables_is_no_bypass() {
    let world = World::new("superusers_tables");
    let mut admin = world.superuser();
    run(&mut admin, "ALTER TABLE ticket OWNER TO postgres; ALTER TABLE comment OWNER TO postgres");
    rows_under(&mut world.app(), A, "DELETE FROM ticket WHERE id = 1");
    let recorded = "SELECT table_name, operation, row_count FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY table_name";
    assert!(rows(&mut admin, recorded).is_empty(), "a tenant's cascade is no bypass");
    // The superuser's own write is on record, its cascade under the same organization goes with it.
    rows_under(&mut admin, A, "DELETE FROM ticket WHERE id = 2");
    assert_eq!(rows(&mut admin, recorded), ["public.ticket|DELETE|1"]);
    // Written directly in the same transaction, the child is on record too.
    rows_under(&mut admin, B, "UPDATE comment SET body = 'x'; DELETE FROM ticket WHERE id = 11");
    let children = "SELECT count(*) FROM orgscope.audit_log WHERE table_name = 'public.comment' AND operation = 'UPDATE' AND row_count = 3";
    assert_eq!(one(&mut admin, children), "1");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM comment"), "2");
}

#[test]
fn row_locks_touch_only_own_rows() {
    let world = World::new("locks");
    let (mut a, mut b) = (world.app(), world.app());
    for strength in ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"] {
        begin(&mut b, B);
        assert_eq!(rows(&mut b, "SELECT id FROM ticket ORDER BY id FOR UPDATE"), ["11", "12", "13"]);
        begin(&mut a, A);
        let lock = format!("SELECT id FROM ticket ORDER BY id FOR {strength} NOWAIT");
        assert_eq!(rows(&mut a, &lock), ["1", "2"]);
        run(&mut a, "COMMIT");
        run(&mut b, "COMMIT");
        refused(&mut a, "OS001", &lock);
    }
}

#[test]
fn copy_to_and_other_ways_to_read_show_own_rows() {
    use std::io::Read;
    let world = World::new("readers");
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app");
    let mut app = world.app();
    for source in ["ticket (id)", "(SELECT id FROM ticket)"] {
        begin(&mut app, A);
        let mut text = String::new();
        app.copy_out(&format!("COPY {source} TO STDOUT")).unwrap().read_to_string(&mut text).unwrap();
        let mut ids: Vec<_> = text.lines().collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "2"], "{source}");
        run(&mut app, "COMMIT");
    }
    for sql in [
        "TABLE ticket",
        "SELECT * FROM ticket WHERE ctid IS NOT NULL",
        "SELECT * FROM ONLY ticket",
        "SELECT * FROM ticket TABLESAMPLE BERNOULLI (100)",
        "CREATE TEMP TABLE own ON COMMIT DROP AS SELECT * FROM ticket; TABLE own",
        "CREATE VIEW pg_temp.v AS SELECT * FROM ticket; TABLE pg_temp.v; DROP VIEW pg_temp.v; TABLE ticket",
        "SELECT unnest(xpath('//id/text()', query_to_xml('SELECT id FROM ticket', true, false, '')))",
    ] {
        assert_eq!(rows_under(&mut app, A, sql).len(), 2, "{sql}");
    }
    assert_eq!(rows_under(&mut app, A, "SELECT name FROM orgscope.organization"), ["Acme"]);
    refused_under(&mut app, A, "42501", "UPDATE orgscope.organization SET name = 'x'");
    // A leaky function sees no foreign row, however cheap it claims to be.
    run(
        &mut app,
        "CREATE FUNCTION leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
        $$ BEGIN IF t LIKE 'b%' THEN RAISE EXCEPTION 'leaked %', t; END IF; RETURN true; END $$",
    );
    assert_eq!(rows_under(&mut app, A, "SELECT id FROM ticket WHERE leak(title)").len(), 2);
    assert_eq!(rows_under(&mut app, A, "SELECT id FROM ticket WHERE 1 / (id - 11) < 5").len(), 2);
    for sql in [
        "ALTER TABLE ticket DISABLE ROW LEVEL SECURITY",
        "DROP POLICY orgscope_floor ON ticket",
        "ALTER TABLE ticket DISABLE TRIGGER ALL",
        "SELECT orgscope.disable_org_scoping('ticket')",
        "SELECT orgscope.plan_org_scoping('ticket')",
        "SET row_security = off; TABLE ticket",
        "SET session_replication_role = replica",
        "DELETE FROM orgscope.scoped_table",
        "INSERT INTO orgscope.organization (name, slug) VALUES ('x', 'x')",
    ] {
        refused_under(&mut app, A, "42501", sql);
    }
}

#[test]
fn the_owners_migrations_work_on_scoped_tables() {
    let world = World::new("migrations");
    run(
        &mut world.owner(),
        "ALTER TABLE comment DROP CONSTRAINT comment_ticket_id_fkey;
         ALTER TABLE comment ADD FOREIGN KEY (ticket_id) REFERENCES ticket ON DELETE SET NULL;
         ALTER TABLE ticket ADD COLUMN n int DEFAULT 3 NOT NULL;
         ALTER TABLE ticket ALTER n TYPE text USING n || 'x';
         ALTER TABLE ticket ADD CHECK (id > 0);
         CREATE INDEX ON ticket (n); CREATE UNIQUE INDEX ON ticket (organization_id, n, id);
         ALTER TABLE ticket DROP COLUMN title",
    );
    let mut app = world.app();
    assert_eq!(rows_under(&mut app, A, "SELECT id, n FROM ticket ORDER BY id"), ["1|3x", "2|3x"]);
    rows_under(&mut app, A, "DELETE FROM ticket WHERE id = 1");
    assert_eq!(rows_under(&mut app, A, "SELECT ticket_id FROM comment ORDER BY id"), ["-", "2"]);
    let mut admin = world.superuser();
    assert_eq!(rows(&mut admin, "SELECT ticket_id FROM comment ORDER BY id"), ["-", "2", "11", "12", "13"]);
    assert_eq!(one(&mut admin, "SELECT bool_and(protected) FROM orgscope.scoped_tables"), "t");
    // A data migration names its organization like everybody else.
    refused(&mut world.owner(), "OS001", "UPDATE ticket SET n = 'y'");
}
