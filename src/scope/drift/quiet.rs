//! The extension's own steps must not trip over the check: while they run, the tables they change are not judged.
//! Only those: a backfill may run a user's code.

use crate::pg::Backend;

static QUIET: Backend<Vec<u32>> = Backend::new(Vec::new());

/// Ends when it is dropped, also by an error: those unwind.
pub struct Quiet {
    /// How many were quiet before.
    before: usize,
}

pub fn quiet(oids: impl IntoIterator<Item = u32>) -> Quiet {
    let oids: Vec<u32> = oids.into_iter().collect();
    QUIET.with(|tables| {
        let before = tables.len();
        tables.extend(oids);
        Quiet { before }
    })
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.with(|tables| tables.truncate(self.before));
    }
}

pub fn is_any_quiet() -> bool {
    QUIET.with(|tables| !tables.is_empty())
}

/// Its own DDL and checks are scoping's, not drift and nobody's access.
pub fn is_quiet(oid: u32) -> bool {
    QUIET.with(|tables| tables.contains(&oid))
}
