//! When a table cannot be scoped as asked: OS005, with the reason and what helps.

use crate::error::Error;
use crate::guard::table_name;
use crate::scope::facts::Facts;
use crate::scope::options::{Mode, Options};
use pgrx::pg_sys;

/// Is it a table that can be scoped by this column at all?
pub fn unfit(facts: &Facts) -> Result<(), Error> {
    let refuse = |detail: &str, hint: String| Err(conflict(facts, detail, hint));
    if facts.kind != 'r' || facts.is_child || facts.has_children {
        let what = match facts.kind {
            'p' => "It is a partitioned table",
            'v' => "It is a view",
            'm' => "It is a materialized view",
            'f' => "It is a foreign table",
            'r' => "It is a partition, or takes part in inheritance",
            _ => "It is not a table",
        };
        return refuse(&format!("{what}."), "Scope the ordinary tables that hold the rows.".into());
    }
    if facts.temporary || facts.system {
        return refuse(
            "It is a temporary table, a system table or one of orgscope's own.",
            "Scope the application's permanent tables.".into(),
        );
    }
    if let Some(kind) = &facts.declared {
        let (what, function) =
            if kind == "shared" { ("shared", "unshare_table") } else { ("exempt from scoping", "unexempt_table") };
        return refuse(&format!("It is {what}."), format!("Call orgscope.{function}({}) first.", facts.literal));
    }
    if let Some(registered) = facts.registered.as_ref().filter(|r| r.column_name != facts.column_name) {
        return refuse(
            &format!("It is scoped by its column \"{}\" already.", registered.column_name),
            format!("Call orgscope.disable_org_scoping({}) first.", facts.literal),
        );
    }
    let Some(column) = &facts.column else { return Ok(()) };
    let name = &facts.column_name;
    if column.type_name != "uuid" {
        return refuse(
            &format!("Its column \"{name}\" has type {}, not uuid.", column.type_name),
            "Change the column's type to uuid, or name another column as the second argument.".into(),
        );
    }
    if column.generated {
        return refuse(
            &format!("Its column \"{name}\" is generated."),
            "Name another column as the second argument.".into(),
        );
    }
    if facts.foreign_keys.iter().any(|k| !k.to_organization) {
        return refuse(
            &format!("Its column \"{name}\" has a foreign key to another table than orgscope.organization."),
            "Move the organizations to orgscope.organization and drop that foreign key.".into(),
        );
    }
    Ok(())
}

/// Existing rows must be somebody's, and only the caller knows whose.
pub fn unfilled(facts: &Facts, options: &Options) -> Result<(), Error> {
    if !facts.rows.without_organization || options.backfill.is_some() || options.mode == Mode::Observe {
        return Ok(());
    }
    let column = &facts.column_name;
    let call = format!(
        "orgscope.enable_org_scoping({}, {}, '{{\"backfill\": \"<uuid or SQL expression>\"}}')",
        facts.literal, facts.column_literal
    );
    Err(conflict(
        facts,
        &format!("It has rows without a value for \"{column}\"."),
        format!("Say which organization existing rows belong to: {call}."),
    ))
}

/// Locks are held to the end of the transaction, and enable is one.
pub fn one_transaction(target: pg_sys::Oid) -> Error {
    let table = table_name(target, None);
    Error::Conflict {
        message: format!("cannot scope table \"{}\" with low locks in one transaction", table.table),
        table: Some(table),
        detail: "Locks are held until the transaction ends.".into(),
        hint: "Run the statements of orgscope.plan_org_scoping() with the same options one by one.".into(),
    }
}

/// OS005 about this table.
pub fn conflict(facts: &Facts, detail: &str, hint: String) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot scope table \"{}\"", facts.table),
        detail: detail.into(),
        hint,
    }
}
