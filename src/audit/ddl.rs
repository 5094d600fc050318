//! DDL on scoped tables and on what is orgscope's own: on record in the same transaction, and also if that is rolled back,
//! for it may have read in between what the DDL has opened.

use super::administration;
use super::entry::{self, Entry};
use crate::error::Error;

/// Of orgscope's own objects. In the server's log too: a superuser may have made a rule or a trigger that keeps it otherwise.
pub fn record_ours(operation: &str, detail: serde_json::Value) -> Result<(), Error> {
    let entry = Entry::of_client("ddl", operation, Some(detail));
    entry.log();
    entry::write_now(entry)
}

/// The same when the transaction ends.
pub fn record_ours_at_end(operation: &str, detail: serde_json::Value) {
    let entry = Entry::of_client("ddl", operation, Some(detail));
    entry.log();
    administration::note_entry(entry);
}

/// `operation` is the command's tag.
pub fn record(operation: &str, table: Option<String>, detail: Option<serde_json::Value>) -> Result<(), Error> {
    entry::write_now(Entry::of_client("ddl", operation, detail).of_table(table))
}
