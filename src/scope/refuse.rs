//! When a table cannot be scoped as asked: OS005, with the reason and what helps.

use crate::error::Error;
use crate::guard::table_name;
use crate::scope::facts::Facts;
use crate::scope::options::{Mode, Options};
use crate::scope::tree::Tree;
use pgrx::pg_sys;

/// Can the tables be scoped by this column at all?
pub fn unfit(tree: &Tree) -> Result<(), Error> {
    tree.members().iter().try_for_each(|member| unfit_member(tree.root(), member))
}

/// Partitions and children are scoped with the table at the top, whose row security counts for most queries.
pub fn not_the_top(tree: &Tree, target: u32) -> Result<(), Error> {
    let Some(place) = tree.place(target).filter(|&place| !tree.is_root(place)) else { return Ok(()) };
    let mut top = place;
    while let Some(parent) = tree.parents(top).next() {
        top = parent;
    }
    let (facts, top) = (&tree.members()[place], &tree.members()[top]);
    let what = if facts.partition { "a partition" } else { "an inheritance child" };
    Err(Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot scope or unscope table \"{}\" alone", facts.table),
        detail: format!("It is {what}, and its rows are read through {} too.", top.qualified),
        hint: format!("Name the table at the top, {}: all below it go with it.", top.literal),
    })
}

fn unfit_member(root: &Facts, facts: &Facts) -> Result<(), Error> {
    let refuse = |detail: &str, hint: String| Err(conflict(facts, detail, hint));
    if facts.kind == 'f' && facts.oid != root.oid {
        return refuse(
            "It is a foreign table among the partitions or children: it cannot have row security, and whoever names it reads every organization.",
            format!("Take it out of {} with DETACH PARTITION or NO INHERIT first.", root.qualified),
        );
    }
    if !matches!(facts.kind, 'r' | 'p') {
        let what = match facts.kind {
            'v' => "It is a view",
            'm' => "It is a materialized view",
            'f' => "It is a foreign table",
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
    // PostgreSQL 18 refuses to merge a key with a partition's that is not enforced.
    let (enforced, lapsed): (Vec<_>, Vec<_>) = facts.foreign_keys.iter().partition(|k| k.enforced);
    if let (true, [], [key, ..]) = (facts.partition, &enforced[..], &lapsed[..]) {
        return refuse(
            &format!("It is a partition, and its foreign key {} is NOT ENFORCED.", key.quoted),
            "Drop that foreign key first, or that of the table above which it comes from.".into(),
        );
    }
    Ok(())
}

/// Existing rows must be somebody's, and only the caller knows whose.
pub fn unfilled(tree: &Tree, options: &Options) -> Result<(), Error> {
    tree.roots().try_for_each(|root| unfilled_root(&tree.members()[root], options))
}

fn unfilled_root(facts: &Facts, options: &Options) -> Result<(), Error> {
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

/// PostgreSQL builds no index of a partitioned table while others write.
pub fn low_locks_of_many(tree: &Tree) -> Result<(), Error> {
    if tree.is_alone() && tree.root().kind != 'p' {
        return Ok(());
    }
    let hint = "Leave the option locks out; orgscope.backfill_org() can fill the column before, in batches.";
    Err(conflict(
        tree.root(),
        "It has partitions or inheritance children, for which there is no way of low locks.",
        hint.into(),
    ))
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
