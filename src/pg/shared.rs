//! Shared memory, which can be asked for only while the server preloads libraries, and files that the postmaster maps for
//! all processes.

use super::{Backend, entry};
use crate::error::Error;
use memmap2::MmapMut;
use pgrx::pg_sys;
use std::fs::{self, File};
use std::io;

/// What a part of this crate keeps there.
#[derive(Clone, Copy)]
pub struct Part {
    /// Plain frame: asks for memory and locks.
    pub request: unsafe fn(),
    /// Finds them, when no other process runs yet. Again after a crash of the server.
    pub attach: fn(),
}

const MOST: usize = 3;

static PARTS: Backend<[Option<Part>; MOST]> = Backend::new([None; MOST]);

static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// Called from _PG_init, once for each part. Nothing when the library is not preloaded.
pub fn add_part(part: Part) {
    // SAFETY: a plain global.
    if unsafe { !pg_sys::process_shared_preload_libraries_in_progress } {
        return;
    }
    let count = PARTS.with(|parts| {
        let count = parts.iter().flatten().count();
        parts[count] = Some(part);
        count
    });
    if count == 0 {
        // SAFETY: once per process; hooks are plain pointers, and the ones found are called by ours.
        unsafe {
            NEXT_REQUEST = pg_sys::shmem_request_hook;
            pg_sys::shmem_request_hook = Some(request);
            NEXT_STARTUP = pg_sys::shmem_startup_hook;
            pg_sys::shmem_startup_hook = Some(startup);
        }
    }
}

fn parts() -> impl Iterator<Item = Part> {
    PARTS.with(|parts| *parts).into_iter().flatten()
}

/// Plain frame: PostgreSQL calls this hook at the one moment at which the requests are allowed.
unsafe extern "C-unwind" fn request() {
    // SAFETY: as the hook found.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        parts().for_each(|part| (part.request)());
    }
}

/// Plain frame.
unsafe extern "C-unwind" fn startup() {
    // SAFETY: as the hook found.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
    }
    entry(|| -> Result<(), Error> {
        parts().for_each(|part| (part.attach)());
        Ok(())
    });
}

/// Makes a file anew and maps it. `fill` gets what the old one holds, if there is one, in whole words of 8 bytes; the old
/// one is replaced when the new one is whole.
pub fn renew_file(path: &str, length: usize, fill: impl FnOnce(&mut MmapMut, Option<Vec<u64>>)) -> io::Result<MmapMut> {
    let new = format!("{path}.new");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
    // Written, not left out: a disk that is full is found now, and not when a page is touched.
    io::copy(&mut io::Read::take(io::repeat(0), length as u64), &mut &file)?;
    // SAFETY: nobody else writes this server's files.
    let mut map = unsafe { MmapMut::map_mut(&file)? };
    fill(&mut map, fs::read(path).ok().map(words));
    fs::rename(&new, path)?;
    Ok(map)
}

fn words(bytes: Vec<u8>) -> Vec<u64> {
    bytes.chunks_exact(8).map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default())).collect()
}
