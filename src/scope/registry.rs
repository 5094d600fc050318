//! Keeps the registry with the tables: event triggers, so that it holds whoever runs the DDL, and in C, so that the
//! extension depends on no procedural language that could be dropped with it.

use crate::pg::as_superuser;
use crate::{pg_function, spi};

pg_function! {
    /// sql_drop: a dropped table's name must not make a later table look scoped.
    fn orgscope_forget_dropped_tables(_call) {
        as_superuser(|| spi::query_planned(FORGET, &[]));
        Ok(None)
    }
}

pg_function! {
    /// ddl_command_end of ALTER TABLE and ALTER SCHEMA.
    fn orgscope_follow_renamed_tables(_call) {
        as_superuser(|| spi::query_planned(FOLLOW, &[]));
        Ok(None)
    }
}

const FORGET: &str = include_str!("forget.sql");
const FOLLOW: &str = include_str!("follow.sql");
