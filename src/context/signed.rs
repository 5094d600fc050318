//! What the context knows of a signed token: whether one is in force, and whether only one can be.

use crate::context::break_glass::{self, Verdict};
use crate::context::token::Fault;
use crate::context::value::{
    CONTEXT, Context, Held, Org, Origin, changes_in_worker, changes_used_org, is_sealed_against,
};
use crate::error::{Error, Refused};
use crate::settings::ContextSource;
use std::ffi::{c_int, c_void};

impl Context {
    /// Whether a plain value counts for nothing.
    pub fn is_signed_only(&self) -> bool {
        self.source == ContextSource::Token as c_int
    }

    /// Why the context that was set is refused, when none is in force.
    pub fn refusal(&self) -> Option<Fault> {
        let plain = self.set.is_some_and(|e| e.org.is_some() && e.origin != Origin::BreakGlass);
        self.ended.or((self.is_signed_only() && plain).then_some(Fault::Unsigned))
    }
}

/// A token that is about to be set.
pub fn hold(org: Org, from_connection: bool) -> Held {
    Held { org, from_connection, turn: CONTEXT.with(Context::next_turn) }
}

/// The setting has a token, or none.
pub fn set_held(token: Option<Held>) {
    CONTEXT.with(|c| {
        c.token = token;
        if token.is_some() {
            c.ended = None;
        }
        c.refresh();
    });
}

/// The token was taken out of the setting.
pub fn end_token(why: Fault) {
    CONTEXT.with(|c| c.ended = Some(why));
}

pub fn ended() -> Option<Fault> {
    CONTEXT.with(|c| c.ended)
}

/// Whether statements must be looked at.
#[inline]
pub fn watches_token() -> bool {
    CONTEXT.with(|c| c.token.is_some() || c.ended.is_some())
}

/// Whether the session has set, or ended, the context since.
pub fn is_superseded(token: &Held) -> bool {
    CONTEXT.with(|c| c.supersedes(token))
}

/// Whether a plain value would be in force without the token: not what came before it when it has expired.
pub fn has_plain_value() -> bool {
    CONTEXT.with(|c| c.set.is_some_and(|e| e.org.is_some() && e.origin != Origin::BreakGlass))
}

/// Whether the organization in force is a token's.
pub fn is_by_token() -> bool {
    CONTEXT.with(|c| c.by_token)
}

/// Whether only a token can open a context.
pub fn needs_token() -> bool {
    CONTEXT.with(|c| c.is_signed_only())
}

/// Whether this transaction may turn to the organization of a token.
pub fn allow(org: Org, from_connection: bool) -> Result<(), Error> {
    if from_connection {
        return Ok(());
    }
    if is_sealed_against(Some(org)) {
        return Err(Error::ContextRefused(Refused::Sealed));
    }
    if changes_in_worker(Some(org)) {
        return Err(Error::ContextRefused(Refused::Changed));
    }
    if matches!(break_glass::judge(org), Verdict::Refused) {
        return Err(Error::ContextRefused(Refused::BreakGlass));
    }
    if changes_used_org(org) { Err(Error::ContextRefused(Refused::Changed)) } else { Ok(()) }
}

/// This transaction sets the setting, so its end must look at it.
pub fn touch_token() {
    CONTEXT.with(|c| c.token_touched = true);
}

/// Whether a token set by this session would outlive its transaction unless it is reset.
pub fn leaves_token() -> bool {
    CONTEXT.with(|c| c.token_touched || c.token.is_some_and(|t| !t.from_connection))
}

/// Must not fail. Whether a value counts that no token has brought.
pub unsafe extern "C-unwind" fn assign_source(new: c_int, _: *mut c_void) {
    CONTEXT.with(|c| {
        c.source = new;
        c.refresh();
    });
}
