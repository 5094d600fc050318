//! Records of administration: what gives a role or a session the means to step around row security.
//!
//! A command is noted in this backend when it has succeeded, and written by its transaction when that commits, before
//! anybody else can see an effect; through the queue when it rolls back or cannot write. Never earlier in the
//! transaction: a snapshot taken for a record would make a following SET TRANSACTION fail. What a session changes for
//! itself has its effect at once, so it is queued at once.

use super::entry::{self as log, Entry};
use super::queue;
use crate::guard::ddl::extension_is_there;
use crate::pg::{self, Backend, entry, in_parallel_worker, raw};
use crate::settings::{
    AUDIT_DURABILITY, AUDIT_READS, AUDIT_TIMEOUT, BYPASS, CONTEXT_CHANGE, CONTEXT_LIFETIME, CONTEXT_SOURCE, DRIFT,
    EXPLAIN, LEAKPROOF_OPERATORS, NEW_TABLES, REQUIRE_CONTEXT, ordinal,
};
use crate::spi;
use pgrx::pg_sys;
use std::ffi::{CStr, c_int, c_void};

/// Our settings that only a superuser may set, in the order of [`Watched::rules`].
const RULES: [&CStr; 12] = [
    c"orgscope.context_source",
    c"orgscope.context_lifetime",
    c"orgscope.context_change",
    c"orgscope.require_context",
    c"orgscope.drift",
    c"orgscope.new_tables",
    c"orgscope.bypass",
    c"orgscope.audit_reads",
    c"orgscope.audit_durability",
    c"orgscope.leakproof_operators",
    c"orgscope.explain",
    c"orgscope.audit_timeout",
];

/// What a session can change for itself, by SET, `set_config()`, a function's SET clause or otherwise: only a look at
/// what is in force sees them all.
#[derive(Clone, Copy, PartialEq)]
struct Watched {
    role: pg_sys::Oid,
    replication: c_int,
    rules: [c_int; RULES.len()],
}

impl Watched {
    fn now() -> Self {
        let rules = [
            ordinal(&CONTEXT_SOURCE),
            ordinal(&CONTEXT_LIFETIME),
            ordinal(&CONTEXT_CHANGE),
            ordinal(&REQUIRE_CONTEXT),
            ordinal(&DRIFT),
            ordinal(&NEW_TABLES),
            ordinal(&BYPASS),
            c_int::from(AUDIT_READS.get()),
            ordinal(&AUDIT_DURABILITY),
            c_int::from(LEAKPROOF_OPERATORS.get()),
            ordinal(&EXPLAIN),
            AUDIT_TIMEOUT.get(),
        ];
        // SAFETY: reads backend-local state. The outer user is the role of SET ROLE, whatever definer function runs.
        unsafe { Self { role: raw::GetOuterUserId(), replication: pg_sys::SessionReplicationRole, rules } }
    }
}

static SEEN: Backend<Option<Watched>> = Backend::new(None);
/// Whether the session has set them itself, at the last look: what it takes back is on record too.
static SET: Backend<[bool; RULES.len()]> = Backend::new([false; RULES.len()]);

static mut NEXT: pg_sys::ExecutorStart_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called after ours. The
    // callback lives as long as the library.
    unsafe {
        NEXT = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
    }
}

/// Plain frame, called for every statement.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: the arguments are PostgreSQL's and passed on as they came.
    unsafe {
        look_if_changed();
        match NEXT {
            Some(next) => next(query, flags),
            None => standard(query, flags),
        }
    }
}

unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorStart"]
    fn standard(query: *mut pg_sys::QueryDesc, flags: c_int);
}

/// A few compares.
fn is_changed() -> bool {
    let now = Watched::now();
    SEEN.with(|seen| *seen != Some(now))
}

/// Plain frame: where every statement comes by.
pub fn look_if_changed() {
    if is_changed() {
        entry(|| {
            look();
            Ok(())
        });
    }
}

/// Notes what the session has changed since the last look.
pub fn look() {
    let now = Watched::now();
    // SAFETY: reads the state of the transaction, without which no role can be looked up.
    if in_parallel_worker() || !unsafe { pg_sys::IsTransactionState() } {
        return;
    }
    let seen = SEEN.with(|seen| seen.replace(now));
    if seen == Some(now) {
        return;
    }
    // SAFETY: a backend-local pointer; this backend's own identity.
    let (applies, login) = unsafe { (pg_sys::IsLogicalWorker(), pg_sys::GetAuthenticatedUserId()) };
    // Logical replication is a replica by nature.
    if applies {
        return;
    }
    // What a login that is outside row security does is on record anyway.
    if seen.map_or(login, |s| s.role) != now.role && bypasses(now.role) && !bypasses(login) {
        note("privilege", "SET ROLE", serde_json::json!({ "role": pg::role_name(now.role) }));
    }
    let replica = pg_sys::SESSION_REPLICATION_ROLE_REPLICA as c_int;
    if now.replication == replica && seen.is_none_or(|s| s.replication != replica) {
        note("setting", "SET", serde_json::json!({ "name": "session_replication_role", "value": "replica" }));
    }
    if seen.is_some_and(|seen| seen.rules == now.rules) {
        return;
    }
    // The session began with those of the startup packet.
    let since = if seen.is_some() { pg_sys::GucSource::PGC_S_INTERACTIVE } else { pg_sys::GucSource::PGC_S_CLIENT };
    let set = set_by_session(since);
    let was_set = SET.with(|s| std::mem::replace(s, set));
    for (i, name) in RULES.iter().enumerate() {
        if seen.is_some_and(|seen| seen.rules[i] == now.rules[i]) {
            continue;
        }
        let operation = match (set[i], was_set[i]) {
            (true, _) => "SET",
            (false, true) => "RESET",
            // A file was read anew.
            (false, false) => continue,
        };
        // SAFETY: the setting exists.
        let value = pg::text_of(unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) });
        note("setting", operation, serde_json::json!({ "name": name.to_string_lossy(), "value": value }));
    }
}

/// Whether row security does not hold the role, by its own attributes.
pub fn bypasses(role: pg_sys::Oid) -> bool {
    // SAFETY: a syscache look-up; false for a role that is gone.
    unsafe { pg_sys::has_bypassrls_privilege(role) }
}

/// Which of our rules have a value of this session's own.
fn set_by_session(since: pg_sys::GucSource::Type) -> [bool; RULES.len()] {
    let mut set = [false; RULES.len()];
    for setting in pg::settings().filter(|s| s.source >= since) {
        // SAFETY: guc.c's names are NUL-terminated.
        let name = unsafe { CStr::from_ptr(setting.name) };
        if let Some(i) = RULES.iter().position(|rule| *rule == name) {
            set[i] = true;
        }
    }
    set
}

/// What the session has changed for itself. Without a queue its transaction writes it.
fn note(action: &str, operation: &str, detail: serde_json::Value) {
    if !extension_is_there() {
        return;
    }
    let entry = Entry::of_client(action, operation, Some(detail));
    if queue::is_there() { entry.push() } else { log::add(entry) }
}

/// In databases that have the extension.
pub fn note_entry(entry: Entry) {
    if extension_is_there() {
        log::add(entry);
    }
}

/// A catalog changed by hand. In the server log too where that could hide the extension, and its audit log with it.
pub fn note_by_hand(catalog: pg_sys::Oid, entry: Entry) {
    if [pg_sys::ExtensionRelationId, pg_sys::NamespaceRelationId].contains(&catalog) && extension_is_there() {
        entry.log();
    }
    note_entry(entry);
}

/// The extension goes, and its log with it: the server log is what stays.
pub fn announce_drop() {
    if extension_is_there() {
        let detail = serde_json::json!({ "message": "the extension is about to be dropped, and its log with it" });
        Entry::of_client("lifecycle", "DROP EXTENSION", Some(detail)).log();
        wait_for_writer();
    }
}

/// PostgreSQL locks what it drops in its own order, which a writer at work would meet the other way round. So the tables it
/// begins with are locked first, in the writer's order: the sealer's, and the log's before its sequence's.
fn wait_for_writer() {
    const LOCK: &str = "LOCK TABLE orgscope.audit_gap, orgscope.audit_log IN ACCESS EXCLUSIVE MODE";
    // SAFETY: a syscache look-up and a backend-local flag. Who may not drop it does not wait.
    if unsafe { pg_sys::superuser() && !pg_sys::XactReadOnly } {
        pg::as_superuser(|| spi::execute(LOCK, &[]));
    }
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    let concerned = event == pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT && (is_changed() || log::is_waiting());
    if concerned && !in_parallel_worker() {
        entry(|| {
            look();
            log::flush()
        });
    }
}
