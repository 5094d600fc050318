//! A seal: the context in force stays what it is, whatever SQL does to the setting.
//!
//! It is this backend's state, not the setting's: RESET, the end of a function's SET clause and ROLLBACK put the setting
//! back without asking anybody. A statement that would change it is refused where PostgreSQL asks; where it does not, the
//! change has no effect. The setting follows again before the next statement, because parallel workers and hand-written
//! policies believe it.
//!
//! A seal holds at once, and no ROLLBACK undoes it: it is there against SQL that nobody has meant to send, and ROLLBACK TO is
//! such SQL as well. Without a key it ends with its transaction, with one when somebody brings the key.

use crate::audit::denied;
use crate::context::break_glass;
use crate::context::lifetime::assign;
use crate::context::signed::is_by_token;
use crate::context::token::Fault;
use crate::context::value::{self, Org, absence, is_break_glass, use_current};
use crate::error::{Error, Refused};
use crate::pg::{Backend, Call, boundary, in_parallel_worker, raw};
use crate::pg_function;
use pgrx::pg_sys;
use pgrx::pg_sys::GucAction::{GUC_ACTION_LOCAL, GUC_ACTION_SET};
use sha2::{Digest, Sha256};
use std::ffi::CStr;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Seconds that a wrong key costs; the last for every further one.
const DELAYS: [f64; 5] = [0.1, 0.2, 0.4, 0.8, 1.0];

struct Seal {
    /// Its digest: the key itself is kept nowhere.
    key: Option<[u8; 32]>,
    failures: usize,
    /// No key is looked at before.
    not_before: pg_sys::TimestampTz,
}

static SEAL: Backend<Option<Seal>> = Backend::new(None);

/// When the last statement began that has brought a key.
static BROUGHT: Backend<pg_sys::TimestampTz> = Backend::new(0);

pg_function! {
    /// `orgscope.seal_context()`: to the end of the transaction.
    fn orgscope_seal_context(_call) {
        if SEAL.with(|s| s.is_none()) {
            place(None)?;
        }
        Ok(None)
    }
}

pg_function! {
    /// `orgscope.seal_context(key text)`: until `unseal_context` is called with the same key.
    fn orgscope_seal_context_with_key(call) {
        let key = key(call)?;
        match SEAL.with(|s| s.as_ref().map(|seal| seal.key.is_some())) {
            None if key == empty() => return Err(Error::EmptyKey),
            None => place(Some(key))?,
            Some(true) => check(key)?,
            Some(false) => return Err(Error::ContextRefused(Refused::SealedWithoutKey)),
        }
        Ok(None)
    }
}

pg_function! {
    /// `orgscope.unseal_context(key text) → boolean`: whether there was a seal. No context from here on.
    fn orgscope_unseal_context(call) {
        let key = key(call)?;
        match SEAL.with(|s| s.as_ref().map(|seal| seal.key.is_some())) {
            None => return Ok(Some(false.into())),
            Some(true) => check(key)?,
            Some(false) => return Err(Error::ContextRefused(Refused::NoKeyOpens)),
        }
        lift();
        boundary(|| assign(Some(c""), GUC_ACTION_SET));
        Ok(Some(true.into()))
    }
}

fn place(key: Option<[u8; 32]>) -> Result<(), Error> {
    if is_break_glass() || break_glass::is_open_or_asked() {
        return Err(Error::ContextRefused(Refused::SealBreakGlass));
    }
    // It would outlive the token.
    if is_by_token() {
        return Err(Error::TokenRefused(Fault::Sealing));
    }
    let org = use_current()?.ok_or_else(|| Error::NoContext { table: None, why: absence() })?;
    SEAL.with(|s| *s = Some(Seal { key, failures: 0, not_before: 0 }));
    value::seal(Some(org));
    Ok(())
}

fn lift() {
    SEAL.with(|s| *s = None);
    value::seal(None);
}

/// The digest of the first argument, whose text is copied nowhere.
fn key(call: Call) -> Result<[u8; 32], Error> {
    // SAFETY: reads when the client's statement began.
    BROUGHT.with(|b| *b = unsafe { pg_sys::GetCurrentStatementStartTimestamp() });
    let key = call.arg(0).ok_or(Error::NullKey)?;
    // SAFETY: the declaration says text; the bytes live as long as the call.
    let key = unsafe {
        let text = pg_sys::pg_detoast_datum_packed(key.cast_mut_ptr());
        pgrx::varlena::varlena_to_byte_slice(text)
    };
    Ok(Sha256::digest(key).into())
}

/// Of an empty key.
fn empty() -> [u8; 32] {
    Sha256::digest([]).into()
}

/// A wrong key is on record before it costs its time, so that who cancels the statement is on record too. Nor does he gain
/// anything: no key is looked at before that time is over.
fn check(key: [u8; 32]) -> Result<(), Error> {
    wait();
    let Some(kept) = SEAL.with(|s| s.as_ref().and_then(|seal| seal.key)) else { return Ok(()) };
    // All bytes are compared, wherever they differ.
    let difference = kept.iter().zip(key).fold(0, |sum, (kept, given)| std::hint::black_box(sum | (kept ^ given)));
    if difference == 0 {
        return Ok(());
    }
    SEAL.with(|s| {
        if let Some(seal) = s {
            let delay = DELAYS[seal.failures.min(DELAYS.len() - 1)];
            seal.failures += 1;
            // SAFETY: reads the clock.
            seal.not_before = unsafe { pg_sys::GetCurrentTimestamp() } + (delay * SECOND) as pg_sys::TimestampTz;
        }
    });
    let error = Error::ContextRefused(Refused::WrongKey);
    denied::note(&error.report());
    wait();
    Err(error)
}

/// Until a key may be looked at.
fn wait() {
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let not_before = SEAL.with(|s| s.as_ref().map_or(now, |seal| seal.not_before));
    if now < not_before {
        let delay = (not_before - now) as f64 / SECOND;
        // SAFETY: pg_sleep() takes a float8 and looks at interrupts.
        boundary(|| unsafe { raw::DirectFunctionCall1Coll(Some(raw::pg_sleep), pg_sys::InvalidOid, float8(delay)) });
    }
}

/// In PostgreSQL's time.
const SECOND: f64 = 1e6;

fn float8(value: f64) -> pg_sys::Datum {
    pg_sys::Datum::from(value.to_bits())
}

/// Refuses what would change the setting without asking its check hook.
pub fn check_reset() -> Result<(), Error> {
    if value::sealed().is_some() { Err(Error::ContextRefused(Refused::Sealed)) } else { Ok(()) }
}

/// Before a statement while the setting has another value than the seal: gives it back.
pub fn restore(org: Org) {
    // SAFETY: reads the state of the transaction. Settings cannot change while workers run; the statement that launched them
    // has been here before.
    if in_parallel_worker() || unsafe { pg_sys::IsInParallelMode() } {
        return;
    }
    let mut text = [0; Hyphenated::LENGTH + 1];
    Uuid::from_bytes(org).hyphenated().encode_lower(&mut text);
    let text = CStr::from_bytes_with_nul(&text).ok();
    boundary(|| assign(text, GUC_ACTION_LOCAL));
}

/// At the end of a transaction, however it ends.
pub fn end_transaction() {
    if SEAL.with(|s| s.as_ref().is_some_and(|seal| seal.key.is_none())) {
        lift();
    }
}

/// Whether the text of the client's statement may hold a key, so that it must go nowhere.
pub fn is_secret(statement: &str) -> bool {
    // SAFETY: reads when the client's statement began. Without a call in its text it has called a function of the application
    // that brings the key.
    holds_key(statement)
        .unwrap_or_else(|| BROUGHT.with(|b| *b) == unsafe { pg_sys::GetCurrentStatementStartTimestamp() })
}

/// None when the text calls none of our functions. A key that comes as a parameter is not in the text.
fn holds_key(statement: &str) -> Option<bool> {
    const NAME: &str = "seal_context";
    let statement = statement.to_ascii_lowercase();
    let mut calls = statement.match_indices(NAME).map(|(at, _)| statement[at + NAME.len()..].trim_start_matches('"'));
    let is_open = |call: &str| {
        let argument = call.trim_start().strip_prefix('(').map(str::trim_start);
        let argument = argument.unwrap_or_default();
        argument.starts_with(')')
            || argument.strip_prefix('$').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    };
    let first = is_open(calls.next()?);
    Some(!(first && calls.all(is_open)))
}

#[cfg(test)]
mod tests {
    use super::holds_key;

    #[test]
    fn a_key_in_a_statement_is_found() {
        for (statement, held) in [
            ("SELECT 1", None),
            ("SELECT orgscope.seal_context()", Some(false)),
            ("SELECT orgscope.seal_context( )", Some(false)),
            ("SELECT orgscope.unseal_context($1)", Some(false)),
            ("SELECT orgscope.unseal_context($$key$$)", Some(true)),
            ("SELECT orgscope.unseal_context($k$key$k$)", Some(true)),
            ("select ORGSCOPE.\"seal_context\" ('key')", Some(true)),
            ("SELECT Seal_Context($1); SELECT UNSEAL_CONTEXT(E'key')", Some(true)),
            ("SELECT seal_context", Some(true)),
        ] {
            assert_eq!(holds_key(statement), held, "{statement}");
        }
    }
}
