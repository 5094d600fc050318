//! Where used tokens are remembered: a file that the postmaster maps for all processes, so that neither a crash nor a
//! restart of the server makes a token good again. As the queue of the audit log, see there.

use super::fault::Fault;
use super::used::{self, Use, Used};
use crate::pg::{Backend, entry};
use crate::settings::token::IDS;
use memmap2::MmapMut;
use pgrx::pg_sys;
use std::fs::{self, File};
use std::io;
use std::path::Path;

const FILE: &str = "pg_stat_tmp/orgscope.tokens";
const NAME: &std::ffi::CStr = c"orgscope tokens";

struct Shared {
    map: Option<MmapMut>,
    lock: *mut pg_sys::LWLock,
}

static SHARED: Backend<Shared> = Backend::new(Shared { map: None, lock: std::ptr::null_mut() });

static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; shared memory can be asked for only while libraries are preloaded.
    unsafe {
        if !pg_sys::process_shared_preload_libraries_in_progress {
            return;
        }
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

/// Plain frame.
unsafe extern "C-unwind" fn request() {
    // SAFETY: PostgreSQL calls this hook at the one moment at which a lock can be asked for.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

/// Plain frame. Again after a crash of the server.
unsafe extern "C-unwind" fn startup() {
    // SAFETY: as the hook found.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
    }
    entry(|| {
        attach();
        Ok(())
    });
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

/// Makes the file anew, with what the one that is there remembers. The old one is replaced when the new one is whole.
fn map(places: usize) -> io::Result<MmapMut> {
    let new = format!("{FILE}.new");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
    let length = used::size(places);
    // Written, not left out: a disk that is full is found now, and not when a page is touched.
    io::copy(&mut io::Read::take(io::repeat(0), length as u64), &mut &file)?;
    // SAFETY: nobody else writes this server's files.
    let mut map = unsafe { MmapMut::map_mut(&file)? };
    // SAFETY: a mapping begins at a page; it is ours alone until other processes are started.
    let table = unsafe { Used::create(map.as_mut_ptr(), map.len(), places) };
    if let (Some(mut table), Ok(old)) = (table, fs::read(FILE)) {
        let mut old: Vec<u64> =
            old.chunks_exact(8).map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default())).collect();
        // SAFETY: this process's own copy, aligned to 8.
        if let Some(old) = unsafe { Used::open(old.as_mut_ptr().cast(), old.len() * 8) } {
            table.adopt(&old, super::setting::now());
        }
    }
    fs::rename(&new, Path::new(FILE))?;
    Ok(map)
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
