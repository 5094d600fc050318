//! Bitmaps of indexes, which are asked before the policy.
//!
//! Where indexes are combined, the second is asked only if the first has found a row, of whatever organization, and what it
//! is compared with is reckoned only then: a sub-select or a function that raises would tell. And a bitmap that does not fit
//! into `work_mem` looks at all rows of its pages again, and calls a function of the tenant's own for those that another of
//! its conditions has let through. Such bitmaps are left out; a table can be scanned in other ways.

use crate::guard::ddl::nodes;
use crate::pg::{boundary, raw};
use pgrx::pg_sys;
use std::ffi::c_void;
use std::ptr::null_mut;

/// Of a scoped table.
pub unsafe fn leave_out_what_tells(root: *mut pg_sys::PlannerInfo, relation: *mut pg_sys::RelOptInfo) {
    // SAFETY: the planner's own paths and lists. What it calls may be interrupted.
    unsafe {
        let (kept, tell) = split(&*root, (*relation).pathlist);
        let (partial_kept, partial_tell) = split(&*root, (*relation).partial_pathlist);
        if tell.is_empty() && partial_tell.is_empty() {
            return;
        }
        (*relation).pathlist = list_of(&kept);
        (*relation).partial_pathlist = list_of(&partial_kept);
        let first = |path: &*mut pg_sys::BitmapHeapPath| {
            let all = (**path).bitmapqual;
            let is_plain = (**path).path.param_info.is_null() && (*all).type_ == pg_sys::NodeTag::T_BitmapAndPath;
            is_plain
                .then(|| nodes((*all.cast::<pg_sys::BitmapAndPath>()).bitmapquals).next())?
                .filter(|p| !tells(&*root, *p))
        };
        // What they have crowded out: every row in turn, and the first of the indexes.
        boundary(|| {
            let scan = raw::create_seqscan_path(root, relation, (*relation).lateral_relids, 0);
            raw::add_path(relation, scan);
        });
        for index in tell.iter().filter_map(first) {
            boundary(|| {
                let path = raw::create_bitmap_heap_path(root, relation, index, (*relation).lateral_relids, 1.0, 0);
                raw::add_path(relation, path.cast());
            });
        }
    }
}

/// Paths that stay, and bitmaps that tell.
unsafe fn split(
    root: &pg_sys::PlannerInfo,
    paths: *mut pg_sys::List,
) -> (Vec<*mut pg_sys::Path>, Vec<*mut pg_sys::BitmapHeapPath>) {
    let (mut kept, mut tell) = (Vec::new(), Vec::new());
    for path in nodes::<pg_sys::Path>(paths) {
        // SAFETY: the cast follows the node's tag.
        unsafe {
            let bitmap = path.cast::<pg_sys::BitmapHeapPath>();
            if (*path).type_ == pg_sys::NodeTag::T_BitmapHeapPath && tells(root, (*bitmap).bitmapqual) {
                tell.push(bitmap);
            } else {
                kept.push(path);
            }
        }
    }
    (kept, tell)
}

unsafe fn list_of(paths: &[*mut pg_sys::Path]) -> *mut pg_sys::List {
    // SAFETY: makes a list, or adds to it.
    paths.iter().fold(null_mut(), |list, path| unsafe { pg_sys::lappend(list, path.cast()) })
}

unsafe fn tells(root: &pg_sys::PlannerInfo, bitmap: *mut pg_sys::Path) -> bool {
    let mut asked = Vec::new();
    // SAFETY: a path of the planner's. Conditions of policies are the owner's, and of a lower level.
    unsafe {
        collect(bitmap, false, &mut asked);
        asked.retain(|(condition, _)| (**condition).security_level >= root.qual_security_level);
        asked.iter().any(|(condition, later)| *later && holds(*condition, Wanted::Anything))
            || asked.len() > 1 && asked.iter().any(|(condition, _)| holds(*condition, Wanted::OwnFunction))
    }
}

/// The conditions of a bitmap's indexes, with whether an index before it decides if they are asked.
unsafe fn collect(path: *mut pg_sys::Path, later: bool, asked: &mut Vec<(*mut pg_sys::RestrictInfo, bool)>) {
    // SAFETY: each cast follows the node's tag.
    unsafe {
        match (*path).type_ {
            pg_sys::NodeTag::T_BitmapAndPath => {
                let parts = nodes::<pg_sys::Path>((*path.cast::<pg_sys::BitmapAndPath>()).bitmapquals);
                parts.enumerate().for_each(|(i, part)| collect(part, later || i > 0, asked));
            }
            pg_sys::NodeTag::T_BitmapOrPath => {
                let parts = nodes::<pg_sys::Path>((*path.cast::<pg_sys::BitmapOrPath>()).bitmapquals);
                parts.for_each(|part| collect(part, later, asked));
            }
            pg_sys::NodeTag::T_IndexPath => {
                let clauses = nodes::<pg_sys::IndexClause>((*path.cast::<pg_sys::IndexPath>()).indexclauses);
                asked.extend(clauses.map(|clause| ((*clause).rinfo, later)));
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// What is not known before the first row, or could raise.
    Anything,
    /// A function that did not come with PostgreSQL, and is not LEAKPROOF.
    OwnFunction,
}

unsafe fn holds(condition: *mut pg_sys::RestrictInfo, mut wanted: Wanted) -> bool {
    // SAFETY: the walker only reads; frames without destructors stand between it and the boundary.
    boundary(|| unsafe { visit((*condition).clause.cast(), (&raw mut wanted).cast()) })
}

/// Plain frame, called by PostgreSQL's walker for each node.
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, wanted: *mut c_void) -> bool {
    use pg_sys::NodeTag::{
        T_ArrayExpr, T_BoolExpr, T_BooleanTest, T_Const, T_FuncExpr, T_List, T_NullTest, T_OpExpr, T_Param,
        T_RelabelType, T_ScalarArrayOpExpr, T_Var,
    };
    // SAFETY: each cast follows the node's tag; `wanted` is what the walk began with.
    unsafe {
        if node.is_null() {
            return false;
        }
        let is_plain = match (*node).type_ {
            T_Param => (*node.cast::<pg_sys::Param>()).paramkind == pg_sys::ParamKind::PARAM_EXTERN,
            T_Var | T_Const | T_OpExpr | T_ScalarArrayOpExpr | T_ArrayExpr | T_BoolExpr | T_NullTest
            | T_BooleanTest | T_FuncExpr | T_List | T_RelabelType => true,
            _ => false,
        };
        !is_plain && *wanted.cast::<Wanted>() == Wanted::Anything
            || raw::check_functions_in_node(node, Some(is_wanted), wanted)
            || raw::expression_tree_walker(node, visit, wanted)
    }
}

/// Plain frame.
unsafe extern "C-unwind" fn is_wanted(function: pg_sys::Oid, wanted: *mut c_void) -> bool {
    // SAFETY: a look-up in the system cache; `wanted` is what the walk began with.
    unsafe {
        let is_own = function.to_u32() >= pg_sys::FirstNormalObjectId;
        (is_own || *wanted.cast::<Wanted>() == Wanted::Anything) && !raw::get_func_leakproof(function)
    }
}
