//! Break-glass: a context for one organization that holds over the transactions of a session, for some minutes.
//!
//! What is open is this backend's state, which no setting can make. While it is open the organization is the session's
//! value of `orgscope.current_org`, so that parallel workers and hand-written policies have it as they have any other;
//! whether it still holds is asked here, at each use. A transaction that ends without the value in force ends
//! break-glass: RESET, DISCARD ALL and `clear_current_org()` all do. Opening and closing take effect when their
//! transaction commits, and so do their records.

use crate::audit::entry::{self as log, Entry};
use crate::audit::event::Event;
use crate::context::available::require_made;
use crate::context::glass_end::watch_exit;
use crate::context::lifetime::assign;
use crate::context::seal;
use crate::context::value::{Org, astray, is_break_glass, needs_care};
use crate::error::{Absent, Error, Refused};
use crate::guard::ddl::nodes;
use crate::guard::row_security_bypassed;
use crate::pg::{self, Backend, boundary, entry, in_parallel_worker};
use crate::pg_function;
use pgrx::pg_sys;
use pgrx::pg_sys::GucAction::GUC_ACTION_SET;
use std::ffi::c_int;

/// A time in microseconds, as PostgreSQL counts it.
const MINUTE: i64 = 60_000_000;
const DAY: i32 = 1440;

#[derive(Clone)]
pub struct Glass {
    pub org: Org,
    /// As which it was opened, and for which alone it holds: a pooler may give the session to another role.
    role: pg_sys::Oid,
    pub expires: pg_sys::TimestampTz,
    writable: bool,
    /// A transaction was taken back after its time, in a statement that began in time.
    over: bool,
    /// Who opened it, and why: its end may be when nobody can be looked up any more.
    opened: Event,
}

impl Glass {
    /// A transaction is taken back: what a procedure does after that is no part of what was asked for in time.
    pub fn taken_back(&mut self) {
        // SAFETY: reads the clock.
        self.over |= self.expires <= unsafe { pg_sys::GetCurrentTimestamp() };
    }

    /// Why it holds no more. A statement that began in time runs to its end.
    pub fn lost(&self, now: Moment) -> Option<End> {
        if self.over || self.expires <= now.time {
            return Some(End::Expired);
        }
        (self.role != now.role).then_some(End::OtherRole)
    }
}

#[derive(Clone, Copy)]
pub struct Moment {
    time: pg_sys::TimestampTz,
    role: pg_sys::Oid,
}

impl Moment {
    pub fn now() -> Self {
        // SAFETY: reads backend-local state. The outer user is the role of SET ROLE, whatever definer function runs.
        unsafe { Self { time: pg_sys::GetCurrentStatementStartTimestamp(), role: pg_sys::GetOuterUserId() } }
    }

    /// At a transaction's end: a procedure may have many in one statement, and would go on for as long as it likes.
    pub fn at_end() -> Self {
        // SAFETY: reads the clock.
        Self { time: unsafe { pg_sys::GetCurrentTimestamp() }, ..Self::now() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Closed,
    Expired,
    OtherRole,
    SessionEnded,
}

/// What a new value of the setting is under break-glass.
pub enum Verdict {
    /// Its own organization.
    Kept,
    /// Another one.
    Refused,
    /// None is open.
    Ordinary,
}

pub struct State {
    /// Asked for in this transaction, and in which subtransaction.
    pub asked: Option<(Glass, pg_sys::SubTransactionId)>,
    pub open: Option<Glass>,
    /// The open one ends with this transaction.
    pub ending: Option<End>,
    /// The record of that is one of this transaction's.
    pub end_noted: bool,
    /// How the last one ended.
    pub ended: Option<End>,
    /// The next value of the setting is ours.
    pub assigning: bool,
    pub watches_exit: bool,
}

pub static STATE: Backend<State> = Backend::new(State {
    asked: None,
    open: None,
    ending: None,
    end_noted: false,
    ended: None,
    assigning: false,
    watches_exit: false,
});

static mut NEXT: pg_sys::ExecutorStart_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called after ours.
    unsafe {
        NEXT = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

/// The organization, None when break-glass holds no more. Only asked while the setting has its value.
#[cold]
pub fn organization() -> Option<Org> {
    let now = Moment::now();
    STATE.with(|s| s.open.as_ref().filter(|g| g.lost(now).is_none()).map(|g| g.org))
}

/// Whether a write must be refused: one compare for whoever has no break-glass.
pub fn is_read_only() -> bool {
    is_break_glass() && organization().is_some() && STATE.with(|s| s.open.as_ref().is_some_and(|g| !g.writable))
}

/// Whether it is open, or will be when the transaction commits.
pub fn is_open_or_asked() -> bool {
    STATE.with(|s| s.open.is_some() || s.asked.is_some())
}

/// Judges a new value of the setting.
pub fn judge(org: Org) -> Verdict {
    let (assigning, open) = STATE.with(|s| (std::mem::take(&mut s.assigning), s.open.is_some()));
    if assigning {
        return Verdict::Kept;
    }
    match if open { organization() } else { None } {
        Some(ours) if ours == org => Verdict::Kept,
        Some(_) => Verdict::Refused,
        None => Verdict::Ordinary,
    }
}

/// Why there is no context, if break-glass is the reason.
pub fn absence() -> Option<Absent> {
    let now = Moment::now();
    match STATE.with(|s| s.open.as_ref().map_or(s.ended, |g| g.lost(now))) {
        Some(End::Expired) => Some(Absent::BreakGlassExpired),
        Some(End::OtherRole) => Some(Absent::BreakGlassOtherRole),
        _ => None,
    }
}

pg_function! {
    /// `orgscope.break_glass(org uuid, reason text, minutes integer DEFAULT 60, writable boolean DEFAULT false) →
    /// timestamptz`: opens break-glass when the transaction commits; returns when it expires.
    fn orgscope_break_glass(call) {
        let org = call.uuid(0).ok_or(Error::NullOrganization)?;
        seal::check_reset()?;
        let reason = call.text(1).map(|r| r.trim().to_owned());
        // Blanks and what no font shows are none, whatever Unicode has of them.
        let reason = reason.filter(|r| r.contains(char::is_alphanumeric)).ok_or(Error::NoReason)?;
        let minutes = call.int4(2).filter(|m| (1..=DAY).contains(m)).ok_or(Error::Minutes)?;
        let now = Moment::now();
        if STATE.with(|s| s.asked.is_some() || s.open.as_ref().is_some_and(|g| g.lost(now).is_none())) {
            return Err(Error::ContextRefused(Refused::AlreadyOpen));
        }
        require_made(org)?;
        // SAFETY: reads the clock and the state of the transaction.
        let (time, subtransaction) = unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetCurrentSubTransactionId()) };
        let expires = time + i64::from(minutes) * MINUTE;
        let writable = call.bool(3).unwrap_or(false);
        let opened = Event {
            role_name: pg::role_name(now.role),
            reason: Some(reason),
            statement: None,
            ..Event::now("break_glass", None, None)
        };
        let glass = Glass { org, role: now.role, expires, writable, over: false, opened };
        let detail = serde_json::json!({
            "minutes": minutes, "writable": writable, "expires_at": log::time(expires)
        });
        log::write_now(glass.entry("OPEN", Some(detail)))?;
        watch_exit();
        STATE.with(|s| s.asked = Some((glass, subtransaction)));
        Ok(Some(expires.into()))
    }
}

pg_function! {
    /// `orgscope.end_break_glass() → boolean`: whether there was one to end. No context from here on, and none when the
    /// transaction commits.
    fn orgscope_end_break_glass(_call) {
        let (asked, open) = STATE.with(|s| (s.asked.take(), s.open.is_some()));
        let found = asked.is_some() || open;
        if let Some((glass, _)) = asked {
            log::write_now(glass.ending(End::Closed))?;
        }
        if open && is_break_glass() {
            boundary(|| assign(Some(c""), GUC_ACTION_SET));
        }
        Ok(Some(found.into()))
    }
}

impl Glass {
    fn entry(&self, operation: &'static str, detail: Option<serde_json::Value>) -> Entry {
        let operation = Some(operation.into());
        let event = Event { operation, detail, actor: crate::context::actor(), ..self.opened.clone() };
        Entry::new(event).about(Some(self.org))
    }

    pub fn ending(&self, end: End) -> Entry {
        let why = match end {
            End::Closed => "closed",
            End::Expired => {
                let detail = serde_json::json!({ "expired_at": log::time(self.expires) });
                return self.entry("EXPIRE", Some(detail));
            }
            End::OtherRole => "role changed",
            End::SessionEnded => "session ended",
        };
        self.entry("CLOSE", Some(serde_json::json!({ "why": why })))
    }
}

/// Plain frame, called for every statement: all pay for a compare.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: the executor's own description of a planned statement.
    unsafe {
        if needs_care() {
            entry(|| {
                astray().into_iter().for_each(seal::restore);
                let planned = (flags as u32 & pg_sys::EXEC_FLAG_EXPLAIN_ONLY == 0).then(|| (*query).plannedstmt);
                statement(planned);
                Ok(())
            });
        }
        match NEXT {
            Some(next) => next(query, flags),
            None => standard(query, flags),
        }
    }
}

// SAFETY: declared as in executor/executor.h of every major version; called from plain frames.
unsafe extern "C-unwind" {
    #[link_name = "standard_ExecutorStart"]
    fn standard(query: *mut pg_sys::QueryDesc, flags: c_int);
}

/// A statement begins while the setting has our value; `planned` if it is not just explained.
///
/// What holds no more is taken out of the setting, whose value parallel workers believe.
fn statement(planned: Option<*mut pg_sys::PlannedStmt>) {
    let now = Moment::now();
    let Some(glass) = STATE.with(|s| s.open.clone()) else { return };
    // SAFETY: reads the state of the transaction. A worker's statement is its leader's, and settings cannot change while
    // workers run; the statement that launched them has been here before.
    let parallel = in_parallel_worker() || unsafe { pg_sys::IsInParallelMode() };
    if glass.lost(now).is_some() {
        if !parallel {
            boundary(|| assign(Some(c""), GUC_ACTION_SET));
        }
    } else if !parallel && planned.is_some_and(is_under_row_security) {
        let used = glass.entry("USE", None).used(now.time);
        log::add_use(used);
    }
}

pub fn is_under_row_security(planned: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: the planner's list of range table entries.
    nodes::<pg_sys::RangeTblEntry>(unsafe { (*planned).rtable }).any(|entry| unsafe {
        (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION && !row_security_bypassed((*entry).relid)
    })
}
