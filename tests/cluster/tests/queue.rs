//! Who reads around row security, and what orgscope refuses, is on record whatever becomes of the transaction.

mod common;

use common::*;
use std::io::Read;

const READS: &str = "SELECT role_name, table_name, operation, event_count FROM orgscope.audit_log WHERE action = 'bypass_read' ORDER BY id";

/// What is on record of everybody's reads.
fn reads(world: &World) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(&mut admin, READS)
}

#[test]
fn reads_outside_row_security_are_on_record() {
    let world = World::new("queue_reads");
    let mut dba = world.dba();
    run(&mut dba, "SELECT count(*) FROM ticket");
    run(&mut dba, "BEGIN; SELECT * FROM comment; ROLLBACK");
    let mut copied = String::new();
    run(&mut dba, "BEGIN READ ONLY");
    dba.copy_out("COPY ticket TO STDOUT").unwrap().read_to_string(&mut copied).unwrap();
    run(&mut dba, "COMMIT");
    assert_eq!(copied.lines().count(), 5);
    // Neither planning nor a table of the catalogs is an access; a normal role's is covered.
    run(&mut dba, "EXPLAIN SELECT * FROM ticket; SELECT count(*) FROM pg_class");
    run(&mut world.app(), &format!("BEGIN; SET LOCAL orgscope.current_org = '{A}'; SELECT * FROM ticket; COMMIT"));
    assert_eq!(
        reads(&world),
        ["dba|public.ticket|SELECT|1", "dba|public.comment|SELECT|1", "dba|public.ticket|SELECT|1"]
    );
}
