//! What runs before and after each run of a statement, a cursor's FETCH among them: ExecutorRun_hook, whose arguments are
//! fewer since PostgreSQL 18.
//!
//! The hook is set by a session's first step: no other session pays for it.

use super::Backend;
use pgrx::pg_sys;

/// A plain frame, or one that ends in [`super::entry`].
pub type Step = unsafe fn(*mut pg_sys::QueryDesc);

/// Parts of this crate that have steps.
const MOST: usize = 4;

#[derive(Clone, Copy)]
struct Steps {
    before: [Option<Step>; MOST],
    after: [Option<Step>; MOST],
}

static STEPS: Backend<Steps> = Backend::new(Steps { before: [None; MOST], after: [None; MOST] });

static mut NEXT: pg_sys::ExecutorRun_hook_type = None;

/// Adds steps for the rest of the session. Each part calls this once.
pub fn add_steps(before: Step, after: Option<Step>) {
    let count = STEPS.with(|steps| {
        let count = steps.before.iter().flatten().count();
        (steps.before[count], steps.after[count]) = (Some(before), after);
        count
    });
    if count == 0 {
        // SAFETY: once per backend; a hook is a plain pointer, read anew at each call, and the one found is called by ours.
        unsafe {
            NEXT = pg_sys::ExecutorRun_hook;
            pg_sys::ExecutorRun_hook = Some(executor_run);
        }
    }
}

macro_rules! executor_run {
    ($($once:ident: bool)?) => {
        // SAFETY: declared as in executor/executor.h of the major version; called from a plain frame.
        unsafe extern "C-unwind" {
            #[link_name = "standard_ExecutorRun"]
            fn standard(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64 $(, $once: bool)?);
        }

        /// Plain frame.
        unsafe extern "C-unwind" fn executor_run(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            count: u64
            $(, $once: bool)?
        ) {
            // SAFETY: the arguments are PostgreSQL's and passed on as they came.
            unsafe {
                STEPS.with(|steps| *steps).before.iter().flatten().for_each(|step| step(query));
                match NEXT {
                    Some(next) => next(query, direction, count $(, $once)?),
                    None => standard(query, direction, count $(, $once)?),
                }
                STEPS.with(|steps| *steps).after.iter().flatten().for_each(|step| step(query));
            }
        }
    };
}

#[cfg(not(feature = "pg18"))]
executor_run!(once: bool);
#[cfg(feature = "pg18")]
executor_run!();
