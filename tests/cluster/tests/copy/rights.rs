//! Privileges are COPY's own, and so are its files, programs and read-only transactions.

use crate::common::*;
use crate::{copy, copy_under};

#[test]
fn the_columns_it_lists_are_enough() {
    let world = World::without_tables("copy_columns");
    run(
        &mut world.owner(),
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, title text, secret text DEFAULT 's', organization_id uuid);
         SELECT orgscope.enable_org_scoping('t'); GRANT INSERT (title), SELECT (title) ON t TO app",
    );
    assert_eq!(copy_under(&world, "app", A, "COPY t (title) FROM STDIN", "x\n"), "1");
    assert_eq!(copy_under(&world, "app", A, "COPY t (title) FROM STDIN WHERE title <> 'x'", "x\ny\n"), "1");
    assert_eq!(copy_under(&world, "app", A, "COPY t (title) FROM STDIN WHERE secret = 's'", "x\n"), "42501");
    assert_eq!(copy_under(&world, "app", A, "COPY t (title, secret) FROM STDIN", "x\ty\n"), "42501");
    assert_eq!(copy_under(&world, "app", A, "COPY t FROM STDIN", "1\tx\ty\t\\N\n"), "42501");
    assert_eq!(copy_under(&world, "app", A, "COPY t (nothing) FROM STDIN", "x\n"), "42703");
    let stored = "SELECT id, title, secret, left(organization_id::text, 1) FROM t ORDER BY id";
    assert_eq!(
        rows(&mut world.superuser(), stored),
        ["1|x|s|a", "3|y|s|a"],
        "a row that WHERE leaves out has taken its number"
    );
    run(&mut world.owner(), "REVOKE ALL ON t FROM app");
    assert_eq!(copy_under(&world, "app", A, "COPY t (title) FROM STDIN", "x\n"), "42501");
}

/// A policy on what may be read does not judge what is written, although WHERE reads it.
#[test]
fn a_where_asks_for_no_policy() {
    let world = World::new("copy_where_policy");
    run(&mut world.superuser(), "CREATE POLICY none ON ticket AS RESTRICTIVE FOR SELECT USING (false)");
    let copied = copy_under(&world, "app", A, "COPY ticket (id, title) FROM STDIN WHERE title = 'x'", "501\tx\n");
    assert_eq!(copied, "1");
}

#[test]
fn a_sequence_asks_for_its_own_right() {
    let world = World::new("copy_sequence");
    run(&mut world.owner(), "REVOKE ALL ON SEQUENCE comment_id_seq FROM app");
    assert_eq!(copy_under(&world, "app", A, "COPY comment (ticket_id) FROM STDIN", "1\n"), "42501");
    run(&mut world.owner(), "GRANT USAGE ON SEQUENCE comment_id_seq TO app");
    let before = one(&mut world.superuser(), "SELECT last_value FROM comment_id_seq");
    assert_eq!(copy_under(&world, "app", A, "COPY comment (ticket_id) FROM STDIN", "1\n2\n"), "2");
    let after = one(&mut world.superuser(), "SELECT last_value FROM comment_id_seq");
    assert_eq!(after.parse::<i64>().unwrap(), before.parse::<i64>().unwrap() + 2, "one value for each row");
}

#[test]
fn files_and_programs_need_the_servers_roles() {
    let world = World::new("copy_files");
    let mut admin = world.superuser();
    let directory = one(&mut admin, "SHOW data_directory");
    run(&mut admin, &format!("COPY (VALUES (501, 'f'), (502, 'g')) TO '{directory}/tickets.txt'"));
    let file = format!("COPY ticket (id, title) FROM '{directory}/tickets.txt'");
    let program = format!("COPY ticket (id, title) FROM PROGRAM 'cat {directory}/tickets.txt'");
    let inside =
        format!("DO $do$ DECLARE n bigint; BEGIN {file}; GET DIAGNOSTICS n = ROW_COUNT; ASSERT n = 2; END $do$");
    let mut app = world.app();
    refused_under(&mut app, A, "42501", &file);
    refused_under(&mut app, A, "42501", &program);
    run(&mut admin, "GRANT pg_read_server_files, pg_execute_server_program TO app");
    for sql in [&file, &program, &inside] {
        rows_under(&mut app, A, sql);
        let stored = rows_under(&mut app, A, "SELECT id, title FROM ticket WHERE id > 500 ORDER BY id");
        assert_eq!(stored, ["501|f", "502|g"]);
        rows_under(&mut app, A, "DELETE FROM ticket WHERE id > 500");
    }
    refused_under(&mut app, A, "58P01", "COPY ticket FROM '/nonexistent/file'");
    refused_under(&mut app, A, "38000", "COPY ticket FROM PROGRAM 'exit 3'");
    run(&mut admin, "REVOKE pg_read_server_files, pg_execute_server_program FROM app");
}

#[test]
fn a_read_only_transaction_writes_only_temporary_tables() {
    let world = World::new("copy_read_only");
    let mut app = world.app();
    run(&mut app, &format!("BEGIN READ ONLY; SET LOCAL orgscope.current_org = '{A}'"));
    assert_eq!(copy(&mut app, "COPY ticket (id) FROM STDIN", b"501\n"), "25006");
}

#[test]
fn psql_copies_from_its_own_file() {
    let world = World::new("copy_psql");
    let file = world.cluster().scratch_directory("copy_psql").unwrap().join("tickets.csv");
    std::fs::write(&file, "title,id\nx,501\n\"y,z\",502\n").unwrap();
    let mut psql = world.cluster().command("psql");
    psql.args(["-X", "-q", "-U", "app", "-d", world.name(), "-v", "ON_ERROR_STOP=1"]);
    psql.args(["-c", &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'")]);
    psql.args(["-c", &format!("\\copy ticket (title, id) FROM '{}' (FORMAT csv, HEADER match)", file.display())]);
    psql.args(["-c", "\\echo :ROW_COUNT", "-c", "COMMIT"]);
    assert_eq!(output(&mut psql).trim(), "2");
    assert_eq!(rows_under(&mut world.app(), A, "SELECT title FROM ticket WHERE id > 500 ORDER BY id"), ["x", "y,z"]);
}
