//! The one statement that records what another has changed, planned once in a session for each table and event: once for
//! few rows and once for many, because a plan for many makes room for them each time.

use super::record::logged_name;
use crate::audit::registry;
use crate::error::Error;
use crate::pg::{Backend, as_superuser, boundary, pstrdup, raw, with_settings};
use crate::scope::{CHANGE, lock_registry};
use crate::spi;
use crate::trigger::{Event, Trigger};
use pgrx::pg_sys;
use serde::Deserialize;
use std::ffi::{CStr, c_int};

/// at, statement_at, actor, login_name, role_name, txid, owner; and the table's name.
pub const TYPES: [pg_sys::Oid; 8] = [
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::XID8OID,
    pg_sys::OIDOID,
    pg_sys::TEXTOID,
];

#[derive(Clone, Copy)]
struct Prepared {
    table: pg_sys::Oid,
    event: Event,
    many: bool,
    /// The table at the top, whose primary key is recorded.
    top: pg_sys::Oid,
    plan: pg_sys::SPIPlanPtr,
    stale: bool,
}

static PREPARED: Backend<Vec<Prepared>> = Backend::new(Vec::new());

/// How many of these statements run, one inside the other: a row image may run a user's code.
static RUNNING: Backend<usize> = Backend::new(0);

pub fn init() {
    // SAFETY: registered once per backend, with a function that lives as long as the library.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::null()) };
}

unsafe extern "C-unwind" fn forget(_: pg_sys::Datum, table: pg_sys::Oid) {
    let all = table == pg_sys::InvalidOid;
    PREPARED.with(|prepared| {
        prepared.iter_mut().filter(|p| all || p.table == table || p.top == table).for_each(|p| p.stale = true);
    });
}

pub fn run(t: &Trigger, arguments: &[Option<pg_sys::Datum>; 7]) -> Result<(), Error> {
    let _running = Running::enter();
    as_superuser(|| with_settings(&FORMATS, || write(t, arguments)))
}

/// How values are printed must not depend on who changes them: images would lose digits, and keys of one row differ.
const FORMATS: [(&CStr, &CStr); 6] = [
    (c"TimeZone", c"UTC"),
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
];

fn write(t: &Trigger, arguments: &[Option<pg_sys::Datum>; 7]) -> Result<(), Error> {
    let Some(prepared) = find(t).map_or_else(|| prepare(t), |found| Ok(Some(found)))? else { return Ok(()) };
    let name = Some(logged_name(t, prepared.top));
    let mut values: Vec<_> =
        arguments.iter().copied().chain([name]).map(|a| a.unwrap_or(pg_sys::Datum::null())).collect();
    let nulls: Vec<u8> = arguments.iter().map(|a| if a.is_some() { b' ' } else { b'n' }).chain([b' ']).collect();
    // SAFETY: the trigger's data live as long as the call; values and their flags are as many as TYPES.
    unsafe {
        boundary(|| raw::SPI_connect());
        boundary(|| raw::SPI_register_trigger_data(t.data()));
        boundary(|| raw::SPI_execute_plan(prepared.plan, values.as_mut_ptr(), nulls.as_ptr().cast(), false, 0));
        boundary(|| raw::SPI_finish());
    }
    Ok(())
}

fn find(t: &Trigger) -> Option<Prepared> {
    let wanted = (t.table(), t.event(), is_many(t));
    PREPARED.with(|all| all.iter().find(|p| (p.table, p.event, p.many) == wanted && !p.stale).copied())
}

fn is_many(t: &Trigger) -> bool {
    t.changed_rows() > 1000
}

/// None when the registry does not say that the table's changes are recorded.
fn prepare(t: &Trigger) -> Result<Option<Prepared>, Error> {
    free_stale();
    let (table, event) = (t.table(), t.event());
    let Some([column, Some(history)]) = registered(table) else { return Ok(None) };
    let args = [Some(table.to_u32().to_string()), column, Some(history)];
    let Some(json) = spi::query(include_str!("describe.sql"), &args.each_ref().map(Option::as_deref)) else {
        return Ok(None);
    };
    let shape: Description =
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("change history: {e}") })?;
    let (text, mut types) = (pstrdup(&shape.statement(event)), TYPES);
    // SAFETY: inside an SPI connection, which knows the transition tables; SPI_prepare raises on an error in the statement.
    let plan = unsafe {
        boundary(|| raw::SPI_connect());
        boundary(|| raw::SPI_register_trigger_data(t.data()));
        let options = pg_sys::CURSOR_OPT_GENERIC_PLAN as c_int;
        let plan = boundary(|| raw::SPI_prepare_cursor(text, TYPES.len() as c_int, types.as_mut_ptr(), options));
        boundary(|| raw::SPI_keepplan(plan));
        boundary(|| raw::SPI_finish());
        plan
    };
    let prepared = Prepared { table, event, many: is_many(t), top: shape.top.into(), plan, stale: false };
    PREPARED.with(|all| all.push(prepared));
    Ok(Some(prepared))
}

/// Where there is no entry, the schema may just have got another name: then the renaming is waited for.
fn registered(table: pg_sys::Oid) -> Option<[Option<String>; 2]> {
    let look = || registry::fields(table, [c"column_name", c"history"]);
    look().or_else(|| {
        lock_registry(CHANGE);
        look()
    })
}

/// Not while one runs: it may be that one.
fn free_stale() {
    if RUNNING.with(|running| *running > 1) {
        return;
    }
    let stale: Vec<_> = PREPARED.with(|all| all.extract_if(.., |p| p.stale).collect());
    for prepared in stale {
        // SAFETY: a kept plan that nobody else knows and that does not run.
        unsafe { pg_sys::SPI_freeplan(prepared.plan) };
    }
}

/// Ends when it is dropped, also by an error: those unwind.
struct Running {
    jit: bool,
}

impl Running {
    /// A plan that is kept keeps the decision to compile it, which costs a short run many times what it does.
    fn enter() -> Self {
        RUNNING.with(|running| *running += 1);
        // SAFETY: a plain global of this backend.
        let jit = unsafe { (&raw mut pg_sys::jit_enabled).replace(false) };
        Self { jit }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.with(|running| *running -= 1);
        // SAFETY: as above.
        unsafe { pg_sys::jit_enabled = self.jit };
    }
}

/// What a statement is made of. All names are quoted.
#[derive(Deserialize)]
struct Description {
    top: u32,
    organization: String,
    columns: Vec<String>,
    key: Vec<String>,
    /// It has inheritance children, which may hold rows of the same key.
    children: bool,
}

impl Description {
    fn statement(&self, event: Event) -> String {
        let (columns, rows) = match event {
            Event::Insert => ("r.key, NULL, r.image", self.rows("new_rows")),
            Event::Delete => ("r.key, r.image, NULL", self.rows("old_rows")),
            Event::Update => ("r.key, r.old, r.new", self.pairs()),
            Event::Truncate => ("NULL, NULL, NULL", "(SELECT NULL::pg_catalog.uuid AS organization)".to_owned()),
        };
        format!(
            "INSERT INTO orgscope.change_log (at, statement_at, organization_id, table_name, operation, key, old, new, \
             actor, login_name, role_name, txid) \
             SELECT $1, $2, r.organization, $8, '{}', {columns}, $3, COALESCE($4, session_user::pg_catalog.text), $5, $6 \
             FROM {rows} r",
            event.name(),
        )
    }

    /// The rows of a transition table: organization, key, image.
    fn rows(&self, table: &str) -> String {
        let (images, from) = self.images(table);
        format!("(SELECT {images} FROM {from})")
    }

    fn images(&self, table: &str) -> (String, String) {
        let list = |names: &[String]| names.iter().map(|n| format!("t.{n}")).collect::<Vec<_>>().join(", ");
        // With .* they are the rows, whatever the columns' names are.
        let key = if self.key.is_empty() { "NULL::pg_catalog.jsonb" } else { "orgscope.row_image(k.*, $7)" };
        let images =
            format!("t.{} AS organization, {key} AS key, orgscope.row_image(i.*, $7) AS image", self.organization);
        let (key, columns) = (list(&self.key), list(&self.columns));
        (images, format!("{table} t, LATERAL (SELECT {key}) k, LATERAL (SELECT {columns}) i"))
    }

    /// Old and new rows, paired by key and organization: an image of one organization must not stand in a row of another.
    /// A row whose key or organization has changed is there twice, as what it was and as what it is. FULL JOIN is never a
    /// nested loop, whatever number of rows the plan was made for.
    fn pairs(&self) -> String {
        const NOBODY: &str = "'00000000-0000-0000-0000-000000000000'";
        let side = |table: &str| {
            let (images, from) = self.images(table);
            // Both tables hold the rows in the order in which they were changed.
            let place = if self.children { ", pg_catalog.row_number() OVER () AS place" } else { "" };
            format!("(SELECT {images}{place} FROM {from})")
        };
        let place = if self.children { " AND o.place OPERATOR(pg_catalog.=) n.place" } else { "" };
        format!(
            "(SELECT COALESCE(n.organization, o.organization) AS organization, COALESCE(n.key, o.key) AS key, \
             o.image AS old, n.image AS new FROM {} o FULL JOIN {} n ON o.key OPERATOR(pg_catalog.=) n.key \
             AND COALESCE(o.organization, {NOBODY}) OPERATOR(pg_catalog.=) COALESCE(n.organization, {NOBODY}){place})",
            side("old_rows"),
            side("new_rows"),
        )
    }
}
