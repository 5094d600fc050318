//! The value of `orgscope.current_org` in this backend: parsed once by the check hook, carried by guc.c as `extra`
//! beside each stacked value, so that rollback, savepoints, RESET and parallel workers bring the right 16 bytes back
//! without a callback of ours.

use crate::context::available;
use crate::context::break_glass;
use crate::context::signed::needs_token;
use crate::context::token::Fault;
use crate::error::{Absent, Error, Refused};
use crate::pg::{self, Backend, entry};
use crate::settings::{CONTEXT_CHANGE, ContextChange, ContextSource, Lifetime};
use pgrx::pg_sys;
use std::ffi::c_int;

pub use setting::*;

mod setting;

pub type Org = [u8; 16];

/// Where a value came from: `lifetime` decides whether it counts.
#[derive(Clone, Copy, PartialEq)]
pub enum Origin {
    /// Startup packet, ALTER ROLE, ALTER DATABASE; a SET of an earlier transaction, when the library was not there yet.
    Connection,
    /// SET, SET LOCAL, set_config, a function's SET clause.
    Session,
    /// `orgscope.break_glass()`, which also says whether it still holds.
    BreakGlass,
}

/// What guc.c keeps for us with each value.
#[derive(Clone, Copy)]
pub struct Extra {
    /// None: there was a token, and this ends it.
    pub org: Option<Org>,
    pub origin: Origin,
    turn: u64,
}

/// What a token in its own setting says.
#[derive(Clone, Copy)]
pub struct Held {
    pub org: Org,
    pub from_connection: bool,
    pub turn: u64,
}

pub struct Context {
    pub set: Option<Extra>,
    pub token: Option<Held>,
    lifetime: c_int,
    pub source: c_int,
    /// Which of the two settings was set last.
    turn: u64,
    /// Why a token of this transaction holds no more.
    pub ended: Option<Fault>,
    /// `effective` is a token's.
    pub by_token: bool,
    pub token_touched: bool,
    /// The settings are being defined, over values that PostgreSQL kept until the library was loaded.
    defining: bool,
    /// `set`, if the lifetime lets it count. None under break-glass, which is asked at each use.
    effective: Option<Org>,
    break_glass: bool,
    /// In force whatever the setting's value is.
    sealed: Option<Org>,
    /// Sealed, and the setting has another value, which parallel workers would believe.
    astray: bool,
    /// The organization whose rows this transaction has used.
    used: Option<Org>,
    /// The generation of organizations for which `effective` was looked at in this transaction and may be used, 0 for none:
    /// the whole test on the hot path.
    ready: u64,
    /// This transaction assigned the setting, so its end must look at it.
    touched: bool,
    /// This transaction assigned the lifetime: what it was at the end of the transaction may hold for the transaction only.
    lifetime_changed: bool,
    /// The value that PostgreSQL kept until the library was loaded is an earlier transaction's.
    stale_placeholder: bool,
    /// This session has used an organization, and from then on looks at portals that go on.
    watched: bool,
}

pub static CONTEXT: Backend<Context> = Backend::new(Context {
    set: None,
    token: None,
    lifetime: Lifetime::Transaction as c_int,
    source: ContextSource::Setting as c_int,
    turn: 0,
    ended: None,
    by_token: false,
    token_touched: false,
    defining: false,
    effective: None,
    break_glass: false,
    sealed: None,
    astray: false,
    used: None,
    ready: 0,
    touched: false,
    lifetime_changed: false,
    stale_placeholder: false,
    watched: false,
});

impl Context {
    pub fn refresh(&mut self) {
        let signed_only = self.is_signed_only();
        let connection_counts = self.lifetime != Lifetime::Transaction as c_int;
        let counts = |e: &Extra| match e.origin {
            Origin::Session => !signed_only,
            Origin::Connection => connection_counts && !signed_only,
            Origin::BreakGlass => false,
        };
        let token = self.token.filter(|t| connection_counts || !t.from_connection).filter(|t| !self.supersedes(t));
        self.by_token = token.is_some() && self.sealed.is_none();
        let unsealed = token.map(|t| t.org).or(self.set.filter(counts).and_then(|e| e.org));
        self.effective = self.sealed.or(unsealed);
        let glass = self.set.is_some_and(|e| e.origin == Origin::BreakGlass);
        self.break_glass = glass && self.sealed.is_none() && token.is_none();
        let of_session = self.set.filter(|e| e.origin == Origin::Session).and_then(|e| e.org);
        self.astray = self.sealed.is_some() && self.sealed != of_session;
        self.ready = 0;
    }

    /// Whether `orgscope.current_org` was set after the token, by the session itself. In a worker it was not: its leader has
    /// taken a token that is out of force out of the setting.
    pub fn supersedes(&self, token: &Held) -> bool {
        !pg::in_parallel_worker() && self.set.is_some_and(|e| e.turn > token.turn && e.origin != Origin::Connection)
    }

    pub fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

/// The organization in force, None without one. Does not count as use.
#[inline]
pub fn current() -> Option<Org> {
    let (org, glass) = CONTEXT.with(|c| (c.effective, c.break_glass));
    if glass { break_glass::organization() } else { org }
}

/// Whether the value in force is break-glass's, which may have expired.
#[inline]
pub fn is_break_glass() -> bool {
    CONTEXT.with(|c| c.break_glass)
}

/// Whether the setting's value has to be looked at before a statement: break-glass may have expired, and a seal may have to
/// give it back.
#[inline]
pub fn needs_care() -> bool {
    CONTEXT.with(|c| c.break_glass || c.astray)
}

/// The organization of a seal whose setting has another value.
pub fn astray() -> Option<Org> {
    CONTEXT.with(|c| c.sealed.filter(|_| c.astray))
}

pub fn sealed() -> Option<Org> {
    CONTEXT.with(|c| c.sealed)
}

/// From now on, None for no longer, the organization is in force whatever the setting's value is.
pub fn seal(org: Option<Org>) {
    CONTEXT.with(|c| {
        c.sealed = org;
        c.refresh();
    });
}

/// The organization in force, if this transaction has already used it and none has been suspended since.
#[inline]
pub fn ready() -> Option<Org> {
    let generation = available::generation();
    CONTEXT.with(|c| if c.ready == generation { c.effective } else { None })
}

/// The next use looks whether the organization is still available.
pub fn look_again() {
    CONTEXT.with(|c| c.ready = 0);
}

/// Marks the organization in force as used by this transaction. None without a context, OS004 when it is unknown or
/// suspended.
///
/// Under `context_change = once` this is what keeps a transaction to one organization, however the setting came to
/// another value: RESET and the end of a function's SET clause run no check hook.
pub fn use_current() -> Result<Option<Org>, Error> {
    let Some(org) = current() else {
        return match CONTEXT.with(|c| c.refusal()) {
            Some(fault) => Err(Error::TokenRefused(fault)),
            None => Ok(None),
        };
    };
    if changes_used_org(org) {
        return Err(Error::ContextRefused(Refused::Changed));
    }
    let generation = available::require(org)?;
    let is_first = CONTEXT.with(|c| {
        c.used = Some(org);
        c.ready = generation;
        !std::mem::replace(&mut c.watched, true)
    });
    if is_first {
        pg::add_steps(go_on, None);
    }
    Ok(Some(org))
}

/// A portal that is run once more: by PL/pgSQL's FETCH, or by a client that asks for some of its rows at a time. Its scan
/// has asked for the organization when it began.
unsafe fn go_on(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the executor's own description of a statement.
    if unsafe { (*query).already_executed } && ready().is_none() {
        entry(check_used);
    }
}

/// The same where nobody knows whether it is used: it counts, and whether it is available is asked where it is.
pub fn note_use() -> Result<(), Error> {
    let Some(org) = current() else { return Ok(()) };
    if changes_used_org(org) {
        return Err(Error::ContextRefused(Refused::Changed));
    }
    CONTEXT.with(|c| c.used = Some(org));
    Ok(())
}

/// For what goes on with a statement of this transaction, as FETCH does: the organization that it has used, if any, must
/// still be available.
pub fn check_used() -> Result<(), Error> {
    match CONTEXT.with(|c| c.used) {
        Some(org) => available::require(org).map(drop),
        None => Ok(()),
    }
}

/// Why there is no context, for the error's DETAIL.
pub fn absence() -> Absent {
    let connection = CONTEXT.with(|c| c.set.is_some_and(|e| e.origin == Origin::Connection));
    let unset = if needs_token() { Absent::NoToken } else { Absent::Unset };
    if connection { Absent::FromConnection } else { break_glass::absence().unwrap_or(unset) }
}

/// Whether a value may outlive its transaction.
pub fn is_session() -> bool {
    CONTEXT.with(|c| c.lifetime == Lifetime::Session as c_int)
}

/// The same at the end of a transaction, where a lifetime that this transaction has set does not count.
pub fn stays_session() -> bool {
    CONTEXT.with(|c| c.lifetime == Lifetime::Session as c_int && !c.lifetime_changed)
}

/// Whether this transaction has set the value.
pub fn is_touched() -> bool {
    CONTEXT.with(|c| c.touched)
}

/// Whether a value set by this session would outlive its transaction unless it is reset.
pub fn leaves_value() -> bool {
    CONTEXT.with(|c| c.touched || c.set.is_some_and(|e| e.origin != Origin::Connection))
}

pub fn end_transaction() {
    CONTEXT.with(|c| {
        c.ended = None;
        c.token_touched = false;
        c.used = None;
        c.ready = 0;
        c.touched = false;
        c.lifetime_changed = false;
    });
}

/// Whether a function's SET clause would turn a parallel worker to another organization than its leader's. The worker knows
/// neither whether that is sealed nor which one its transaction has used, so there it is always forbidden.
pub fn changes_in_worker(org: Option<Org>) -> bool {
    pg::is_running_worker() && current() != org
}

/// Whether a seal forbids the value. A worker has none: it takes over its leader's value.
pub fn is_sealed_against(org: Option<Org>) -> bool {
    sealed().is_some_and(|sealed| org != Some(sealed))
}

/// What `context_change = once` forbids. A worker takes over its leader's value; only the leader judges.
pub fn changes_used_org(org: Org) -> bool {
    CONTEXT.with(|c| c.used.is_some_and(|used| used != org))
        && CONTEXT_CHANGE.get() == ContextChange::Once
        && !pg::in_parallel_worker()
}
