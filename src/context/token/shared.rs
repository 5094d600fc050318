//! Where used tokens are remembered: a file that the postmaster maps for all processes, so that neither a crash nor a
//! restart of the server makes a token good again. As the queue of the audit log, see there.

use super::fault::Fault;
use super::used::{self, Use, Used};
use crate::pg::Backend;
use crate::pg::shared::{Part, add_part, renew_file};
use crate::settings::token::IDS;
use memmap2::MmapMut;
use pgrx::pg_sys;
use std::io;

const FILE: &str = "pg_stat_tmp/orgscope.tokens";
const NAME: &std::ffi::CStr = c"orgscope tokens";

struct Shared {
    map: Option<MmapMut>,
    lock: *mut pg_sys::LWLock,
}

static SHARED: Backend<Shared> = Backend::new(Shared { map: None, lock: std::ptr::null_mut() });

pub fn init() {
    add_part(Part { request, attach });
}

unsafe fn request() {
    // SAFETY: at the moment of requests.
    unsafe { pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1) }
}

fn attach() {
    // SAFETY: the tranche was requested. No other process runs yet.
    let lock = unsafe { &raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock };
    let map = match map(IDS.get() as usize) {
        Ok(map) => Some(map),
        Err(error) => {
            pgrx::warning!("orgscope cannot remember used tokens: {FILE}: {error}");
            None
        }
    };
    SHARED.with(|shared| *shared = Shared { map, lock });
}

/// With what the file that is there remembers.
fn map(places: usize) -> io::Result<MmapMut> {
    renew_file(FILE, used::size(places), |map, old| {
        // SAFETY: a mapping begins at a page; it is ours alone until other processes are started. The old one is this
        // process's own copy, aligned to 8.
        unsafe {
            let new = Used::create(map.as_mut_ptr(), map.len(), places);
            if let (Some(mut new), Some(mut old)) = (new, old)
                && let Some(old) = Used::open(old.as_mut_ptr().cast(), old.len() * 8)
            {
                new.adopt(&old, super::setting::now());
            }
        }
    })
}

/// Uses up a token that may be used once.
pub fn enter(id: &[u8; 32], expires: i64, now: i64) -> Result<(), Fault> {
    let shared = SHARED.with(|s| s.map.as_mut().map(|map| (map.as_mut_ptr(), map.len(), s.lock)));
    let Some((memory, length, lock)) = shared else { return Err(Fault::IdsNotThere) };
    // SAFETY: the lock is this module's; the memory is the mapping's, touched under the lock only, and nothing in between
    // calls PostgreSQL.
    let found = unsafe {
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let found = Used::open(memory, length).map(|mut table| table.enter(id, expires, now));
        pg_sys::LWLockRelease(lock);
        found
    };
    match found {
        Some(Use::First) => Ok(()),
        Some(Use::Again) => Err(Fault::Replayed),
        Some(Use::Full) => Err(Fault::IdsFull),
        None => Err(Fault::IdsNotThere),
    }
}
