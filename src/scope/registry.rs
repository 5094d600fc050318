//! Keeps the registry with the tables: from event triggers, so that it holds whoever runs the DDL, and in C, so that the
//! extension depends on no procedural language that could be dropped with it.

use crate::pg::{Backend, as_superuser};
use crate::spi;

/// Whether the DDL that runs is a step of scoping: the registry is written when all are done.
static SCOPING: Backend<bool> = Backend::new(false);

/// Runs scoping's own DDL.
pub fn while_scoping<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    // Also when an error unwinds.
    impl Drop for Before {
        fn drop(&mut self) {
            SCOPING.with(|s| *s = self.0);
        }
    }
    let _before = Before(SCOPING.with(|s| std::mem::replace(s, true)));
    f()
}

pub fn is_scoping() -> bool {
    SCOPING.with(|s| *s)
}

/// After a drop: a dropped table's name must not make a later table look scoped.
pub fn forget() {
    as_superuser(|| spi::query_planned(FORGET, &[]));
}

/// After a rename.
pub fn follow() {
    as_superuser(|| spi::query_planned(FOLLOW, &[]));
}

const FORGET: &str = include_str!("forget.sql");
const FOLLOW: &str = include_str!("follow.sql");
