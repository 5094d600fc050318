//! Runs a plan. All of it happens in the caller's transaction: it is done whole, or not at all.

use crate::error::Error;
use crate::guard::lent::without_force_throughout;
use crate::pg::{as_superuser, boundary, raw, replace_errors, without_force};
use crate::scope::Step;
use crate::scope::facts::{self, Column, Facts, Registered};
use crate::scope::keys::{self, Memory};
use crate::scope::options::Options;
use crate::scope::refuse::conflict;
use crate::scope::registry::{self, while_scoping};
use crate::scope::tree::Tree;
use crate::scope::undo::Original;
use crate::spi;
use pgrx::pg_sys;
use std::collections::{BTreeMap, BTreeSet};

/// The tree, under the strongest lock any step takes, taken first: the facts must still hold when the steps run, and
/// taking a weaker lock now and this one later would invite a deadlock. The same for the tables whose keys change with
/// these. Tables that are not scoped get a lock that lets everybody read and write, but not scope them now: of two that
/// are scoped at once, neither would know of the other. All in the order of their oids; `lock_timeout` applies.
pub fn lock(
    target: pg_sys::Oid,
    column: Option<&str>,
    touches: impl Fn(&Tree) -> Vec<pg_sys::Oid>,
) -> Result<Tree, Error> {
    const MILD: u32 = pg_sys::ShareUpdateExclusiveLock;
    const STRONG: u32 = pg_sys::AccessExclusiveLock;
    let family = facts::family(target);
    // Ownership is asked for before anybody waits for a lock held by us.
    family.iter().try_for_each(|table| facts::require_owner((*table).into()))?;
    let mut wanted: BTreeMap<u32, u32> =
        facts::unscoped_relatives(&family).into_iter().map(|table| (table, MILD)).collect();
    wanted.extend(family.iter().map(|table| (*table, STRONG)));
    if column.is_none_or(|column| !facts::keys_are_settled(&family, column).unwrap_or(false)) {
        wanted.extend(touches(&facts::outline(target, column)?).into_iter().map(|table| (table.to_u32(), STRONG)));
    }
    let mut locked: BTreeMap<u32, u32> = BTreeMap::new();
    loop {
        for (table, mode) in wanted {
            // SAFETY: takes a lock that ends with the transaction.
            boundary(|| unsafe { raw::LockRelationOid(table.into(), mode as i32) });
            locked.insert(table, mode);
        }
        // Others may have changed what there is to do, or which tables belong together, while we waited.
        let tree = facts::read(target, column)?;
        let members: Vec<u32> = tree.oids().collect();
        let come = members.iter().any(|table| !locked.contains_key(table));
        let relatives = if come { facts::unscoped_relatives(&members) } else { Vec::new() };
        wanted = relatives.into_iter().map(|table| (table, MILD)).collect();
        wanted.extend(members.into_iter().chain(touches(&tree).into_iter().map(|t| t.to_u32())).map(|t| (t, STRONG)));
        wanted.retain(|table, mode| locked.get(table).is_none_or(|have| have < mode));
        if wanted.is_empty() {
            return Ok(tree);
        }
    }
}

/// The same for many tables that are about to be enabled one after the other.
pub fn lock_all(tables: Vec<u32>) -> Result<(), Error> {
    let tables: BTreeSet<u32> = tables.into_iter().flat_map(|table| facts::family(table.into())).collect();
    for table in tables {
        facts::require_owner(table.into())?;
        // SAFETY: takes a lock that ends with the transaction.
        boundary(|| unsafe { raw::LockRelationOid(table.into(), pg_sys::AccessExclusiveLock as i32) });
    }
    Ok(())
}

/// One table, which is to be declared: nobody scopes, renames or drops it meanwhile.
pub fn hold(target: pg_sys::Oid) -> Result<(), Error> {
    facts::require_owner(target)?;
    // SAFETY: takes a lock that ends with the transaction.
    boundary(|| unsafe { raw::LockRelationOid(target, pg_sys::ShareUpdateExclusiveLock as i32) });
    Ok(())
}

/// Steps run as the caller: PostgreSQL itself checks that the caller may do each. Before a foreign key is added, rows
/// that would break it are looked for, to name the reason instead of the constraint.
pub fn run(tree: &Tree, steps: &[Step], backfill: Option<&str>) -> Result<(), Error> {
    for step in steps {
        let facts = &tree.members()[step.member];
        match step.kind {
            "not null" if !facts.column.as_ref().is_some_and(Column::has_no_null) => check_filled(facts)?,
            "foreign key" => check_known(facts)?,
            _ => {}
        }
        let execute = || spi::execute(&step.sql, &[]);
        match step.kind {
            // The expression may read tables of the same owner that are scoped already, over all organizations. It may run
            // a user's code, whose DDL is like any other.
            "backfill" => without_force_throughout(execute),
            "unique" => while_scoping(|| replace_errors(execute, unique_errors(changed(tree, step))))?,
            // PostgreSQL looks through both tables, whose rows row security must not hide.
            keys::KIND => {
                keys::violations::check(tree, backfill, &step.sql)?;
                while_scoping(|| without_force(execute))
            }
            _ => while_scoping(execute),
        };
    }
    Ok(())
}

/// The table that a step changes: its own, or one that a key refers to.
fn changed<'a>(tree: &'a Tree, step: &Step) -> &'a Facts {
    let names = |table: &&Facts| step.sql.contains(&format!(" {} ", table.qualified));
    tree.neighbours.iter().find(names).unwrap_or(&tree.members()[step.member])
}

/// Values that are unique for each organization need not be unique in the whole table, and periods that do not overlap in
/// one may do so in the whole table. PostgreSQL's own errors would show them.
fn unique_errors(facts: &Facts) -> [(&'static str, Error); 3] {
    let conflict = |detail: &str, hint: &str| Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot change what is unique in table \"{}\"", facts.table),
        detail: detail.into(),
        hint: hint.into(),
    };
    let duplicates = || {
        conflict(
            "Rows of different organizations hold equal values where the original index allows none.",
            "Make the values unique in the whole table, or drop the index that is now unique per organization, then try again.",
        )
    };
    let no_operators = conflict(
        "It has a UNIQUE constraint WITHOUT OVERLAPS, and GiST has no operators for uuid columns without an extension.",
        "CREATE EXTENSION btree_gist first, or keep the constraint as it is with the option {\"unique\": \"keep\"}.",
    );
    [("23505", duplicates()), ("23P01", duplicates()), ("42704", no_operators)]
}

fn check_filled(facts: &Facts) -> Result<(), Error> {
    if !facts.rows.any {
        return Ok(());
    }
    let sql = format!("SELECT count(*)::text FROM {} WHERE {} IS NULL", facts.qualified, facts.column_quoted);
    match count(&sql) {
        0 => Ok(()),
        missing => {
            let detail = format!("The backfill leaves {missing} row(s) without an organization.");
            Err(conflict(facts, &detail, "Give an expression that is not NULL for any row.".into()))
        }
    }
}

fn check_known(facts: &Facts) -> Result<(), Error> {
    if !facts.rows.any {
        return Ok(());
    }
    let (table, column) = (&facts.qualified, &facts.column_quoted);
    let sql = format!(
        "SELECT count(*)::text FROM {table} t WHERE t.{column} IS NOT NULL \
         AND NOT EXISTS (SELECT FROM orgscope.organization o WHERE o.id = t.{column})"
    );
    match count(&sql) {
        0 => Ok(()),
        unknown => {
            let detail = format!("The organization of {unknown} row(s) is not in orgscope.organization.");
            Err(conflict(facts, &detail, "Create the missing organizations first.".into()))
        }
    }
}

/// Counts as the superuser: no row security may hide a row from the check.
fn count(sql: &str) -> u64 {
    as_superuser(|| spi::query(sql, &[])).and_then(|n| n.parse().ok()).unwrap_or(0)
}

pub fn register(facts: &Facts, original: &Original, options: &Options) -> Result<(), Error> {
    let json = |r: Result<String, serde_json::Error>| r.map_err(|e| Error::Internal { what: e.to_string() });
    let original = json(serde_json::to_string(original))?;
    let options = json(serde_json::to_string(options))?;
    let sql = "INSERT INTO orgscope.scoped_table (schema_name, table_name, column_name, options, original) \
               SELECT n.nspname, c.relname, $2::name, $3::jsonb, $4::jsonb \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid \
               ON CONFLICT (schema_name, table_name) DO UPDATE SET options = EXCLUDED.options, original = EXCLUDED.original";
    let args = [&facts.oid.to_string(), &facts.column_name, &options, &original];
    registry::change(sql, &args.map(|a| Some(a.as_str())));
    Ok(())
}

/// Changes what the registry keeps of other tables.
pub fn note(memories: Vec<(&Facts, Memory)>, change: impl Fn(&mut Original, Memory)) -> Result<(), Error> {
    let mut entries: BTreeMap<&str, (&Facts, Registered)> = BTreeMap::new();
    for (table, memory) in memories {
        let Some(registered) = &table.registered else { continue };
        let entry = entries.entry(&table.qualified).or_insert_with(|| (table, registered.clone()));
        change(&mut entry.1.original, memory);
    }
    for (table, registered) in entries.values() {
        register(table, &registered.original, &registered.options)?;
    }
    Ok(())
}

pub fn unregister(facts: &Facts) {
    let sql = "DELETE FROM orgscope.scoped_table s USING pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = $1::oid AND s.schema_name = n.nspname AND s.table_name = c.relname";
    registry::change(sql, &[Some(&facts.oid.to_string())]);
}
