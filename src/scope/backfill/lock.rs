//! One backfill of a table at a time: a lock of the session's, for it outlives the commits, given back when the call ends.

use crate::pg::{Backend, boundary, raw};
use pgrx::pg_sys;
use std::ffi::c_void;

static HELD: Backend<Option<pg_sys::LOCKTAG>> = Backend::new(None);
static REGISTERED: Backend<bool> = Backend::new(false);

/// "orgs" as four bytes; orgscope.backfill_progress looks for it.
const CLASS: u32 = u32::from_be_bytes(*b"orgs");

/// False if another session is at it.
pub fn take(target: pg_sys::Oid) -> bool {
    if !REGISTERED.with(|done| std::mem::replace(done, true)) {
        // SAFETY: registered once per backend, with a function that lives as long as the library.
        unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
    }
    // The tag that pg_advisory_lock(int4, int4) makes.
    let tag = pg_sys::LOCKTAG {
        // SAFETY: reads this backend's database.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: CLASS,
        locktag_field3: target.to_u32(),
        locktag_field4: 2,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    // SAFETY: does not wait; a lock of this session itself would be counted, so it is asked for only when none is held.
    let got = boundary(|| unsafe { raw::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, true, true) });
    let got = got != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
    if got {
        HELD.with(|held| *held = Some(tag));
    }
    got
}

pub fn release() {
    if let Some(tag) = HELD.with(Option::take) {
        // SAFETY: taken by this session above. Touches no catalog, so it may be called while a transaction aborts.
        unsafe { raw::LockRelease(&tag, pg_sys::ExclusiveLock as i32, true) };
    }
}

/// An error or a cancel ends the call and its last transaction; a batch that commits does not.
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    if event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        release();
    }
}
