//! Rows that refer to a row of another organization: counted, and listed by a query, never shown.

use super::Key;
use crate::error::Error;
use crate::pg::as_superuser;
use crate::scope::facts::{Column, Facts};
use crate::scope::refuse::conflict;
use crate::scope::tree::Tree;
use crate::spi;
use uuid::Uuid;

/// Before PostgreSQL looks at the rows, with VALIDATE or at once: its own error would show the first row's values.
pub fn check(tree: &Tree, backfill: Option<&str>, statement: &str) -> Result<(), Error> {
    let Some(key) = tree.keys.iter().find(|k| looks_at_rows(tree, k, statement)) else { return Ok(()) };
    let count = format!("SELECT count(*)::text {}", foreign_rows(tree, key, None));
    let rows = as_superuser(|| spi::query(&count, &[])).and_then(|n| n.parse().ok()).unwrap_or(0u64);
    if rows == 0 {
        return Ok(());
    }
    let list = format!("SELECT c.* {}", foreign_rows(tree, key, backfill));
    Err(conflict(
        tree.root(),
        &format!(
            "By foreign key {} {rows} row(s) of {} refer to a row of {} of another organization.",
            key.quoted, key.child, key.parent
        ),
        format!(
            "Correct them, or keep the key with the option {{\"foreign_keys\": \"report\"}}. A superuser lists them with: {list}"
        ),
    ))
}

fn looks_at_rows(tree: &Tree, key: &Key, statement: &str) -> bool {
    let at_once = || statement.starts_with(&key.replace(tree.end(&key.child), "")) && tree.end(&key.child).kind == 'p';
    statement == key.validate() || at_once()
}

fn foreign_rows(tree: &Tree, key: &Key, backfill: Option<&str>) -> String {
    let (child, parent) = tree.ends(key);
    let (c, c_org) = rows(tree, child, "c", backfill);
    let (p, p_org) = rows(tree, parent, "p", backfill);
    let filled: Vec<_> = key.columns.iter().map(|column| format!("c.{column} IS NOT NULL")).collect();
    format!(
        "FROM {c} WHERE {} AND NOT EXISTS (SELECT FROM {p} WHERE {} AND {p_org} = {c_org})",
        filled.join(" AND "),
        key.equal.join(" AND ")
    )
}

/// The table under an alias, and the organization of its rows: after a refusal the column may not be there, or not be
/// filled, as it would have been.
fn rows(tree: &Tree, table: &Facts, alias: &str, backfill: Option<&str>) -> (String, String) {
    let filled = table.column.as_ref().is_some_and(Column::is_filled);
    let Some(expression) = backfill.filter(|_| tree.has(table) && !filled) else {
        return (format!("{} {alias}", table.qualified), format!("{alias}.{}", table.column_quoted));
    };
    let value = match Uuid::try_parse(expression) {
        Ok(org) => format!("uuid '{org}'"),
        Err(_) => format!("({expression})"),
    };
    let organization = match table.column {
        Some(_) => format!("COALESCE({}, {value})", table.column_quoted),
        None => value,
    };
    let source = format!("(SELECT *, {organization} AS orgscope_organization FROM {}) {alias}", table.qualified);
    (source, format!("{alias}.orgscope_organization"))
}
