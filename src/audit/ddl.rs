//! DDL on scoped tables and on what is orgscope's own: on record in the same transaction, and also if that is rolled back,
//! for it may have read in between what the DDL has opened.

use super::entry::{self, Entry};

/// `operation` is the command's tag.
pub fn record(operation: &str, table: Option<String>, detail: Option<serde_json::Value>) {
    entry::write_now(Entry::of_client("ddl", operation, detail).of_table(table));
}
