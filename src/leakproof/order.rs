//! The policy of a scoped table before every other condition on it, whatever the others promise.
//!
//! PostgreSQL runs a condition before the policy if it is cheap and no function in it that is not LEAKPROOF is given a
//! column. That is too much trust. LEAKPROOF functions raise for each row under an indeterminate collation, and what is given
//! no column may still tell that its turn has come: `name = 'x' AND tell()`, `CASE WHEN name > 'm' THEN tell() END`,
//! `name = 'x' AND id = (SELECT 1/0)`. Each would tell of rows that the policy hides.
//!
//! So once the paths of a scoped table are known, none of its conditions is taken for leakproof any more: in the filters of
//! its scan they come after the policy. What an index is asked stays: that is compared with values that were there before the
//! first row. Row security that is not ours is left as it is.

use super::bitmap;
use crate::guard::ddl::nodes;
use crate::guard::floor;
use crate::pg::{boundary, entry, raw};
use pgrx::pg_sys;
use std::ffi::c_void;

static mut NEXT_PATHS: pg_sys::set_rel_pathlist_hook_type = None;
static mut NEXT_UPPER: pg_sys::create_upper_paths_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the ones found are called too.
    unsafe {
        NEXT_PATHS = pg_sys::set_rel_pathlist_hook;
        pg_sys::set_rel_pathlist_hook = Some(paths);
        NEXT_UPPER = pg_sys::create_upper_paths_hook;
        pg_sys::create_upper_paths_hook = Some(upper);
    }
}

/// Plain frame, called when the paths of a table are there, and so its index conditions. Conditions of joins are shared with
/// tables that have none yet.
unsafe extern "C-unwind" fn paths(
    root: *mut pg_sys::PlannerInfo,
    relation: *mut pg_sys::RelOptInfo,
    index: pg_sys::Index,
    entry_of: *mut pg_sys::RangeTblEntry,
) {
    // SAFETY: the arguments are the planner's and passed on as they came.
    unsafe {
        if let Some(next) = NEXT_PATHS {
            next(root, relation, index, entry_of);
        }
        if has_row_security(&*root) {
            entry(|| {
                if is_scoped(&*root, index) {
                    bitmap::leave_out_what_tells(root, relation);
                    put_last((*relation).baserestrictinfo);
                }
                Ok(())
            });
        }
    }
}

/// Plain frame, called when the paths of a whole query are there. What is left are conditions of joins, for which the other
/// table may give the values.
unsafe extern "C-unwind" fn upper(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    extra: *mut c_void,
) {
    // SAFETY: the arguments are the planner's and passed on as they came.
    unsafe {
        if let Some(next) = NEXT_UPPER {
            next(root, stage, input, output, extra);
        }
        if stage == pg_sys::UpperRelationKind::UPPERREL_FINAL && has_row_security(&*root) {
            entry(|| {
                (1..(*root).simple_rel_array_size as usize).for_each(|i| joins(&*root, i));
                Ok(())
            });
        }
    }
}

unsafe fn joins(root: &pg_sys::PlannerInfo, index: usize) {
    // SAFETY: the planner's own array, whose places may be empty.
    unsafe {
        let relation = *root.simple_rel_array.add(index);
        if relation.is_null() {
            return;
        }
        let given = || nodes::<pg_sys::ParamPathInfo>((*relation).ppilist).map(|given| (*given).ppi_clauses);
        let lists = || [(*relation).baserestrictinfo, (*relation).joininfo].into_iter().chain(given());
        if lists().any(|list| promises(list)) && is_scoped(root, index as pg_sys::Index) {
            lists().for_each(|list| put_last(list));
        }
    }
}

unsafe fn has_row_security(root: &pg_sys::PlannerInfo) -> bool {
    // SAFETY: the query of a planner's state.
    root.qual_security_level > 0 && unsafe { (*root.parse).hasRowSecurity }
}

/// Whether a condition would come before the policy.
unsafe fn promises(conditions: *mut pg_sys::List) -> bool {
    // SAFETY: lists of such nodes.
    nodes::<pg_sys::RestrictInfo>(conditions).any(|condition| unsafe { (*condition).leakproof })
}

unsafe fn put_last(conditions: *mut pg_sys::List) {
    // SAFETY: lists of such nodes, of this plan only.
    nodes::<pg_sys::RestrictInfo>(conditions).for_each(|condition| unsafe { (*condition).leakproof = false });
}

/// Whether a table, or what it is a part of, has our policy. A partition has its table's.
unsafe fn is_scoped(root: &pg_sys::PlannerInfo, mut index: pg_sys::Index) -> bool {
    // SAFETY: the planner's own arrays, of as many places as there are tables.
    unsafe {
        loop {
            let policies = (**root.simple_rte_array.add(index as usize)).securityQuals;
            if !policies.is_null() {
                return has_floor(policies);
            }
            let parent = if root.append_rel_array.is_null() {
                std::ptr::null_mut()
            } else {
                *root.append_rel_array.add(index as usize)
            };
            if parent.is_null() {
                return false;
            }
            index = (*parent).parent_relid;
        }
    }
}

unsafe fn has_floor(policies: *mut pg_sys::List) -> bool {
    // SAFETY: look-ups by name; the walker only reads, and frames without destructors stand between it and the boundary.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"orgscope".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return false;
        }
        let mut function = floor::require_org(schema);
        boundary(|| calls(policies.cast(), (&raw mut function).cast()))
    }
}

/// Plain frame, called by PostgreSQL's walker for each node: whether it calls the function.
unsafe extern "C-unwind" fn calls(node: *mut pg_sys::Node, function: *mut c_void) -> bool {
    // SAFETY: the cast follows the node's tag; `function` is what the walk began with.
    unsafe {
        if node.is_null() {
            return false;
        }
        if (*node).type_ == pg_sys::NodeTag::T_FuncExpr
            && (*node.cast::<pg_sys::FuncExpr>()).funcid == *function.cast::<pg_sys::Oid>()
        {
            return true;
        }
        raw::expression_tree_walker(node, calls, function)
    }
}
