//! `orgscope.backfill_org`: gives the rows of a big table their organization, in batches of neighbouring pages, each
//! committed before the next one begins. A batch reads its own pages only, and whatever is committed stays done.

mod lock;
mod progress;

use crate::error::Error;
use crate::guard::lent::without_force_throughout;
use crate::pg::{Call, as_superuser, boundary, raw, without_force};
use crate::scope::facts::{self, Facts};
use crate::{pg_function, spi};
use pgrx::pg_sys;
use progress::Progress;
use serde::Deserialize;
use uuid::Uuid;

pg_function! {
    /// `CALL orgscope.backfill_org(target regclass, expression text, batch_size integer, column_name name)`
    fn orgscope_backfill_org(call) {
        require_own_transactions(call)?;
        // Copied here: what the arguments point to does not outlive the first commit.
        let target = call.oid(0).ok_or_else(super::null_target)?;
        let expression = call.text(1);
        let size = call.arg(2).map_or(0, |d| d.value() as i32);
        let column = call.name(3).unwrap_or_default();
        // SAFETY: the connection is closed below, or by the abort that follows an error.
        unsafe { boundary(|| raw::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32)) };
        begin();
        let facts = suitable(target, &column)?;
        let batch_size = u64::try_from(size).ok().filter(|n| *n > 0);
        let (Some(expression), Some(batch_size)) = (expression, batch_size) else {
            return Err(unfit(&facts, "The expression is null, or the batch size is not positive.", "Give both."));
        };
        Backfill::new(with_column(facts, target)?, target, &expression, batch_size)?.run();
        lock::release();
        // SAFETY: closes the connection opened above.
        unsafe { boundary(|| raw::SPI_finish()) };
        Ok(None)
    }
}

/// A table that holds rows itself: the target, or one of its partitions or children.
#[derive(Debug, Clone, Deserialize)]
struct Leaf {
    oid: u32,
    qualified: String,
    /// The file its rows are in: rewritten, the table has another one, and its pages are not the ones they were.
    file: u32,
    blocks: u64,
}

struct Backfill {
    facts: Facts,
    leaves: Vec<Leaf>,
    /// An expression over the row.
    value: String,
    progress: Progress,
    /// Pages for `batch_size` rows, by the average of the whole table.
    pages: u64,
}

/// Rows that others write meanwhile are filled by another pass, but not for ever.
const PASSES: usize = 10;

impl Backfill {
    fn new(facts: Facts, target: pg_sys::Oid, expression: &str, batch_size: u64) -> Result<Self, Error> {
        let value = match Uuid::try_parse(expression) {
            Ok(org) => format!("'{org}'"),
            Err(_) => expression.to_owned(),
        };
        if !lock::take(target) {
            let hint = "See orgscope.backfill_progress; wait for it, or stop it.";
            return Err(unfit(&facts, "Another session is filling it at this moment.", hint));
        }
        let leaves = leaves(target)?;
        let (rows, missing) = count(&leaves, &facts.column_quoted);
        let blocks: u64 = leaves.iter().map(|l| l.blocks).sum();
        let progress = Progress::start(target, &facts.table, &leaves, missing);
        let pages = (batch_size * blocks).checked_div(rows).unwrap_or(0).max(1);
        Ok(Self { facts, leaves, value, progress, pages })
    }

    fn run(mut self) {
        let mut remaining = self.progress.rows_total;
        for pass in 0..PASSES {
            if remaining == 0 {
                break;
            }
            let unknown = self.pass(pass == 0);
            remaining = count(&self.leaves, &self.facts.column_quoted).1;
            if remaining <= unknown {
                break;
            }
        }
        self.progress.finish(remaining);
    }

    /// Over all pages, the first time from where an earlier call stood: how many rows the expression knows nothing for.
    fn pass(&mut self, first: bool) -> u64 {
        let mut unknown = 0;
        for leaf in self.leaves.clone() {
            let mut block = if first { self.progress.first_block(&leaf) } else { 0 };
            // It may have grown: by the rows that this very backfill has moved, which are filled, and by new ones.
            let end = if first { leaf.blocks } else { blocks(&leaf) };
            while block < end {
                let next = (block + self.pages).min(end);
                unknown += self.batch(&leaf, block, next, first);
                block = next;
            }
        }
        unknown
    }

    fn batch(&mut self, leaf: &Leaf, from: u64, to: u64, first: bool) -> u64 {
        let unknown = in_short_memory(|| {
            let counts = without_force_throughout(|| spi::query(&self.update(leaf, from, to), &[])).unwrap_or_default();
            let (filled, unknown) = counts.split_once(' ').unwrap_or_default();
            let filled = filled.parse().unwrap_or(0);
            if first || filled > 0 {
                self.progress.add(leaf, from, to, filled, first);
            }
            unknown.parse().unwrap_or(0)
        });
        commit();
        unknown
    }

    /// Joined by the row's address, so that the expression is evaluated once a row, and a row for which it is NULL is
    /// not written. A row that somebody else updates at this moment has moved, and is left to the next pass. Inside, the
    /// table has the name that the caller knows, also where it is a partition.
    fn update(&self, leaf: &Leaf, from: u64, to: u64) -> String {
        let (table, column, value) = (&leaf.qualified, &self.facts.column_quoted, &self.value);
        let name = &self.facts.table_quoted;
        format!(
            "WITH known AS MATERIALIZED ( \
                 SELECT ctid AS address, CAST(({value}) AS uuid) AS organization FROM ONLY {table} AS {name} \
                 WHERE {name}.ctid >= '({from},0)' AND {name}.ctid < '({to},0)' AND {name}.{column} IS NULL), \
             filled AS ( \
                 UPDATE ONLY {table} AS t SET {column} = known.organization FROM known \
                 WHERE t.ctid = known.address AND known.organization IS NOT NULL RETURNING 1) \
             SELECT f.n || ' ' || k.n \
             FROM (SELECT count(*) AS n FROM filled) f, (SELECT count(*) - count(organization) AS n FROM known) k"
        )
    }
}

/// The facts of a table that can be filled.
fn suitable(target: pg_sys::Oid, column: &str) -> Result<Facts, Error> {
    let facts = facts::read_one(target, Some(column))?;
    if !matches!(facts.kind, 'r' | 'p') || facts.system {
        return Err(unfit(&facts, "It is not a table of the application.", "Name a table that holds rows."));
    }
    if facts.column.as_ref().is_some_and(|c| c.type_name != "uuid" || c.generated) {
        let detail = format!("Its column \"{}\" is not a plain column of type uuid.", facts.column_name);
        return Err(unfit(&facts, &detail, "Name another column with the argument column_name."));
    }
    Ok(facts)
}

/// Adds a missing column in a transaction of its own: the lock is short, for without a default no row is touched.
fn with_column(facts: Facts, target: pg_sys::Oid) -> Result<Facts, Error> {
    if facts.column.is_some() {
        return Ok(facts);
    }
    spi::execute(&format!("ALTER TABLE {} ADD COLUMN {} uuid", facts.qualified, facts.column_quoted), &[]);
    commit();
    facts::read_one(target, Some(&facts.column_name))
}

fn unfit(facts: &Facts, detail: &str, hint: &str) -> Error {
    Error::Conflict {
        table: Some(facts.table_name()),
        message: format!("cannot backfill table \"{}\"", facts.table),
        detail: detail.into(),
        hint: hint.into(),
    }
}

fn leaves(target: pg_sys::Oid) -> Result<Vec<Leaf>, Error> {
    let json = as_superuser(|| spi::query(include_str!("leaves.sql"), &[Some(&target.to_u32().to_string())]));
    serde_json::from_str(&json.unwrap_or_default()).map_err(|e| Error::Internal { what: format!("leaves: {e}") })
}

/// All rows, and those without an organization.
fn count(leaves: &[Leaf], column: &str) -> (u64, u64) {
    leaves.iter().fold((0, 0), |(rows, missing), leaf| {
        let sql = format!("SELECT count(*) || ' ' || (count(*) - count({column})) FROM ONLY {}", leaf.qualified);
        let counted = without_force(|| spi::query(&sql, &[])).unwrap_or_default();
        let (all, null) = counted.split_once(' ').unwrap_or_default();
        (rows + all.parse().unwrap_or(0), missing + null.parse().unwrap_or(0))
    })
}

fn blocks(leaf: &Leaf) -> u64 {
    let sql = "SELECT (pg_relation_size($1::oid) / current_setting('block_size')::int)::text";
    spi::query(sql, &[Some(&leaf.oid.to_string())]).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// PostgreSQL would refuse the first commit all the same, without saying what helps.
fn require_own_transactions(call: Call) -> Result<(), Error> {
    // SAFETY: CALL passes a CallContext node, SELECT none.
    let own = unsafe {
        let context = (*call.0).context;
        !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
    };
    if own { Ok(()) } else { Err(Error::InTransaction) }
}

/// The settings of the functions that scope tables; they end with each transaction. No batch is worth compiling.
fn begin() {
    // SAFETY: gives the transaction a snapshot of the portal's, which SPI_commit knows to release.
    unsafe { boundary(|| raw::EnsurePortalSnapshotExists()) };
    let sql = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), \
               pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('jit', 'off', true)";
    spi::query(sql, &[]);
}

fn commit() {
    // SAFETY: the procedure was called where it may commit, and holds no snapshot of its own.
    unsafe { boundary(|| raw::SPI_commit()) };
    begin();
}

/// Runs `f` in memory that is given back when it returns. After an error it goes with the connection.
fn in_short_memory<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: a child of the procedure's own context, deleted when nothing points into it any more.
    unsafe {
        let outer = pg_sys::CurrentMemoryContext;
        let inner = pg_sys::AllocSetContextCreateInternal(
            outer,
            c"orgscope batch".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
        );
        pg_sys::CurrentMemoryContext = inner;
        let result = f();
        pg_sys::CurrentMemoryContext = outer;
        pg_sys::MemoryContextDelete(inner);
        result
    }
}
