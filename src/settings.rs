//! Every setting, with its reason. The meaning of a context's settings lives in `context`; those of signed tokens are in
//! `token`.

pub mod token;

use crate::context::lifetime::{SETTING, TOKEN_SETTING};
use crate::context::token::actor;
use crate::context::{signed, value};
use crate::pg;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, GucValue, PgLogLevel, PgSqlErrorCode, PostgresGucEnum};
use std::ffi::{CStr, CString, c_int};

/// How long a context holds. The default is the only one that is safe behind a transaction pooler.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum Lifetime {
    #[name = c"transaction"]
    Transaction,
    #[name = c"connection"]
    Connection,
    #[name = c"session"]
    Session,
}

/// Which statements on a scoped table fail when there is no context.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum RequireContext {
    #[name = c"all"]
    All,
    #[name = c"writes"]
    Writes,
    #[name = c"off"]
    Off,
}

/// What can open a context.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum ContextSource {
    #[name = c"setting"]
    Setting,
    #[name = c"token"]
    Token,
}

/// Whether one transaction may work for more than one organization.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum ContextChange {
    #[name = c"once"]
    Once,
    #[name = c"free"]
    Free,
}

/// What happens to DDL that would weaken a scoped table.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum Drift {
    #[name = c"reject"]
    Reject,
    #[name = c"audit"]
    Audit,
}

/// What happens to a new table that has the organization column or a copy of scoped rows.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum NewTables {
    #[name = c"warn"]
    Warn,
    #[name = c"scope"]
    Scope,
    #[name = c"reject"]
    Reject,
    #[name = c"ignore"]
    Ignore,
}

/// What happens to an access that row security does not cover.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum Bypass {
    #[name = c"audit"]
    Audit,
    #[name = c"deny"]
    Deny,
}

/// Whether a role that row security holds may look at plans.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum Explain {
    #[name = c"allow"]
    Allow,
    #[name = c"deny"]
    Deny,
}

/// When a read outside row security returns rows: at once, or when it is on record.
#[derive(Clone, Copy, Debug, PartialEq, PostgresGucEnum)]
pub enum Durability {
    #[name = c"async"]
    Async,
    #[name = c"sync"]
    Sync,
}

pub static CURRENT_ORG: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static ACTOR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static REASON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static REQUIRE_CONTEXT: GucSetting<RequireContext> = GucSetting::<RequireContext>::new(RequireContext::All);
pub static CONTEXT_LIFETIME: GucSetting<Lifetime> = GucSetting::<Lifetime>::new(Lifetime::Transaction);
pub static CONTEXT_CHANGE: GucSetting<ContextChange> = GucSetting::<ContextChange>::new(ContextChange::Once);
pub static CONTEXT_SOURCE: GucSetting<ContextSource> = GucSetting::<ContextSource>::new(ContextSource::Setting);

pub static DRIFT: GucSetting<Drift> = GucSetting::<Drift>::new(Drift::Reject);
pub static NEW_TABLES: GucSetting<NewTables> = GucSetting::<NewTables>::new(NewTables::Warn);

pub static LEAKPROOF_OPERATORS: GucSetting<bool> = GucSetting::<bool>::new(false);

pub static BYPASS: GucSetting<Bypass> = GucSetting::<Bypass>::new(Bypass::Audit);
pub static EXPLAIN: GucSetting<Explain> = GucSetting::<Explain>::new(Explain::Allow);
pub static AUDIT_READS: GucSetting<bool> = GucSetting::<bool>::new(true);
pub static AUDIT_DURABILITY: GucSetting<Durability> = GucSetting::<Durability>::new(Durability::Async);
/// Milliseconds.
pub static AUDIT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5000);
/// The number of different events that the queue of the audit log holds.
pub static AUDIT_QUEUE: GucSetting<i32> = GucSetting::<i32>::new(2048);

pub fn init() {
    refuse_startup_packet();
    // The lifetime is defined first: whether a value of current_org counts depends on it.
    define_rules();
    define_schema_rules();
    define_search();
    define_audit();
    token::define_rules();
    value::define_over_placeholder(SETTING, define_context);
    value::define_over_placeholder(TOKEN_SETTING, token::define);
    // Last: a setting defined after the prefix is reserved loses its value from postgresql.conf.
    // SAFETY: called from _PG_init with a NUL-terminated literal.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"orgscope".as_ptr()) };
}

/// Those that every role may set.
const ANYBODYS: [&CStr; 4] = [SETTING, TOKEN_SETTING, c"orgscope.actor", c"orgscope.reason"];

/// Refuses a connection whose startup packet has one of our superuser settings, as PostgreSQL does where the library is
/// preloaded. Until it is loaded PostgreSQL takes them from anybody, in the place of what the server, the database or the
/// role has set; and would then drop them for being forbidden, which leaves the default.
fn refuse_startup_packet() {
    // SAFETY: a plain global.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    let is_refused = |setting: &&pg_sys::config_generic| {
        // SAFETY: guc.c's names are NUL-terminated.
        let name = unsafe { CStr::from_ptr(setting.name) };
        let is_ours = name.to_bytes().get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"orgscope."));
        let from_packet = setting.reset_source == pg_sys::GucSource::PGC_S_CLIENT
            && setting.reset_scontext != pg_sys::GucContext::PGC_SU_BACKEND;
        is_ours && from_packet && !ANYBODYS.iter().any(|free| free.to_bytes().eq_ignore_ascii_case(name.to_bytes()))
    };
    if let Some(setting) = pg::settings().find(is_refused) {
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(setting.name) }.to_string_lossy();
        let message = format!("permission denied to set parameter \"{name}\"");
        ErrorReport::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message, "orgscope")
            .set_detail("The connection's startup packet has it, and only a superuser may set it.")
            .set_hint("Connect without it, or have a superuser set it for the role or the database.")
            .report(PgLogLevel::ERROR);
    }
}

fn define_rules() {
    // SAFETY: the hook is a plain function that only writes backend state.
    unsafe {
        GucRegistry::define_enum_guc_with_hooks(
            c"orgscope.context_lifetime",
            c"How long an organization context holds.",
            c"transaction: it ends with the transaction that set it. connection: values of the startup packet, ALTER ROLE and ALTER DATABASE count too. session: a plain SET counts too.",
            &CONTEXT_LIFETIME,
            GucContext::Suset,
            GucFlags::default(),
            None,
            Some(value::assign_lifetime),
            None,
        );
    }
    // SAFETY: as above.
    unsafe {
        GucRegistry::define_enum_guc_with_hooks(
            c"orgscope.context_source",
            c"What can open an organization context.",
            c"setting: orgscope.current_org, and a signed token. token: a signed token only.",
            &CONTEXT_SOURCE,
            GucContext::Suset,
            GucFlags::default(),
            None,
            Some(signed::assign_source),
            None,
        );
    }
    GucRegistry::define_enum_guc(
        c"orgscope.context_change",
        c"Whether one transaction may use more than one organization.",
        c"once: a transaction that has used one organization cannot turn to another.",
        &CONTEXT_CHANGE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"orgscope.require_context",
        c"Which statements on a scoped table fail when no organization is set.",
        c"all: reads and writes. writes: writes; reads are empty. off: none; reads are empty.",
        &REQUIRE_CONTEXT,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"orgscope.explain",
        c"Whether a role under row security may use EXPLAIN.",
        c"allow: it may. deny: it is an error, because plans are made of the rows of all organizations.",
        &EXPLAIN,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn define_schema_rules() {
    GucRegistry::define_enum_guc(
        c"orgscope.drift",
        c"What happens to DDL that would weaken a scoped table.",
        c"reject: it is an error, but for a superuser, who is put on record. audit: everybody is let through and put on record.",
        &DRIFT,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"orgscope.new_tables",
        c"What happens to a new table that has the organization column or a copy of scoped rows.",
        c"warn: a warning. scope: it is scoped in the same statement. reject: an error. ignore: nothing.",
        &NEW_TABLES,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn define_search() {
    GucRegistry::define_bool_guc(
        c"orgscope.leakproof_operators",
        c"Whether queries under row security use indexes for LIKE, full text, jsonb and arrays.",
        c"See orgscope.leakproof_operators(). Plans and times then tell how many rows of all organizations match.",
        &LEAKPROOF_OPERATORS,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn define_audit() {
    GucRegistry::define_enum_guc(
        c"orgscope.bypass",
        c"What happens to an access to a scoped table that row security does not cover.",
        c"audit: it is put on record. deny: it is an error.",
        &BYPASS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"orgscope.audit_reads",
        c"Whether reads outside row security are put on record.",
        c"",
        &AUDIT_READS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"orgscope.audit_durability",
        c"When a read outside row security returns rows.",
        c"async: at once, while its record waits to be written. sync: when the record is committed.",
        &AUDIT_DURABILITY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"orgscope.audit_timeout",
        c"How long a read waits for its record where audit_durability is sync, before it is refused.",
        c"",
        &AUDIT_TIMEOUT,
        1,
        600_000,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    // SAFETY: a plain global. Memory of a size that is fixed when the server starts; without preloading there is none.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        GucRegistry::define_int_guc(
            c"orgscope.audit_queue",
            c"How many different events may wait to be written to the audit log.",
            c"Each takes 4 kB. Equal events are counted in one place; what finds none goes to the server's log.",
            &AUDIT_QUEUE,
            16,
            65536,
            GucContext::Postmaster,
            GucFlags::default(),
        );
    }
}

fn define_context() {
    // SAFETY: the hooks keep guc.c's rules: the check hook allocates `extra` with malloc, the assign hook cannot fail.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"orgscope.current_org",
            c"The organization this transaction works for.",
            c"A uuid, or empty for none. Set it with SET LOCAL, set_config(..., true) or orgscope.set_current_org().",
            &CURRENT_ORG,
            GucContext::Userset,
            // Never a default organization for everybody, so not in postgresql.conf and not by ALTER SYSTEM.
            GucFlags::DISALLOW_IN_FILE,
            Some(value::check_current_org),
            Some(value::assign_current_org),
            None,
        );
    }
    // SAFETY: the check hook only looks, and the show hook returns text that lives on.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"orgscope.actor",
            c"The application's user, copied into audit rows.",
            c"A token in force that has the claim \"sub\" says who it is.",
            &ACTOR,
            GucContext::Userset,
            GucFlags::default(),
            Some(actor::check_actor),
            None,
            Some(actor::show_actor),
        );
    }
    GucRegistry::define_string_guc(
        c"orgscope.reason",
        c"Why this is done, copied into audit rows.",
        c"",
        &REASON,
        GucContext::Userset,
        GucFlags::default(),
    );
}

/// The value as guc.c keeps it. For what is read at every statement: `get` asks first on which thread it runs.
pub fn ordinal<T: GucValue<Raw = c_int>>(setting: &'static GucSetting<T>) -> c_int {
    // SAFETY: guc.c writes it on this backend's only thread, while nobody reads.
    unsafe { *setting.as_ptr() }
}

/// A text setting, None when empty.
pub fn text(setting: &'static GucSetting<Option<CString>>) -> Option<String> {
    let value = setting.get()?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}
