//! Row triggers that need not be called for each row of one COPY: they would only say again what is known.
//!
//! `fill` and `guard` see to it that a row has the organization of the context; here that is one compare with what was
//! read. `last_word` has nothing to judge where no trigger of the application has had a say, and nothing to count for a
//! role that row security holds. A foreign key of the organization alone is checked, and the row it refers to locked, for
//! the first row; the others have the same key.
//!
//! Only while the table has no other row trigger, and only for rows of the context: any other row meets them all.

use crate::context::value::{Org, ready};
use pgrx::pg_sys;
use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

pub struct Triggers {
    /// The query's own copy. NULL when every trigger is always called.
    called: *mut pg_sys::TriggerDesc,
    /// The same as the table has them.
    all: *const pg_sys::Trigger,
    kinds: *const Kind,
    /// Where the organization is among the columns.
    organization: usize,
    /// What the value of a filled column points to.
    filled: Org,
    /// The organization of the row before, while that one was spared.
    known: Option<Org>,
    calls: Calls,
}

/// What a trigger does to a new row.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Nothing, or no business of ours.
    Other,
    Fill,
    Guard,
    LastWord,
    /// Checks a foreign key of the organization alone.
    Key,
}

#[derive(Clone, Copy, PartialEq)]
enum Calls {
    All,
    /// For the first row of an organization.
    Key,
    /// For those that follow.
    Other,
}

impl Triggers {
    pub fn all() -> Self {
        Self {
            called: null_mut(),
            all: null_mut(),
            kinds: null_mut(),
            organization: 0,
            filled: Org::default(),
            known: None,
            calls: Calls::All,
        }
    }

    /// Of a started INSERT.
    pub fn of(plan: *mut pg_sys::ModifyTableState, table: pg_sys::Relation) -> Self {
        // SAFETY: the executor's own copy of the table's triggers, as many as it says.
        let (called, triggers) = unsafe {
            let called = (*(*plan).resultRelInfo).ri_TrigDesc;
            if called.is_null() || (*(*table).rd_rel).relkind as u8 != pg_sys::RELKIND_RELATION {
                return Self::all();
            }
            (called, std::slice::from_raw_parts((*called).triggers, (*called).numtriggers as usize))
        };
        let Some(organization) = triggers.iter().find_map(|t| argument_of_guard(t, table)) else { return Self::all() };
        let kinds: Option<Vec<Kind>> = triggers.iter().map(|t| kind(t, table, organization)).collect();
        let complete = |kinds: &Vec<Kind>| [Kind::Fill, Kind::Guard, Kind::LastWord].iter().all(|k| kinds.contains(k));
        let Some(kinds) = kinds.filter(complete) else { return Self::all() };
        let (all, kinds) = (kept(triggers), kept(&kinds));
        Self { called, all, kinds, organization: organization as usize - 1, ..Self::all() }
    }

    /// Plain frame. Says which triggers the row is for, and fills its organization if those are not called that would.
    pub unsafe fn spare(&mut self, values: *mut pg_sys::Datum, nulls: *mut bool) {
        if self.called.is_null() {
            return;
        }
        // SAFETY: as many values as the table has columns; the organization is a uuid.
        unsafe {
            let (value, is_null) = (&mut *values.add(self.organization), &mut *nulls.add(self.organization));
            match ready().filter(|org| *is_null || *value.cast_mut_ptr::<Org>() == *org) {
                None => self.call(Calls::All),
                Some(org) => {
                    if *is_null {
                        self.filled = org;
                        *value = pg_sys::Datum::from(&raw mut self.filled);
                        *is_null = false;
                    }
                    self.call(if self.known == Some(org) { Calls::Other } else { Calls::Key });
                    self.known = Some(org);
                }
            }
        }
    }

    unsafe fn call(&mut self, calls: Calls) {
        if calls == self.calls {
            return;
        }
        if calls == Calls::All {
            self.known = None;
        }
        self.calls = calls;
        // SAFETY: the three have as many entries. A trigger that is not called stays where it is: what is queued is looked
        // up by its place.
        unsafe {
            let mut any_after = calls == Calls::All;
            for i in 0..(*self.called).numtriggers as usize {
                let trigger = &mut *(*self.called).triggers.add(i);
                let is_called = match *self.kinds.add(i) {
                    Kind::Other => true,
                    Kind::Key => calls != Calls::Other,
                    Kind::Fill | Kind::Guard | Kind::LastWord => calls == Calls::All,
                };
                trigger.tgenabled = if is_called { (*self.all.add(i)).tgenabled } else { DISABLED };
                any_after |= is_row_insert(trigger) && is_called;
            }
            (*self.called).trig_insert_before_row = calls == Calls::All;
            (*self.called).trig_insert_after_row = any_after;
        }
    }
}

const DISABLED: c_char = pg_sys::TRIGGER_DISABLED as c_char;

fn is_row_insert(trigger: &pg_sys::Trigger) -> bool {
    let wanted = (pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_INSERT) as i16;
    trigger.tgtype & wanted == wanted
}

/// None for a trigger that is called for new rows and could do anything.
fn kind(trigger: &pg_sys::Trigger, table: pg_sys::Relation, organization: i16) -> Option<Kind> {
    if !is_row_insert(trigger) || trigger.tgenabled == DISABLED {
        return Some(Kind::Other);
    }
    if trigger.tgisinternal {
        let checks_key = trigger.tgfoid == pg_sys::Oid::from(pg_sys::F_RI_FKEY_CHECK_INS) && !trigger.tgdeferrable;
        let spared = checks_key && is_key_of(trigger.tgconstraint, table, organization);
        return Some(if spared { Kind::Key } else { Kind::Other });
    }
    let is_before = trigger.tgtype & pg_sys::TRIGGER_TYPE_BEFORE as i16 != 0;
    let kind = match (our_function(trigger)?.to_bytes(), is_before) {
        (b"fill", true) => Kind::Fill,
        (b"guard", true) => Kind::Guard,
        (b"last_word", false) => Kind::LastWord,
        _ => return None,
    };
    (column_of(trigger, table) == Some(organization)).then_some(kind)
}

fn argument_of_guard(trigger: &pg_sys::Trigger, table: pg_sys::Relation) -> Option<i16> {
    let is_guard = is_row_insert(trigger) && our_function(trigger) == Some(c"guard");
    if is_guard { column_of(trigger, table) } else { None }
}

/// The name of the trigger's function, if that is orgscope's.
fn our_function(trigger: &pg_sys::Trigger) -> Option<&CStr> {
    // SAFETY: syscache look-ups, NULL for what is gone; names are NUL-terminated.
    unsafe {
        let ours = pg_sys::get_namespace_oid(c"orgscope".as_ptr(), true);
        let name = pg_sys::get_func_name(trigger.tgfoid);
        (!name.is_null() && pg_sys::get_func_namespace(trigger.tgfoid) == ours).then(|| CStr::from_ptr(name))
    }
}

/// The organization column that one of our row triggers enforces. None in observe mode, and under a condition.
fn column_of(trigger: &pg_sys::Trigger, table: pg_sys::Relation) -> Option<i16> {
    if trigger.tgnargs != 1 || !trigger.tgqual.is_null() {
        return None;
    }
    // SAFETY: one argument; the descriptor has every attribute from 1.
    unsafe {
        let number = pg_sys::get_attnum((*table).rd_id, *trigger.tgargs);
        let is_uuid = number > 0 && pg_sys::SPI_gettypeid((*table).rd_att, number.into()) == pg_sys::UUIDOID;
        is_uuid.then_some(number)
    }
}

fn is_key_of(constraint: pg_sys::Oid, table: pg_sys::Relation, column: i16) -> bool {
    // SAFETY: the cache's list of the table's foreign keys.
    let mut keys = unsafe { crate::guard::ddl::nodes(pg_sys::RelationGetFKeyList(table)) };
    keys.any(|key: *mut pg_sys::ForeignKeyCacheInfo| {
        // SAFETY: as above.
        let key = unsafe { &*key };
        key.conoid == constraint && key.nkeys == 1 && key.conkey[0] == column
    })
}

/// A copy in the statement's memory.
fn kept<T: Copy>(items: &[T]) -> *const T {
    // SAFETY: as many bytes as the items have.
    unsafe {
        let copy = pg_sys::palloc(size_of_val(items)).cast::<T>();
        std::ptr::copy_nonoverlapping(items.as_ptr(), copy, items.len());
        copy
    }
}
