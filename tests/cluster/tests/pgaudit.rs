//! Beside pgaudit each library has its own records, whichever is loaded first.

mod common;

use common::*;
use orgscope_cluster::Options;

/// Statements that pgaudit has logged, with their class and command; not the functions they call, of which policies are some.
fn of_pgaudit(world: &World, mark: &str) -> Vec<String> {
    let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
    let lines = log.lines().filter_map(|line| line.split_once("AUDIT: SESSION,")).filter(|(_, l)| l.contains(mark));
    let kinds = lines.map(|(_, line)| line.splitn(5, ',').skip(2).take(2).collect::<Vec<_>>().join(" "));
    kinds.filter(|kind| kind != "FUNCTION EXECUTE").collect()
}

fn of_orgscope(world: &World, mark: &str) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    // The number of rows that were read has a row of its own when the read was written before it was known.
    let record = format!(
        "SELECT action, sqlstate FROM orgscope.audit_log WHERE strpos(statement, '{mark}') > 0 AND event_count > 0
         ORDER BY action, sqlstate"
    );
    rows(&mut admin, &record)
}

fn each_library_has_its_records(libraries: &str) {
    let world = World::in_own_cluster(&Options::default().preload(libraries));
    run(&mut world.superuser(), "CREATE EXTENSION pgaudit");
    let (mut app, mut dba) = (world.app(), world.dba());
    // What row security covers is pgaudit's business alone.
    assert_eq!(rows_under(&mut app, A, "SELECT id FROM ticket /*covered*/ ORDER BY id"), ["1", "2"]);
    run(&mut dba, "SELECT count(*) FROM ticket /*read*/");
    run(&mut dba, "UPDATE ticket SET title = 'x' WHERE id = 1 /*write*/");
    query(&mut dba, "UPDATE ticket SET title = (1 / (id - 2))::text /*failed*/").unwrap_err();
    refused(&mut app, "OS001", "SELECT count(*) FROM ticket /*refused*/");
    let mut denied = world.connect_with("postgres", "-c orgscope.bypass=deny").unwrap();
    refused(&mut denied, "OS007", "SELECT count(*) FROM ticket /*denied*/");
    run(
        &mut dba,
        "DO $$ BEGIN PERFORM id / 0 FROM ticket; EXCEPTION WHEN division_by_zero THEN NULL; END $$ /*caught*/",
    );
    run(&mut world.owner(), "ALTER TABLE ticket ADD COLUMN urgent bool /*altered*/");
    run(&mut world.superuser(), "ALTER SYSTEM SET orgscope.audit_reads = on /*system*/");

    for (mark, pgaudit, orgscope) in [
        ("/*covered*/", &["READ SELECT"][..], &[][..]),
        ("/*read*/", &["READ SELECT"], &["bypass_read|-"]),
        ("/*write*/", &["WRITE UPDATE"], &["bypass_write|-"]),
        ("/*failed*/", &["WRITE UPDATE"], &["bypass_write|-"]),
        // Before pgaudit is asked.
        ("/*refused*/", &[], &["denied|OS001"]),
        ("/*denied*/", &["READ SELECT"], &["denied|OS007"]),
        ("/*caught*/", &["FUNCTION DO"], &["bypass_read|-"]),
        ("/*altered*/", &["DDL ALTER TABLE"], &["ddl|-"]),
        ("/*system*/", &["DDL ALTER SYSTEM"], &["setting|-"]),
    ] {
        assert_eq!(of_pgaudit(&world, mark), pgaudit, "pgaudit, {libraries}: {mark}");
        assert_eq!(of_orgscope(&world, mark), orgscope, "orgscope, {libraries}: {mark}");
    }
    assert_eq!(of_pgaudit(&world, "SELECT id / 0 FROM ticket"), ["READ SELECT"], "inside the block, {libraries}");
}

#[test]
fn loaded_before_orgscope() {
    each_library_has_its_records("pgaudit,orgscope");
}

#[test]
fn loaded_after_orgscope() {
    each_library_has_its_records("orgscope,pgaudit");
}
