//! How break-glass opens and ends: with the end of a transaction, or with the session.

use crate::audit::entry as log;
use crate::context::break_glass::{End, Glass, Moment, STATE};
use crate::context::lifetime::assign;
use crate::context::value::{Org, is_break_glass, is_touched};
use crate::error::Error;
use crate::pg::{boundary, entry, in_parallel_worker, raw};
use pgrx::pg_sys;
use pgrx::pg_sys::GucAction::GUC_ACTION_SET;
use std::ffi::{CStr, c_int, c_void};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

pub fn init() {
    // SAFETY: registered once per backend, with a function that lives as long as the library.
    unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut()) };
}

/// Before a transaction commits or is prepared: writes the records, and leaves the setting as it shall be after it.
/// False if break-glass has no say in that. Plain frame.
pub fn before_end(event: pg_sys::XactEvent::Type) -> bool {
    let idle = STATE.with(|s| s.asked.is_none() && s.open.is_none());
    if idle || in_parallel_worker() {
        return false;
    }
    entry(|| judge_end(event == pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE));
    let (asked, staying, ends) = STATE.with(|s| {
        let staying = s.open.as_ref().filter(|_| s.ending.is_none());
        (s.asked.as_ref().map(|(g, _)| g.org), staying.map(|g| g.org), s.ending.is_some())
    });
    match asked.or(staying) {
        Some(org) if asked.is_some() || is_touched() => hold(org),
        Some(_) => {}
        None if ends && is_break_glass() => assign(None, GUC_ACTION_SET),
        None => return false,
    }
    true
}

fn judge_end(prepares: bool) -> Result<(), Error> {
    let (now, ours) = (Moment::at_end(), is_break_glass());
    let asked = STATE.with(|s| {
        s.ending = s.open.as_ref().and_then(|g| g.lost(now).or((!ours).then_some(End::Closed)));
        s.asked.is_some()
    });
    if asked && prepares {
        return Err(Error::OpeningPrepared);
    }
    // SAFETY: a backend-local flag.
    if prepares || unsafe { pg_sys::XactReadOnly } {
        return Ok(());
    }
    let end = STATE.with(|s| s.open.as_ref().zip(s.ending).map(|(glass, end)| glass.ending(end)));
    if let Some(end) = end {
        log::add(end);
        STATE.with(|s| s.end_noted = true);
    }
    log::flush()
}

/// Plain frame: makes the organization the session's value.
fn hold(org: Org) {
    let mut text = [0; Hyphenated::LENGTH + 1];
    Uuid::from_bytes(org).hyphenated().encode_lower(&mut text);
    STATE.with(|s| s.assigning = true);
    assign(CStr::from_bytes_with_nul(&text).ok(), GUC_ACTION_SET);
}

/// After a transaction: what was decided before its end holds if it committed, and was never if it did not.
pub fn after_end(event: pg_sys::XactEvent::Type) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if event == XACT_EVENT_ABORT {
        STATE.with(|s| s.open.iter_mut().for_each(Glass::taken_back));
    }
    if STATE.with(|s| s.asked.is_none() && s.ending.is_none() && !s.end_noted) {
        return;
    }
    let lasts = matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_PREPARE);
    let ended = STATE.with(|s| {
        let (asked, ending, noted) = (s.asked.take(), s.ending.take(), std::mem::take(&mut s.end_noted));
        if !lasts {
            return None;
        }
        let ended = ending.and_then(|end| s.open.take().map(|glass| (glass, end)));
        s.ended = ending.or(s.ended);
        if let Some((glass, _)) = asked {
            (s.open, s.ended) = (Some(glass), None);
        }
        ended.filter(|_| !noted)
    });
    if let Some((glass, end)) = ended {
        glass.ending(end).push();
    }
}

unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    STATE.with(|s| match (event, &mut s.asked) {
        (SUBXACT_EVENT_ABORT_SUB, Some((_, within))) if *within == ended => s.asked = None,
        (SUBXACT_EVENT_COMMIT_SUB, Some((_, within))) if *within == ended => *within = parent,
        _ => {}
    });
}

/// A session that ends closes what it has opened, unless it is killed. Called first among the callbacks, while the
/// backend can still run a transaction, as the one that drops temporary tables does.
pub fn watch_exit() {
    if !STATE.with(|s| std::mem::replace(&mut s.watches_exit, true)) {
        // SAFETY: registered once per backend, with a function that lives as long as the library.
        unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::null()) };
    }
}

unsafe extern "C-unwind" fn at_exit(_: c_int, _: pg_sys::Datum) {
    entry(|| {
        // First what the transaction has used, which its end puts on record: what PostgreSQL itself does before it drops
        // temporary tables.
        // SAFETY: raises nothing that the end of the process would not.
        boundary(|| unsafe { raw::AbortOutOfAnyTransaction() });
        // SAFETY: reads the clock.
        let time = unsafe { pg_sys::GetCurrentTimestamp() };
        if let Some(glass) = STATE.with(|s| s.open.take()) {
            let expired = glass.expires <= time;
            glass.ending(if expired { End::Expired } else { End::SessionEnded }).push();
        }
        Ok(())
    });
}
