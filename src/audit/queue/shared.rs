//! Where the queue is, who may touch it, and how its writers are woken.
//!
//! The file is mapped by the postmaster, so all processes have it at the same address. Locks and latches live in
//! PostgreSQL's own shared memory, which is made anew after a crash: no lock outlives its holder.

use super::kind::ByKind;
use super::memory::{self, Pushed, Queue};
use crate::audit::event::Counts;
use crate::pg::Backend;
use crate::pg::shared::{Part, add_part, renew_file};
use crate::settings::AUDIT_QUEUE;
use memmap2::MmapMut;
use pgrx::pg_sys;
use std::io;

/// Left out of base backups, as all of its folder is: a standby has its own events.
const FILE: &str = "pg_stat_tmp/orgscope.queue";
const NAME: &std::ffi::CStr = c"orgscope audit queue";

/// Databases that have a writer at the same time. Others wait for one to go.
const WRITERS: usize = 32;

/// A database's writer. Zeros: none.
#[derive(Clone, Copy)]
#[repr(C)]
struct Writer {
    database: u32,
    latch: *mut pg_sys::Latch,
}

/// When what waited for a database went to the server's log, and to no audit log. Zeros: never.
#[derive(Clone, Copy)]
#[repr(C)]
struct Discarded {
    database: u32,
    at: pg_sys::TimestampTz,
}

/// What does not survive a crash.
#[repr(C)]
struct Control {
    launcher: *mut pg_sys::Latch,
    writers: [Writer; WRITERS],
    /// Databases with rows that were written by their own statements, and that a writer is to seal. Zeros: none.
    unsealed: [u32; WRITERS],
    discarded: [Discarded; WRITERS],
    written: pg_sys::ConditionVariable,
}

struct Shared {
    map: Option<MmapMut>,
    control: *mut Control,
    lock: *mut pg_sys::LWLock,
}

static SHARED: Backend<Shared> =
    Backend::new(Shared { map: None, control: std::ptr::null_mut(), lock: std::ptr::null_mut() });

pub fn init() {
    add_part(Part { request, attach });
}

unsafe fn request() {
    // SAFETY: at the moment of requests.
    unsafe {
        pg_sys::RequestAddinShmemSpace(size_of::<Control>());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

fn attach() {
    let mut found = false;
    // SAFETY: the space and the tranche were requested. No other process runs yet, so nobody holds AddinShmemInitLock.
    let (control, lock) = unsafe {
        let control = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Control>(), &mut found).cast::<Control>();
        if !found {
            std::ptr::write_bytes(control, 0, 1);
            pg_sys::ConditionVariableInit(&raw mut (*control).written);
        }
        (control, &raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock)
    };
    let map = match map(AUDIT_QUEUE.get() as usize) {
        Ok(map) => Some(map),
        Err(error) => {
            pgrx::warning!("orgscope has no queue for its audit log: {FILE}: {error}");
            None
        }
    };
    SHARED.with(|shared| *shared = Shared { map, control, lock });
}

/// With what waits in the file that is there.
fn map(places: usize) -> io::Result<MmapMut> {
    renew_file(FILE, memory::size(places), |map, old| {
        // SAFETY: a mapping begins at a page; it is ours alone until other processes are started. The old one is this
        // process's own copy, aligned to 8.
        unsafe {
            let new = Queue::create(map.as_mut_ptr(), map.len(), places);
            if let (Some(mut new), Some(mut old)) = (new, old)
                && let Some(old) = Queue::open(old.as_mut_ptr().cast(), old.len() * 8)
            {
                new.adopt(&old);
            }
        }
    })
}

/// Whether the library was preloaded, and the file could be mapped.
pub fn is_there() -> bool {
    SHARED.with(|shared| shared.map.is_some())
}

/// Runs `f` alone in the whole server. It must not call PostgreSQL: an error would leave the lock held.
pub fn with<R>(f: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    let (memory, length, lock) = SHARED.with(|s| s.map.as_mut().map(|map| (map.as_mut_ptr(), map.len(), s.lock)))?;
    // SAFETY: the lock is this module's; the memory is the mapping's, touched under the lock only.
    unsafe {
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let result = Queue::open(memory, length).map(|mut queue| f(&mut queue));
        pg_sys::LWLockRelease(lock);
        result
    }
}

/// Under the queue's lock as well.
fn with_control<R>(f: impl FnOnce(&mut Control, &mut Queue) -> R) -> Option<R> {
    let control = SHARED.with(|s| s.control);
    // SAFETY: PostgreSQL's shared memory, made in `attach`, touched under the lock only.
    with(|queue| f(unsafe { &mut *control }, queue))
}

/// False when there was no room for the event, or when it has no database to wait for. A writer comes by itself before long;
/// it is woken when it had better hurry.
pub fn push(database: Option<u32>, kind: usize, json: &[u8], counts: Counts) -> bool {
    let pushed = with_control(|control, queue| {
        queue.totals().by_kind[kind] += counts.events;
        let Some(database) = database else {
            queue.totals().logged += counts.events;
            return (false, std::ptr::null_mut());
        };
        let pushed = queue.push(database, json, counts);
        match pushed {
            Pushed::Full => queue.totals().logged += counts.events,
            Pushed::Merged => return (true, std::ptr::null_mut()),
            Pushed::New => {}
        }
        (pushed == Pushed::New, control.latch(database, queue.is_half_full()))
    });
    let (queued, latch) = pushed.unwrap_or((false, std::ptr::null_mut()));
    set(latch);
    queued
}

/// Somebody waits for what is queued.
fn hurry(database: u32) {
    set(with_control(|control, _| control.latch(database, true)).unwrap_or(std::ptr::null_mut()));
}

impl Control {
    /// Whom to wake for the database: the launcher when it has no writer.
    fn latch(&self, database: u32, hurry: bool) -> *mut pg_sys::Latch {
        match self.writers.iter().find(|w| w.database == database) {
            None => self.launcher,
            Some(writer) if hurry => writer.latch,
            Some(_) => std::ptr::null_mut(),
        }
    }

    /// In the place of the same database, or of the one that was longest ago.
    fn note_discarded(&mut self, database: u32, at: pg_sys::TimestampTz) {
        let place = self.discarded.iter_mut().min_by_key(|d| (d.database != database, d.at));
        place.into_iter().for_each(|place| *place = Discarded { database, at });
    }

    fn discarded_since(&self, database: u32, at: pg_sys::TimestampTz) -> bool {
        self.discarded.iter().any(|d| d.database == database && d.at >= at)
    }
}

fn set(latch: *mut pg_sys::Latch) {
    if !latch.is_null() {
        // SAFETY: a latch in shared memory; one of a process that has gone wakes whoever has taken its place, for nothing.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

/// This process starts writers from now on.
pub fn register_launcher() {
    // SAFETY: a background worker has a latch in shared memory.
    let latch = unsafe { pg_sys::MyLatch };
    with_control(|control, _| control.launcher = latch);
}

/// Databases that something waits for and that have no writer.
pub fn unserved() -> Vec<u32> {
    let unserved = with_control(|control, queue| {
        let mut databases = queue.databases();
        databases.extend(control.unsealed.iter().filter(|d| **d != 0));
        databases.sort_unstable();
        databases.dedup();
        databases.retain(|d| control.writers.iter().all(|w| w.database != *d));
        databases
    });
    unserved.unwrap_or_default()
}

/// This process writes for a database from now on. False when there is another, or no room.
pub fn register_writer(database: u32) -> bool {
    // SAFETY: as for the launcher.
    let latch = unsafe { pg_sys::MyLatch };
    let registered = with_control(|control, _| {
        if control.writers.iter().any(|w| w.database == database) {
            return false;
        }
        match control.writers.iter_mut().find(|w| w.database == 0) {
            Some(writer) => {
                *writer = Writer { database, latch };
                true
            }
            None => false,
        }
    });
    registered.unwrap_or(false)
}

/// This process writes no more. Unless `even_if` work is left, it stays when something waits.
pub fn finish(database: u32, even_if: bool) -> bool {
    let gone = with_control(|control, queue| {
        if !even_if && (queue.databases().contains(&database) || control.unsealed.contains(&database)) {
            return false;
        }
        control.writers.iter_mut().filter(|w| w.database == database).for_each(|w| {
            *w = Writer { database: 0, latch: std::ptr::null_mut() };
        });
        true
    });
    gone.unwrap_or(true)
}

/// A batch is written: those who wait for it look again.
pub fn announce() {
    let control = SHARED.with(|s| s.control);
    // SAFETY: initialized in `attach`.
    unsafe { pg_sys::ConditionVariableBroadcast(&raw mut (*control).written) };
}

/// Waits until what the database's queue holds now is written. False when that takes longer than `limit`, if there is one, or
/// when something of the database has gone to the server's log instead since the statement began, which has queued its event
/// before it waits.
pub fn wait_for_writer(database: u32, limit: Option<std::time::Duration>) -> bool {
    const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
    let control = SHARED.with(|s| s.control);
    if !is_there() {
        return true;
    }
    // SAFETY: reads the clock, and when the client's statement came.
    let (since, began) = unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetCurrentStatementStartTimestamp()) };
    let started = std::time::Instant::now();
    let is_written = loop {
        // SAFETY: the condition variable is in shared memory; interrupts are looked at while it sleeps, and an error there
        // leaves nothing behind but the sleep, which the abort of the transaction cancels.
        unsafe { pg_sys::ConditionVariablePrepareToSleep(&raw mut (*control).written) };
        let state = with_control(|control, queue| {
            (queue.waits_since(database, since), control.discarded_since(database, began))
        });
        match state.unwrap_or((false, false)) {
            (true, _) => {}
            (false, discarded) => break !discarded,
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            break false;
        }
        hurry(database);
        // SAFETY: as above.
        unsafe {
            pg_sys::ConditionVariableTimedSleep(
                &raw mut (*control).written,
                LOOK_AGAIN.as_millis() as std::ffi::c_long,
                pg_sys::PG_WAIT_EXTENSION,
            )
        };
    };
    // SAFETY: ends what was prepared above.
    unsafe { pg_sys::ConditionVariableCancelSleep() };
    is_written
}

/// Events that are in the log already.
pub fn count(events: &ByKind) {
    with(|queue| add(queue, events));
}

fn add(queue: &mut Queue, events: &ByKind) {
    queue.totals().by_kind.iter_mut().zip(events).for_each(|(total, n)| *total += n);
}

/// A transaction has committed audit rows of its own, of these events.
pub fn note_unsealed(database: u32, events: &ByKind) {
    let latch = with_control(|control, queue| {
        add(queue, events);
        if control.unsealed.contains(&database) {
            return std::ptr::null_mut();
        }
        // With no place left the next transaction of the database asks again.
        if let Some(free) = control.unsealed.iter_mut().find(|d| **d == 0) {
            *free = database;
        }
        control.latch(database, false)
    });
    set(latch.unwrap_or(std::ptr::null_mut()));
}

/// Whether there are such rows since this was asked last.
pub fn take_unsealed(database: u32) -> bool {
    let found = with_control(|control, _| control.unsealed.iter_mut().find(|d| **d == database).map(|d| *d = 0));
    found.flatten().is_some()
}

/// What a writer of the database that has gone had taken.
pub fn recover(database: u32, written: Option<u64>) {
    with(|queue| queue.recover(database, written));
}

pub fn take(database: u32, batch: u64) -> Vec<memory::Queued> {
    with(|queue| queue.take(database, batch)).unwrap_or_default()
}

pub fn confirm(database: u32, batch: u64) {
    with(|queue| queue.confirm(database, batch));
}

/// The batch went to the server's log instead.
pub fn discard(database: u32, batch: u64) {
    take_unsealed(database);
    // SAFETY: reads the clock.
    let at = unsafe { pg_sys::GetCurrentTimestamp() };
    with_control(|control, queue| {
        control.note_discarded(database, at);
        let written = queue.totals().written;
        queue.confirm(database, batch);
        let totals = queue.totals();
        totals.logged += totals.written - written;
        totals.written = written;
    });
}
