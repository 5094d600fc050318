//! The trigger.

use super::statement;
use crate::audit::writes::qualified;
use crate::context;
use crate::error::Error;
use crate::pg::{self, text_datum};
use crate::pg_function;
use crate::trigger::{Event, Shape, Trigger};
use pgrx::pg_sys;

pg_function! {
    /// AFTER INSERT, UPDATE, DELETE or TRUNCATE STATEMENT, each a trigger of its own. Of other triggers with this function,
    /// which anybody may put on a table of theirs, nothing is believed; neither of tables that the registry does not know.
    fn orgscope_history(call) {
        let t = Trigger::of(call, "history", Shape::AfterStatement)?;
        if !t.is_history() {
            return Err(Error::NotATrigger { function: "history" });
        }
        if t.event() == Event::Truncate || t.changed_rows() > 0 {
            statement::run(&t, &arguments(&t))?;
        }
        Ok(Some(pg_sys::Datum::null()))
    }
}

/// What is the same for all rows of a statement, in the order of [`statement::TYPES`].
fn arguments(t: &Trigger) -> [Option<pg_sys::Datum>; 7] {
    // SAFETY: backend-local state, and the transaction's id, which a change has already.
    unsafe {
        let role = |role| pg::role_name(role).as_deref().map(text_datum);
        [
            Some(pg_sys::Datum::from(pg_sys::GetCurrentTimestamp())),
            Some(pg_sys::Datum::from(pg_sys::GetCurrentStatementStartTimestamp())),
            context::actor().as_deref().map(text_datum),
            role(pg_sys::GetAuthenticatedUserId()),
            role(pg_sys::GetUserId()),
            Some(pg_sys::Datum::from(pg_sys::GetTopFullTransactionId().value)),
            Some(pg_sys::Datum::from(t.owner())),
        ]
    }
}

/// What the log calls the table at the top, or for TRUNCATE the table itself.
pub(super) fn logged_name(t: &Trigger, top: pg_sys::Oid) -> pg_sys::Datum {
    text_datum(&qualified(if t.event() == Event::Truncate { t.table() } else { top }))
}
