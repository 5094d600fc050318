//! Whether the organization in force exists and is active.
//!
//! A backend looks an organization up once and remembers it for as long as a number in shared memory stays the same. A
//! transaction that suspends or deletes one raises the number when its work is visible: from then on nobody's memory
//! counts, and each backend looks again. So the hot path is one load and one compare, and what is refused is never
//! remembered: an organization that is made or resumed needs no word to anybody.

use crate::context::value::{self, Org};
use crate::error::Error;
use crate::guard::is_apply_worker;
use crate::pg::shared::{Part, add_part};
use crate::pg::{self, Backend, boundary, raw};
use pgrx::pg_sys;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

const NAME: &CStr = c"orgscope organizations";

/// More than these are looked up again now and then.
const MANY: usize = 4096;

/// The number without shared memory, which nobody raises.
static ALONE: AtomicU64 = AtomicU64::new(FIRST);
const FIRST: u64 = 1;

static COUNTER: Backend<*const AtomicU64> = Backend::new(&raw const ALONE);

/// What this backend has found.
struct Known {
    /// 0: nothing counts.
    generation: u64,
    active: BTreeSet<Org>,
    /// This transaction has changed organizations: what it sees may be its own, and holds for a command.
    changed: bool,
    in_command: Option<(Org, pg_sys::CommandId)>,
    /// It has taken some away: others shall look again when it commits.
    lessened: bool,
    /// The table, for its invalidations.
    table: pg_sys::Oid,
}

static KNOWN: Backend<Known> = Backend::new(Known {
    generation: 0,
    active: BTreeSet::new(),
    changed: false,
    in_command: None,
    lessened: false,
    table: pg_sys::InvalidOid,
});

pub fn init() {
    // SAFETY: _PG_init runs once per process; the callbacks are functions that live as long as the library.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
        pg_sys::CacheRegisterRelcacheCallback(Some(at_invalidation), pg_sys::Datum::null());
    }
    add_part(Part { request, attach });
}

unsafe fn request() {
    // SAFETY: at the moment of requests.
    unsafe { pg_sys::RequestAddinShmemSpace(size_of::<AtomicU64>()) }
}

/// After a crash of the server every backend is new.
fn attach() {
    let mut found = false;
    // SAFETY: the memory was requested, and no other process runs yet.
    let counter = unsafe {
        let counter = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<AtomicU64>(), &mut found).cast::<AtomicU64>();
        if !found {
            counter.write(AtomicU64::new(FIRST));
        }
        counter
    };
    COUNTER.with(|c| *c = counter);
}

/// What the memory of every backend is compared with. Never 0.
#[inline]
pub fn generation() -> u64 {
    // SAFETY: points to a static or to shared memory, either of which lives as long as the process. Whoever learns of a
    // commit by a message of another process sees what was stored before it was sent.
    COUNTER.with(|c| unsafe { (**c).load(Ordering::Relaxed) })
}

/// Every backend looks again. After the change is visible, which for COMMIT PREPARED is after the statement: who looks sooner
/// would remember what was.
pub fn raise_generation() {
    // SAFETY: as in generation().
    COUNTER.with(|c| unsafe { (**c).fetch_add(1, Ordering::SeqCst) });
}

/// OS004 unless the organization exists and is active. Returns the generation for which that holds, 0 when it is for the
/// command only.
pub fn require(org: Org) -> Result<u64, Error> {
    // Before the look-up: what changes in between is looked up again.
    let generation = generation();
    // SAFETY: reads a backend-local counter.
    let command = unsafe { raw::GetCurrentCommandId(false) };
    let (changed, known) = KNOWN.with(|k| {
        if k.generation != generation {
            k.active.clear();
            k.generation = generation;
        }
        let known = if k.changed { k.in_command == Some((org, command)) } else { k.active.contains(&org) };
        (k.changed, known)
    });
    if !known {
        look_up(org)?;
        KNOWN.with(|k| {
            if changed {
                k.in_command = Some((org, command));
            } else {
                if k.active.len() >= MANY {
                    k.active.clear();
                }
                k.active.insert(org);
            }
        });
    }
    Ok(if changed { 0 } else { generation })
}

/// The same for a function that a statement calls after it has made the organization itself: nothing of that is remembered.
pub fn require_made(org: Org) -> Result<(), Error> {
    match require(org) {
        Err(Error::UnknownOrganization) => {
            // SAFETY: the caller is VOLATILE and PARALLEL UNSAFE, as every function that runs SQL.
            boundary(|| unsafe { raw::CommandCounterIncrement() });
            look_up(org)
        }
        result => result.map(drop),
    }
}

/// Reads the newest committed state and what this transaction has done.
fn look_up(org: Org) -> Result<(), Error> {
    let table = pg::own_table(c"organization");
    if table == pg_sys::InvalidOid {
        return Err(Error::UnknownOrganization);
    }
    KNOWN.with(|k| k.table = table);
    // SAFETY: syscache look-ups by name.
    let (id, active) =
        unsafe { (pg_sys::get_attnum(table, c"id".as_ptr()), pg_sys::get_attnum(table, c"is_active".as_ptr())) };
    let mut key = [pg::equal(id, pg_sys::F_UUID_EQ, pg_sys::Datum::from(&raw const org))];
    // SAFETY: the key's value lives as long as this frame. The row is of the table, whose description this is.
    let is_active = unsafe {
        pg::find_row(table, &mut key, |row, description| {
            raw::SPI_getbinval(row, description, c_int::from(active), &mut false).value() != 0
        })
    };
    match is_active {
        Some(true) => Ok(()),
        Some(false) => Err(Error::SuspendedOrganization),
        None => Err(Error::UnknownOrganization),
    }
}

/// This transaction has changed organizations; `lessens` when one may be gone or suspended by it.
pub fn note_change(lessens: bool) {
    KNOWN.with(|k| {
        k.changed = true;
        k.in_command = None;
        k.lessened |= lessens;
    });
    value::look_again();
}

unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    use pg_sys::XactEvent::XACT_EVENT_COMMIT;
    if !pg::ends_transaction(event) {
        return;
    }
    let lessened = KNOWN.with(|k| {
        (k.changed, k.in_command) = (false, None);
        // Without the number, and on a standby, where replay raises it for nobody, what was found holds for a transaction.
        // SAFETY: reads a flag of this process, and of shared memory as long as it is set.
        if !k.active.is_empty() && (is_alone() || unsafe { raw::RecoveryInProgress() }) {
            k.generation = 0;
        }
        std::mem::take(&mut k.lessened)
    });
    if event == XACT_EVENT_COMMIT && (lessened || commits_prepared()) {
        raise_generation();
    }
}

/// A subscription with two-phase commit finishes prepared transactions without a statement, and may not be the process that
/// has prepared them.
fn commits_prepared() -> bool {
    // SAFETY: a plain global.
    let possible = unsafe { raw::max_prepared_xacts > 0 };
    possible && is_apply_worker()
}

fn is_alone() -> bool {
    COUNTER.with(|c| std::ptr::eq(*c, &raw const ALONE))
}

unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        KNOWN.with(|k| k.in_command = None);
    }
}

/// The table was altered, truncated or dropped, for example by a restore that has had its triggers disabled.
unsafe extern "C-unwind" fn at_invalidation(_: pg_sys::Datum, table: pg_sys::Oid) {
    let concerns = KNOWN.with(|k| {
        let concerns = table == k.table || table == pg_sys::InvalidOid;
        if concerns {
            k.generation = 0;
            k.in_command = None;
        }
        concerns
    });
    if concerns {
        value::look_again();
    }
}
