//! Keeps the registry with the tables: event triggers, so that it holds whoever runs the DDL, and in C, so that the
//! extension depends on no procedural language that could be dropped with it.

use crate::pg::as_superuser;
use crate::{pg_function, spi};
use pgrx::pg_sys;

pg_function! {
    /// sql_drop: a dropped table's name must not make a later table look scoped.
    fn orgscope_forget_dropped_tables(_call) {
        // A look first: only a writer's lock would stay until the end of a transaction that drops something else.
        as_superuser(|| spi::query_planned(DROPPED, &[]).map(|_| spi::query_planned(FORGET, &[])));
        Ok(None)
    }
}

pg_function! {
    /// ddl_command_end of ALTER TABLE, of ALTER SCHEMA, and of ALTER INDEX, which renames tables too.
    fn orgscope_follow_renamed_tables(call) {
        use pg_sys::NodeTag::{T_AlterObjectSchemaStmt, T_RenameStmt};
        if matches!(call.event_trigger_statement(), Some(T_RenameStmt | T_AlterObjectSchemaStmt)) {
            as_superuser(|| spi::query_planned(FOLLOW, &[]));
        }
        Ok(None)
    }
}

const DROPPED: &str = "SELECT 'yes' FROM pg_catalog.pg_event_trigger_dropped_objects() d, orgscope.scoped_table s \
     WHERE d.object_type OPERATOR(pg_catalog.=) 'table' \
       AND d.object_name OPERATOR(pg_catalog.=) s.table_name::pg_catalog.text LIMIT 1";
const FORGET: &str = include_str!("forget.sql");
const FOLLOW: &str = include_str!("follow.sql");
