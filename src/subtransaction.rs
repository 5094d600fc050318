//! What was noted in a subtransaction: it is its parent's when that one commits, and taken back when it aborts.

use crate::pg::Backend;
use pgrx::pg_sys;

pub trait Noted {
    fn subtransaction(&mut self) -> &mut pg_sys::SubTransactionId;
}

/// Keeps in `noted` what still holds after the end of a subtransaction, and returns what was taken back.
pub fn end<T: Noted>(
    noted: &Backend<Vec<T>>,
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
) -> Vec<T> {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    noted.with(|noted| match event {
        SUBXACT_EVENT_COMMIT_SUB => {
            noted.iter_mut().map(T::subtransaction).filter(|s| **s == ended).for_each(|s| *s = parent);
            Vec::new()
        }
        SUBXACT_EVENT_ABORT_SUB => noted.extract_if(.., |n| *n.subtransaction() == ended).collect(),
        _ => Vec::new(),
    })
}

/// Defines `at_subtransaction_end`, a callback for PostgreSQL, over things that have a field `subtransaction`, and what is
/// done with those that were taken back.
macro_rules! at_subtransaction_end {
    ($noted:ident: $thing:ty, $taken_back:expr) => {
        impl $crate::subtransaction::Noted for $thing {
            fn subtransaction(&mut self) -> &mut pgrx::pg_sys::SubTransactionId {
                &mut self.subtransaction
            }
        }

        unsafe extern "C-unwind" fn at_subtransaction_end(
            event: pgrx::pg_sys::SubXactEvent::Type,
            ended: pgrx::pg_sys::SubTransactionId,
            parent: pgrx::pg_sys::SubTransactionId,
            _: *mut std::ffi::c_void,
        ) {
            let taken_back: Vec<$thing> = $crate::subtransaction::end(&$noted, event, ended, parent);
            $taken_back(taken_back);
        }
    };
}

pub(crate) use at_subtransaction_end;
