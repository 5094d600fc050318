//! The processes behind the queue: a launcher that lives as long as the server, and for each database that something waits
//! for a writer that goes when nothing does any more, so that nobody has to wait for it to drop the database.

use super::memory::Queued;
use super::{log, shared};
use crate::audit::event::Counts;
use crate::audit::{chain, partitions};
use crate::error::Error;
use crate::pg::{Backend, as_superuser, entry};
use crate::spi;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde_json::{Map, Value};
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// The launcher looks this often by itself.
const ROUND: Duration = Duration::from_secs(5);
/// Equal events of this time are one row, unless somebody waits.
const GATHER: Duration = Duration::from_millis(100);
/// A writer without work leaves before DROP DATABASE gives up on it.
const IDLE: Duration = Duration::from_secs(1);

/// A writer that does not come is started again after this time, then after twice as long, up to a round.
const AGAIN: Duration = Duration::from_secs(1);
/// Rows are sealed this often, while there are new ones.
const SEAL: Duration = Duration::from_secs(1);

static IS_WRITER: Backend<bool> = Backend::new(false);

/// Its own statements are nobody's access.
pub fn is_this() -> bool {
    IS_WRITER.with(|is| *is)
}

pub fn init() {
    // SAFETY: a plain global: workers can be registered only while libraries are preloaded.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        BackgroundWorkerBuilder::new("orgscope audit launcher")
            .set_type("orgscope audit launcher")
            .set_library("orgscope")
            .set_function("orgscope_audit_launcher")
            .enable_spi_access()
            .set_start_time(BgWorkerStartTime::RecoveryFinished)
            .set_restart_time(Some(Duration::from_secs(1)))
            .load();
    }
}

/// Starts a writer for each database that something waits for. Connected to none itself, it reads which databases there are.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn orgscope_audit_launcher(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    BackgroundWorker::connect_worker_to_spi(None, None);
    shared::register_launcher();
    let mut attempts: Vec<Attempt> = Vec::new();
    loop {
        let unserved = shared::unserved();
        attempts.retain(|a| unserved.contains(&a.database));
        for database in unserved {
            match attempts.iter_mut().find(|a| a.database == database) {
                None => {
                    serve(database);
                    attempts.push(Attempt { database, at: Instant::now(), again: AGAIN });
                }
                // It may not have come to its registration yet, or there was no room for it.
                Some(attempt) if attempt.at.elapsed() < attempt.again => {}
                Some(attempt) => {
                    serve(database);
                    *attempt = Attempt { database, at: Instant::now(), again: (attempt.again * 2).min(ROUND) };
                }
            }
        }
        let wait = if attempts.is_empty() { ROUND } else { AGAIN };
        if !BackgroundWorker::wait_latch(Some(wait)) {
            return;
        }
    }
}

struct Attempt {
    database: u32,
    at: Instant,
    again: Duration,
}

/// What cannot be written now waits, however long that takes: the server's log has it when the queue is full.
fn serve(database: u32) {
    if exists(database) { start_writer(database) } else { give_up(database) }
}

/// An error of its own ends the launcher, which comes again.
fn exists(database: u32) -> bool {
    // SAFETY: a syscache look-up of a shared catalog, in a transaction.
    let exists = transaction(|| Ok(!unsafe { pg_sys::get_database_name(database.into()) }.is_null()));
    exists.unwrap_or(true)
}

/// Not pgrx's: an error of PostgreSQL's must come out of it as it went in. One of ours takes the transaction back.
fn transaction<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    // SAFETY: a background worker's main loop; on an error of PostgreSQL's the process ends, and the transaction with it.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = f();
        if result.is_err() {
            pg_sys::AbortCurrentTransaction();
            return result;
        }
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        result
    }
}

/// The database was dropped: what waits for it, or was taken by a writer that is gone too, has no audit log to come to.
fn give_up(database: u32) {
    let batch = random_batch();
    shared::recover(database, None);
    shared::take(database, batch).iter().for_each(|event| log(&event.json, event.counts));
    shared::discard(database, batch);
    shared::announce();
}

fn start_writer(database: u32) {
    let worker = BackgroundWorkerBuilder::new(&format!("orgscope audit writer {database}"))
        .set_type("orgscope audit writer")
        .set_library("orgscope")
        .set_function("orgscope_audit_writer")
        .enable_spi_access()
        .set_argument(Some(pg_sys::Datum::from(database as usize)))
        .set_restart_time(None)
        .load_dynamic();
    if worker.is_err() {
        pgrx::log!("orgscope found no room for an audit writer; raise max_worker_processes");
    }
}

/// Writes what waits for one database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn orgscope_audit_writer(argument: pg_sys::Datum) {
    entry(|| write_for(argument.value() as u32));
}

fn write_for(database: u32) -> Result<(), Error> {
    IS_WRITER.with(|is| *is = true);
    // Before anything that can fail: a database that is gone is this process's last word about what waits for it.
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP);
    // SAFETY: SIGTERM ends it as any backend, also while it waits for a lock. Settings that are made before the connection
    // outrank those of database and role.
    unsafe {
        set_sigterm();
        SETTINGS.iter().for_each(|(name, value)| override_setting(name, value));
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            database.into(),
            pg_sys::InvalidOid,
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
        if !shared::register_writer(database) {
            return Ok(());
        }
        pg_sys::before_shmem_exit(Some(leave), pg_sys::Datum::from(database as usize));
    }
    shared::recover(database, transaction(|| Ok(last_batch()))?);
    let (mut idle, mut sealed, mut unsealed) = (Instant::now(), Instant::now(), false);
    loop {
        // Both are looked at: rows that statements have written themselves are to be sealed as well.
        if shared::take_unsealed(database) | write_batch(database)? {
            (idle, unsealed) = (Instant::now(), true);
        }
        if unsealed && sealed.elapsed() >= SEAL {
            unsealed = !seal();
            sealed = Instant::now();
        } else if !unsealed && idle.elapsed() >= IDLE && shared::finish(database, false) {
            return Ok(());
        }
        wait(GATHER);
    }
}

/// And this month's and the next's partitions are made, but not in a database that is being restored: its dump has them.
/// False while somebody else seals, or purges, in a transaction that has not ended: what is queued does not wait for that.
fn seal() -> bool {
    let sealed = transaction(|| {
        if !has_extension() {
            return Ok(true);
        }
        // First, for the order of its locks: see DROP EXTENSION.
        let sealed = chain::seal_unless_busy()?;
        if sealed && as_superuser(|| spi::query(SETTLED, &[])).is_some() {
            partitions::make();
        }
        Ok(sealed)
    });
    sealed.unwrap_or_else(|error| {
        pgrx::log!("orgscope could not seal its audit log: {}", error.report().message);
        true
    })
}

const SETTLED: &str = "SELECT 'yes' FROM orgscope.audit_writer \
     WHERE installed_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.interval '1 hour')";

/// What somebody sets for a database, or for the role that installed the server, is not meant for its writer: it would not
/// write, or not see, or give up.
const SETTINGS: &[(&CStr, &CStr)] = &[
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"session_replication_role", c"origin"),
    (c"row_security", c"on"),
    (c"search_path", c""),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    (c"transaction_timeout", c"0"),
];

unsafe fn override_setting(name: &CStr, value: &CStr) {
    use pg_sys::{GucContext::PGC_SUSET, GucSource::PGC_S_OVERRIDE};
    // SAFETY: NUL-terminated name and value of a setting of PostgreSQL's.
    unsafe { pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), PGC_SUSET, PGC_S_OVERRIDE) }
}

unsafe fn set_sigterm() {
    // SAFETY: die() is what backends have; it acts where interrupts are looked at.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(die));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(pg_sys::SIGTERM as i32, Some(die));
    }
}

unsafe extern "C-unwind" fn die(signal: i32) {
    // SAFETY: a signal handler of PostgreSQL's.
    unsafe { pg_sys::die(signal) }
}

unsafe extern "C-unwind" fn leave(_: i32, database: pg_sys::Datum) {
    shared::finish(database.value() as u32, true);
}

fn wait(time: Duration) {
    // SAFETY: this process's own latch; what die() has asked for is done here.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            time.as_millis() as std::ffi::c_long,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        pg_sys::check_for_interrupts!();
    }
}

/// None without the extension.
fn last_batch() -> Option<u64> {
    if !has_extension() {
        return None;
    }
    let batch = as_superuser(|| spi::query("SELECT last_batch::pg_catalog.text FROM orgscope.audit_writer", &[]));
    batch.and_then(|b| b.parse::<i64>().ok()).map(i64::cast_unsigned)
}

fn has_extension() -> bool {
    // SAFETY: a catalog look-up that tells an absent extension by InvalidOid.
    unsafe { pg_sys::get_extension_oid(c"orgscope".as_ptr(), true) != pg_sys::InvalidOid }
}

fn random_batch() -> u64 {
    let mut batch = 0u64;
    // SAFETY: fills the eight bytes; only its being different from the last one matters.
    unsafe { pg_sys::pg_strong_random((&raw mut batch).cast(), size_of::<u64>()) };
    batch
}

/// Whether there was anything.
fn write_batch(database: u32) -> Result<bool, Error> {
    let batch = random_batch();
    let events = shared::take(database, batch);
    if events.is_empty() {
        return Ok(false);
    }
    let written = transaction(|| if has_extension() { write(&events, batch) } else { Ok(false) });
    if written? {
        shared::confirm(database, batch);
    } else {
        // The extension was dropped meanwhile: there is no audit log to write to.
        events.iter().for_each(|event| log(&event.json, event.counts));
        shared::discard(database, batch);
    }
    shared::announce();
    Ok(true)
}

const INSERT: &str = "INSERT INTO orgscope.audit_log (at, organization_id, action, table_name, operation, row_count, event_count, actor, \
     login_name, session_user_name, role_name, application_name, client_addr, txid, statement, sqlstate, reason, detail) \
     SELECT pg_catalog.to_timestamp(e.first / 1000000.0 + 946684800), e.organization_id, e.action, e.table_name, e.operation, \
     e.row_count, e.event_count, e.actor, e.login_name, e.session_user_name, e.role_name, e.application_name, e.client_addr, \
     e.txid, e.statement, e.sqlstate, e.reason, e.detail \
     FROM pg_catalog.jsonb_to_recordset($1::pg_catalog.jsonb) AS e (first pg_catalog.int8, organization_id pg_catalog.uuid, \
     action pg_catalog.text, table_name pg_catalog.text, operation pg_catalog.text, row_count pg_catalog.int8, \
     event_count pg_catalog.int8, actor pg_catalog.text, login_name pg_catalog.name, session_user_name pg_catalog.name, \
     role_name pg_catalog.name, application_name pg_catalog.text, client_addr pg_catalog.inet, txid pg_catalog.xid8, \
     statement pg_catalog.text, sqlstate pg_catalog.text, reason pg_catalog.text, detail pg_catalog.jsonb) ORDER BY e.first";

/// Rows as objects of these columns. A superuser's rule or trigger may make nothing of them, and nobody would know.
pub fn insert(rows: Vec<Value>) -> Result<(), Error> {
    let expected = rows.len() as u64;
    let written = spi::execute(INSERT, &[Some(&Value::Array(rows).to_string())]);
    if written == expected { Ok(()) } else { Err(Error::AuditSwallowed) }
}

/// The batch's number goes with its rows: after a crash it tells whether they were written.
fn write(events: &[Queued], batch: u64) -> Result<bool, Error> {
    let batch = batch.cast_signed().to_string();
    as_superuser(|| {
        spi::query(
            "SELECT pg_catalog.set_config('synchronous_commit', 'local', true) \
             WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off'",
            &[],
        );
        insert(events.iter().map(row).collect())?;
        spi::execute(
            "UPDATE orgscope.audit_writer SET last_batch = $1::pg_catalog.int8, at = pg_catalog.now()",
            &[Some(&batch)],
        );
        Ok(true)
    })
}

fn row(queued: &Queued) -> Value {
    numbered(serde_json::from_slice(&queued.json).unwrap_or_default(), &queued.counts)
}

/// An event as a row for [`insert`].
pub fn numbered(mut row: Map<String, Value>, counts: &Counts) -> Value {
    row.insert("first".into(), counts.first.into());
    row.insert("event_count".into(), counts.events.into());
    row.insert("row_count".into(), counts.rows.into());
    row.insert("txid".into(), counts.transaction.map(|t| t.to_string()).into());
    Value::Object(row)
}
