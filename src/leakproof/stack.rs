//! Room on the stack.
//!
//! Some of these functions, and what indexes call in their place, go the deeper the further a row matches, and raise where
//! the stack ends. Somebody who calls a search from deep within functions of his own could let it end just there, and learn
//! from the error that a row matches. So a search is planned with twins only where there is more room than it needs, and
//! refused before its first row where there is no longer.

use crate::error::Error;
use crate::guard::ddl::nodes;
use crate::pg::{self, Backend, entry, raw};
use pgrx::pg_sys;
use std::ffi::c_int;
use std::ptr::null_mut;

/// What has to be left, in kilobytes. What a statement needs between its start and its end: less than 1 for each level of its
/// plan, of which it may have [`MOST_LEVELS`]; 200 bytes for each level of the comparison, of which `constant` allows 256;
/// what an index needs. Where functions run statements of their own, each is asked again.
const ROOM: c_int = 512;

/// Of a plan, with those of its sub-plans, which may run within each other.
const MOST_LEVELS: usize = 256;

/// Whether a plan goes deeper than the room is made for. Only the finished one tells: a window takes levels, a sub-select
/// without a table, a function put in line.
pub unsafe fn is_deep(plan: &pg_sys::PlannedStmt) -> bool {
    let mut levels = 0;
    for part in nodes::<pg_sys::Plan>(plan.subplans).chain([plan.planTree]) {
        let mut deepest = 0;
        let mut left = vec![(part, 1)];
        while let Some((node, level)) = left.pop().filter(|(_, level)| *level <= MOST_LEVELS + 1) {
            if node.is_null() {
                continue;
            }
            deepest = deepest.max(level);
            // SAFETY: a node of a plan; each cast follows its tag.
            unsafe {
                left.extend([((*node).lefttree, level + 1), ((*node).righttree, level + 1)]);
                left.extend(more_parts(node).map(|below| (below, level + 1)));
            }
        }
        levels += deepest;
    }
    levels > MOST_LEVELS
}

/// What is below a node besides its left and its right.
unsafe fn more_parts(node: *mut pg_sys::Plan) -> impl Iterator<Item = *mut pg_sys::Plan> {
    use pg_sys::NodeTag::{T_Append, T_BitmapAnd, T_BitmapOr, T_CustomScan, T_MergeAppend, T_SubqueryScan};
    // SAFETY: each cast follows the node's tag.
    let (one, list) = unsafe {
        match (*node).type_ {
            T_SubqueryScan => ((*node.cast::<pg_sys::SubqueryScan>()).subplan, null_mut()),
            T_Append => (null_mut(), (*node.cast::<pg_sys::Append>()).appendplans),
            T_MergeAppend => (null_mut(), (*node.cast::<pg_sys::MergeAppend>()).mergeplans),
            T_BitmapAnd => (null_mut(), (*node.cast::<pg_sys::BitmapAnd>()).bitmapplans),
            T_BitmapOr => (null_mut(), (*node.cast::<pg_sys::BitmapOr>()).bitmapplans),
            T_CustomScan => (null_mut(), (*node.cast::<pg_sys::CustomScan>()).custom_plans),
            _ => (null_mut(), null_mut()),
        }
    };
    std::iter::once(one).chain(nodes(list))
}

/// The twins that this backend's plans have.
static USED: Backend<Vec<pg_sys::Oid>> = Backend::new(Vec::new());

/// Whether that much is left.
pub fn has_room() -> bool {
    // SAFETY: the setting's own assign function tells PostgreSQL where the stack ends; it ends earlier for one question.
    unsafe {
        let limit = pg_sys::max_stack_depth;
        if limit <= ROOM {
            return false;
        }
        raw::assign_max_stack_depth(limit - ROOM, null_mut());
        let is_too_deep = raw::stack_is_too_deep();
        raw::assign_max_stack_depth(limit, null_mut());
        !is_too_deep
    }
}

/// A plan will have this twin. The first one sets the hook: sessions without do not pay for it.
pub fn watch(twin: pg_sys::Oid) {
    let is_first = USED.with(|used| {
        let is_first = used.is_empty();
        if !used.contains(&twin) {
            used.push(twin);
        }
        is_first
    });
    if is_first {
        pg::add_steps(check, None);
    }
}

/// Refuses a statement that has twins and no room. Each time it goes on: a cursor may be fetched from deeper than it was
/// opened at.
unsafe fn check(query: *mut pg_sys::QueryDesc) {
    if !has_room() {
        // SAFETY: the executor's own description of a planned statement.
        entry(|| if unsafe { has_twins(&*(*query).plannedstmt) } { Err(Error::NoRoomToSearch) } else { Ok(()) });
    }
}

/// By what the planner has noted for the case that a function is replaced.
unsafe fn has_twins(plan: &pg_sys::PlannedStmt) -> bool {
    const FUNCTIONS: c_int = pg_sys::SysCacheIdentifier::PROCOID as c_int;
    let null = pg_sys::Datum::null();
    let twins = USED.with(|used| used.clone());
    // SAFETY: hashes a key.
    let hash = |twin: &pg_sys::Oid| unsafe {
        pg_sys::GetSysCacheHashValue(FUNCTIONS, pg_sys::Datum::from(*twin), null, null, null)
    };
    let hashes: Vec<u32> = twins.iter().map(hash).collect();
    // SAFETY: a list of such nodes.
    nodes::<pg_sys::PlanInvalItem>(plan.invalItems)
        .any(|item| unsafe { (*item).cacheId == FUNCTIONS && hashes.contains(&(*item).hashValue) })
}
