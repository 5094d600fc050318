//! COPY FROM on scoped tables by the roles that row security holds.

#[path = "../common/mod.rs"]
mod common;
mod equal;
#[path = "../generate/mod.rs"]
mod generate;
mod rights;
mod triggers;

use common::*;
use std::io::Write;

/// How many rows were copied, or the SQLSTATE.
fn copy(client: &mut postgres::Client, sql: &str, data: &[u8]) -> String {
    copy_or_error(client, sql, data).map_or_else(|error| code(&error), |rows| rows.to_string())
}

fn copy_or_error(client: &mut postgres::Client, sql: &str, data: &[u8]) -> Result<u64, postgres::Error> {
    client.copy_in(sql).and_then(|mut writer| {
        // The server may have refused before it has read all: finish() then says why.
        let _ = writer.write_all(data);
        writer.finish()
    })
}

/// In a transaction of its own under the organization, and over a connection of its own: the driver has sent more than a
/// server that refuses at once reads.
fn copy_under(world: &World, role: &str, org: &str, sql: &str, data: &str) -> String {
    let mut client = world.connect(role);
    begin(&mut client, org);
    let result = copy(&mut client, sql, data.as_bytes());
    if result.len() < 5 {
        run(&mut client, "COMMIT");
    }
    result
}

#[test]
fn a_tenant_copies_rows_of_its_own() {
    let world = World::new("copy_own");
    for role in ["app", "owner"] {
        let mut client = world.connect(role);
        assert_eq!(copy_under(&world, role, A, "COPY ticket FROM STDIN", &format!("501\tx\t{A}\n502\ty\t\\N\n")), "2");
        assert_eq!(copy_under(&world, role, A, "COPY ticket (title, id) FROM STDIN", "z\t503\n"), "1");
        assert_eq!(copy_under(&world, role, B, "COPY ticket (id) FROM STDIN", ""), "0");
        let stored = "SELECT id, title, left(organization_id::text, 1) FROM ticket WHERE id > 500 ORDER BY id";
        assert_eq!(rows(&mut world.superuser(), stored), ["501|x|a", "502|y|a", "503|z|a"]);
        rows_under(&mut client, A, "DELETE FROM ticket WHERE id > 500");
    }
    let record = "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_write'";
    assert_eq!(one(&mut world.superuser(), record), "0");
}

#[test]
fn what_an_insert_may_not_a_copy_may_not() {
    let world = World::new("copy_refused");
    let before = all_tickets(&world);
    let ticket = "COPY ticket FROM STDIN";
    assert_eq!(copy(&mut world.app(), ticket, b"501\tx\t\\N\n"), "OS001");
    assert_eq!(copy(&mut world.app(), ticket, b""), "OS001");
    assert_eq!(copy_under(&world, "app", A, ticket, &format!("501\tx\t{A}\n502\tx\t{B}\n")), "OS002");
    assert_eq!(copy_under(&world, "app", A, ticket, "501\tx\t\\N\n1\tx\t\\N\n"), "23505");
    assert_eq!(copy_under(&world, "app", A, ticket, "501\tx\t\\N\nx\tx\t\\N\n"), "22P02");
    assert_eq!(copy_under(&world, "app", A, ticket, "501\tx\n"), "22P04");
    // The other organization's comment, by a key of both.
    assert_eq!(copy_under(&world, "app", A, "COPY comment (ticket_id) FROM STDIN", "1\n11\n"), "23503");
    // No such organization.
    let nobody = "dddddddd-0000-7000-8000-000000000004";
    assert_ne!(copy_under(&world, "app", nobody, ticket, "501\tx\t\\N\n502\tx\t\\N\n"), "2");
    assert_eq!(all_tickets(&world), before);
    assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM comment"), "5");
}

#[test]
fn without_a_context_no_setting_lets_a_row_in() {
    let world = World::new("copy_context_off");
    for required in ["writes", "off"] {
        let sql = format!("ALTER ROLE app IN DATABASE copy_context_off SET orgscope.require_context = {required}");
        run(&mut world.superuser(), &sql);
        assert_eq!(copy(&mut world.app(), "COPY ticket FROM STDIN", format!("501\tx\t{A}\n").as_bytes()), "OS001");
    }
    assert_eq!(all_tickets(&world).len(), 5);
}

#[test]
fn policies_of_the_team_hold_too() {
    let world = World::new("copy_policies");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "CREATE POLICY short ON ticket AS RESTRICTIVE FOR INSERT TO app WITH CHECK (length(title) < 4);
         CREATE POLICY known ON ticket AS RESTRICTIVE FOR INSERT TO app
             WITH CHECK (NOT EXISTS (SELECT FROM comment c WHERE c.body = title))",
    );
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", "501\tok\t\\N\n"), "1");
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", "502\tok\t\\N\n503\ttoo long\t\\N\n"), "42501");
    run(&mut admin, "UPDATE comment SET body = 'no' WHERE ticket_id = 1");
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", "502\tno\t\\N\n"), "42501");
    // What a trigger makes of a row is what the policy sees.
    run(
        &mut admin,
        "CREATE FUNCTION lengthen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := repeat(NEW.title, 3); RETURN NEW; END $$;
         CREATE TRIGGER lengthen BEFORE INSERT ON ticket FOR EACH ROW EXECUTE FUNCTION lengthen()",
    );
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", "502\tok\t\\N\n"), "42501");
    assert_eq!(copy_under(&world, "app", A, "COPY ticket FROM STDIN", "502\tk\t\\N\n"), "1");
    assert_eq!(copy_under(&world, "owner", A, "COPY ticket FROM STDIN", "503\ttoo long\t\\N\n"), "1");
}

#[test]
fn only_scoped_tables() {
    let world = World::new("copy_only_scoped");
    run(
        &mut world.owner(),
        "CREATE TABLE theirs (id int); ALTER TABLE theirs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON theirs USING (true); CREATE TABLE none (id int); GRANT ALL ON theirs, none TO app",
    );
    run(&mut world.superuser(), "CREATE TABLE shared (id int); GRANT ALL ON shared TO app");
    run(&mut world.superuser(), "SELECT orgscope.share_table('shared')");
    assert_eq!(copy_under(&world, "app", A, "COPY theirs FROM STDIN", "1\n"), "0A000");
    assert_eq!(copy_under(&world, "app", A, "COPY none FROM STDIN", "1\n2\n"), "2");
    assert_ne!(copy_under(&world, "app", A, "COPY shared FROM STDIN", "1\n"), "1");
    assert_eq!(copy_under(&world, "app", A, "COPY nowhere FROM STDIN", "1\n"), "42P01");
    let mut app = world.app();
    run(&mut app, "SET row_security = off");
    assert_eq!(copy(&mut app, "COPY ticket (id) FROM STDIN", b"501\n"), "42501");
}

/// COPY does not apply rules. An INSERT would.
#[test]
fn a_table_with_a_rule_is_left_to_postgresql() {
    let world = World::new("copy_rule");
    run(
        &mut world.superuser(),
        "SET orgscope.drift = audit; CREATE RULE twice AS ON INSERT TO ticket DO ALSO SELECT 1",
    );
    assert_eq!(copy_under(&world, "app", A, "COPY ticket (id) FROM STDIN", "501\n"), "0A000");
}

#[test]
fn partitions_take_copies_by_their_root_and_themselves() {
    let world = World::without_tables("copy_partitions");
    run(
        &mut world.owner(),
        "CREATE TABLE t (id int, title text, organization_id uuid) PARTITION BY LIST (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 2);
         CREATE TABLE t2 (organization_id uuid, gone int, title text, id int); ALTER TABLE t2 DROP gone;
         ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (3, 4);
         SELECT orgscope.enable_org_scoping('t'); GRANT ALL ON t, t1, t2 TO app",
    );
    assert_eq!(copy_under(&world, "app", A, "COPY t (id, title) FROM STDIN", "1\tx\n3\ty\n2\tz\n"), "3");
    assert_eq!(copy_under(&world, "app", A, "COPY t2 (id, title) FROM STDIN", "4\tx\n4\ty\n"), "2");
    assert_eq!(copy_under(&world, "app", A, "COPY t2 (id, title) FROM STDIN", "1\tx\n"), "23514");
    assert_eq!(copy_under(&world, "app", A, "COPY t (id, title) FROM STDIN", "5\tx\n"), "23514");
    assert_eq!(copy_under(&world, "app", A, "COPY t FROM STDIN", &format!("1\tx\t{A}\n3\ty\t{B}\n")), "OS002");
    assert_eq!(copy_under(&world, "app", A, "COPY t2 (id, organization_id) FROM STDIN", &format!("3\t{B}\n")), "OS002");
    let stored = "SELECT tableoid::regclass, id, title, left(organization_id::text, 1) FROM t ORDER BY 2, 3";
    assert_eq!(rows(&mut world.superuser(), stored), ["t1|1|x|a", "t1|2|z|a", "t2|3|y|a", "t2|4|x|a", "t2|4|y|a"]);
}

#[test]
fn a_table_in_observe_mode_takes_and_notes_them() {
    let world = World::without_tables("copy_observed");
    run(
        &mut world.owner(),
        "CREATE TABLE t (id int, organization_id uuid);
         SELECT orgscope.enable_org_scoping('t', options => '{\"mode\": \"observe\"}'); GRANT ALL ON t TO app",
    );
    assert_eq!(copy_under(&world, "app", A, "COPY t FROM STDIN", &format!("1\t{A}\n2\t{B}\n")), "2");
    let noted = "SELECT operation, row_count, detail->>'why' FROM orgscope.audit_log WHERE action = 'observed'";
    assert_eq!(rows(&mut world.superuser(), noted), ["INSERT|1|wrong organization"]);
}

/// Whoever row security does not hold copies as before, and is on record.
#[test]
fn bypassing_roles_keep_postgresqls_copy() {
    let world = World::new("copy_bypass");
    for role in ["dba", "postgres"] {
        let mut client = world.connect(role);
        let data = format!("601\tx\t{A}\n602\tx\t{B}\n");
        assert_eq!(copy(&mut client, "COPY ticket FROM STDIN", data.as_bytes()), "2");
        let record = "SELECT operation, row_count, left(organization_id::text, 1), role_name, statement
                      FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY id DESC LIMIT 2";
        assert_eq!(
            rows(&mut world.superuser(), record),
            [format!("INSERT|1|b|{role}|COPY ticket FROM STDIN"), format!("INSERT|1|a|{role}|COPY ticket FROM STDIN")]
        );
        run(&mut client, "DELETE FROM ticket WHERE id > 600");
        run(&mut world.superuser(), "SELECT orgscope.flush_audit()");
    }
}

#[test]
fn a_copy_that_ends_early_leaves_nothing() {
    let world = World::new("copy_ends");
    let mut app = world.app();
    begin(&mut app, A);
    let mut writer = app.copy_in("COPY ticket (id) FROM STDIN").unwrap();
    writer.write_all(b"501\n502\n").unwrap();
    writer.flush().unwrap();
    drop(writer);
    run(&mut app, "ROLLBACK");
    // A statement that takes too long is ended between rows.
    let mut app = world.app();
    begin(&mut app, A);
    run(&mut app, "SET LOCAL statement_timeout = 300");
    let endless = "COPY ticket (id) FROM STDIN WHERE pg_sleep(0.01) IS NULL";
    assert_eq!(copy(&mut app, endless, "700\n".repeat(1000).as_bytes()), "57014");
    let mut app = world.app();
    let pid: i32 = one(&mut app, "SELECT pg_backend_pid()").parse().unwrap();
    begin(&mut app, A);
    let mut writer = app.copy_in("COPY ticket (id) FROM STDIN").unwrap();
    writer.write_all(b"501\n").unwrap();
    writer.flush().unwrap();
    run(&mut world.superuser(), &format!("SELECT pg_terminate_backend({pid}, 5000)"));
    assert!(writer.finish().is_err());
    assert_eq!(all_tickets(&world).len(), 5);
    assert_eq!(copy_under(&world, "app", A, "COPY ticket (id) FROM STDIN", "501\n"), "1");
}

/// Many rows take no more memory than few.
#[test]
fn memory_stays_as_it_was() {
    let world = World::new("copy_memory");
    let mut app = world.app();
    let data: String = (1000..101_000).map(|i| format!("{i}\t{}\n", "x".repeat(200))).collect();
    let used = "SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name <> 'TopMemoryContext'";
    run(&mut world.superuser(), "GRANT pg_read_all_stats TO app; GRANT SELECT ON pg_backend_memory_contexts TO app");
    run(&mut world.superuser(), "GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts TO app");
    begin(&mut app, A);
    assert_eq!(copy(&mut app, "COPY ticket (id, title) FROM STDIN WHERE id < 2000", data.as_bytes()), "1000");
    let before: i64 = one(&mut app, used).parse().unwrap();
    assert_eq!(copy(&mut app, "COPY ticket (id, title) FROM STDIN WHERE id >= 2000", data.as_bytes()), "99000");
    let after: i64 = one(&mut app, used).parse().unwrap();
    assert!(after - before < 1_000_000, "{before} {after}");
    run(&mut app, "COMMIT");
}
