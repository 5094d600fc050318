//! Keeps the registry with the tables: event triggers, so that it holds whoever runs the DDL, and in C, so that the
//! extension depends on no procedural language that could be dropped with it.

use crate::pg::{Backend, as_superuser};
use crate::scope::members;
use crate::{pg_function, spi};

/// Whether the DDL that runs is part of scoping: the registry is written when it is done.
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

fn is_scoping() -> bool {
    SCOPING.with(|s| *s)
}

pg_function! {
    /// sql_drop: a dropped table's name must not make a later table look scoped.
    fn orgscope_forget_dropped_tables(_call) {
        if !is_scoping() {
            as_superuser(|| spi::execute(FORGET, &[]));
        }
        Ok(None)
    }
}

pg_function! {
    /// ddl_command_end of what renames a table or schema, or gives a table a parent or takes it away.
    fn orgscope_follow_renamed_tables(_call) {
        if !is_scoping() {
            as_superuser(|| spi::execute(FOLLOW, &[]));
            members::adopt()?;
        }
        Ok(None)
    }
}

const FORGET: &str = include_str!("forget.sql");
const FOLLOW: &str = include_str!("follow.sql");
