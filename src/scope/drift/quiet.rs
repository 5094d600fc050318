//! The extension's own steps must not trip over the check: while they run on a table, that table is not judged. Only
//! that one: a backfill may run a user's code.

use crate::pg::Backend;

static QUIET: Backend<Vec<u32>> = Backend::new(Vec::new());

/// Ends when it is dropped, also by an error: those unwind.
pub struct Quiet;

pub fn quiet(oid: u32) -> Quiet {
    QUIET.with(|tables| tables.push(oid));
    Quiet
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.with(Vec::pop);
    }
}

pub fn is_quiet(oid: u32) -> bool {
    QUIET.with(|tables| tables.contains(&oid))
}
