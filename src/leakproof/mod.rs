//! Indexes for LIKE, full text, jsonb and arrays under row security.
//!
//! PostgreSQL gives a row to a function only when the policies have let it through, unless the function is LEAKPROOF: one
//! that raises an error for some values would tell of rows that the policy hides. An index is no use then, since it is
//! asked before the policy. The functions behind these operators are not marked so, though what makes some of them raise can
//! be seen before the first row: a pattern that ends in its escape character (`constant`), and a stack that is nearly used
//! up (`stack`).
//!
//! So, with `orgscope.leakproof_operators` on, the planner is given their twins (sql/install/35_leakproof.sql): the same
//! functions, marked LEAKPROOF, in place of the originals, in queries under row security and nowhere else. The operator
//! stays the same, by which indexes are found. Nothing of PostgreSQL's own catalog is changed.

mod bitmap;
mod constant;
mod estimates;
mod order;
mod stack;
mod twins;

use crate::guard::ddl::nodes;
use crate::guard::explain;
use crate::pg::{boundary, entry, raw};
use crate::settings::LEAKPROOF_OPERATORS;
use pgrx::pg_sys;
use std::ffi::{CStr, c_char, c_int, c_void};

/// What has to hold of a call before its function may be replaced.
#[derive(Clone, Copy, PartialEq)]
enum Condition {
    /// It raises nothing, whatever its arguments.
    None,
    /// LIKE: the pattern is known, whole and not deep, and the collation deterministic.
    Pattern,
    /// The query is known and not deep.
    Query,
    /// One of the documents is.
    Document,
    /// Arrays: their elements have no collation, or a deterministic one.
    Elements,
}

/// PostgreSQL's functions with the names of their twins. Array functions have one for each type of elements that compares
/// without raising.
const TWINS: [(u32, &CStr, Condition); 12] = [
    (pg_sys::F_TEXTLIKE, c"leakproof_textlike", Condition::Pattern),
    (pg_sys::F_TEXTICLIKE, c"leakproof_texticlike", Condition::Pattern),
    (pg_sys::F_TS_MATCH_VQ, c"leakproof_ts_match_vq", Condition::Query),
    (pg_sys::F_TS_MATCH_QV, c"leakproof_ts_match_qv", Condition::Query),
    (pg_sys::F_JSONB_CONTAINS, c"leakproof_jsonb_contains", Condition::Document),
    (pg_sys::F_JSONB_CONTAINED, c"leakproof_jsonb_contained", Condition::Document),
    (pg_sys::F_JSONB_EXISTS, c"leakproof_jsonb_exists", Condition::None),
    (pg_sys::F_JSONB_EXISTS_ANY, c"leakproof_jsonb_exists_any", Condition::None),
    (pg_sys::F_JSONB_EXISTS_ALL, c"leakproof_jsonb_exists_all", Condition::None),
    (pg_sys::F_ARRAYOVERLAP, c"leakproof_arrayoverlap", Condition::Elements),
    (pg_sys::F_ARRAYCONTAINS, c"leakproof_arraycontains", Condition::Elements),
    (pg_sys::F_ARRAYCONTAINED, c"leakproof_arraycontained", Condition::Elements),
];

static mut NEXT_PLANNER: pg_sys::planner_hook_type = None;
static mut NEXT_RELATION: pg_sys::get_relation_info_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the ones found are called too.
    unsafe {
        NEXT_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(planner);
        NEXT_RELATION = pg_sys::get_relation_info_hook;
        pg_sys::get_relation_info_hook = Some(relation_info);
    }
    estimates::init();
    order::init();
}

/// Plain frame: two compares for a query that is not concerned.
unsafe extern "C-unwind" fn planner(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the arguments are PostgreSQL's and passed on as they came. The planner may change the tree it is given.
    unsafe {
        let prepared = if concerns(query) { entry(|| Ok(prepare(query, params))) } else { Prepared::default() };
        // Planning may run a function that plans queries of its own. An error leaves what the next plan sets anew.
        let outside = estimates::open(prepared.open);
        let mut plan = next_planner(query, text, options, params);
        if !prepared.original.is_null() && entry(|| Ok(stack::is_deep(&*plan))) {
            estimates::open(false);
            plan = next_planner(prepared.original, text, options, params);
        }
        estimates::open(outside);
        explain::keep_to_itself();
        plan
    }
}

/// Plain frame.
unsafe fn next_planner(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the planner's own arguments.
    unsafe {
        match NEXT_PLANNER {
            Some(next) => next(query, text, options, params),
            None => standard_planner(query, text, options, params),
        }
    }
}

/// What is known of a statement before it is planned.
#[derive(Clone, Copy)]
struct Prepared {
    /// Whether its operators may look into statistics.
    open: bool,
    /// The statement without twins, or NULL when it has none.
    original: *mut pg_sys::Query,
}

impl Default for Prepared {
    fn default() -> Self {
        Self { open: false, original: std::ptr::null_mut() }
    }
}

unsafe fn prepare(query: *mut pg_sys::Query, params: pg_sys::ParamListInfo) -> Prepared {
    // SAFETY: a query tree of the planner's.
    unsafe {
        let walk = walk(query.cast(), false);
        let has_some = walk.found.iter().any(|call| original(&**call).is_some());
        let original = if has_some { pg_sys::copyObjectImpl(query.cast()).cast() } else { std::ptr::null_mut() };
        replace(&walk.found, params);
        Prepared { open: estimates::may_be_shown(&walk.queries), original }
    }
}

/// Plain frame. The predicate of a partial index is compared with the query's conditions, and so has to look like them.
unsafe extern "C-unwind" fn relation_info(
    root: *mut pg_sys::PlannerInfo,
    table: pg_sys::Oid,
    parent: bool,
    relation: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: the arguments are PostgreSQL's; what it has read of the indexes is this plan's own copy.
    unsafe {
        if let Some(next) = NEXT_RELATION {
            next(root, table, parent, relation);
        }
        if concerns((*root).parse) {
            entry(|| {
                nodes::<pg_sys::IndexOptInfo>((*relation).indexlist)
                    .filter(|index| !(**index).indpred.is_null())
                    .for_each(|index| replace(&walk((*index).indpred.cast(), true).found, std::ptr::null_mut()));
                Ok(())
            });
        }
    }
}

// SAFETY: declared as in optimizer/planner.h; called from a plain frame.
unsafe extern "C-unwind" {
    fn standard_planner(
        query: *mut pg_sys::Query,
        text: *const c_char,
        options: c_int,
        params: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
}

unsafe fn concerns(query: *mut pg_sys::Query) -> bool {
    // SAFETY: a query tree of the planner's; the rewriter passes the flag on from a part to the whole.
    unsafe { (*query).hasRowSecurity && LEAKPROOF_OPERATORS.get() && stack::has_room() }
}

/// What is in the conditions below a node, and the queries among it.
unsafe fn walk(node: *mut pg_sys::Node, in_conditions: bool) -> Walk {
    let mut walk = Walk { found: Vec::new(), queries: Vec::new(), in_conditions };
    // SAFETY: the walker only reads; of Rust's, frames without destructors stand between it and the boundary.
    boundary(|| unsafe { visit(node, (&raw mut walk).cast()) });
    walk
}

/// Replaces what can be.
unsafe fn replace(found: &[*mut pg_sys::OpExpr], params: pg_sys::ParamListInfo) {
    for call in found {
        // SAFETY: nodes of the tree, found just now.
        unsafe {
            if let Some(twin) = twin(&mut **call, params) {
                (**call).opfuncid = twin;
                stack::watch(twin);
            }
        }
    }
}

struct Walk {
    found: Vec<*mut pg_sys::OpExpr>,
    queries: Vec<*mut pg_sys::Query>,
    /// Only WHERE and ON decide on indexes; elsewhere a function would not be recognized as the same, by ON CONFLICT for one.
    in_conditions: bool,
}

/// Plain frame, called by PostgreSQL's walker for each node.
unsafe extern "C-unwind" fn visit(node: *mut pg_sys::Node, walk: *mut c_void) -> bool {
    // SAFETY: each cast follows the node's tag; `walk` is what the walk began with.
    unsafe {
        if node.is_null() {
            return false;
        }
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => return visit_query(node.cast(), walk),
            pg_sys::NodeTag::T_OpExpr if (*walk.cast::<Walk>()).in_conditions => {
                (*walk.cast::<Walk>()).found.push(node.cast());
            }
            _ => {}
        }
        raw::expression_tree_walker(node, visit, walk)
    }
}

/// Plain frame.
unsafe fn visit_query(query: *mut pg_sys::Query, walk: *mut c_void) -> bool {
    // SAFETY: a query's lists have the nodes that their names say.
    unsafe {
        (*walk.cast::<Walk>()).queries.push(query);
        let outside = (*walk.cast::<Walk>()).in_conditions;
        (*walk.cast::<Walk>()).in_conditions = (*query).hasRowSecurity;
        visit((*query).jointree.cast(), walk);
        (*walk.cast::<Walk>()).in_conditions = false;
        // Sub-selects in what is returned; sub-selects in FROM; WITH.
        visit((*query).targetList.cast(), walk);
        nodes::<pg_sys::RangeTblEntry>((*query).rtable).for_each(|entry| {
            visit((*entry).subquery.cast(), walk);
        });
        nodes::<pg_sys::CommonTableExpr>((*query).cteList).for_each(|with| {
            visit((*with).ctequery, walk);
        });
        (*walk.cast::<Walk>()).in_conditions = outside;
        false
    }
}

/// The line of an operator's function.
fn original(call: &pg_sys::OpExpr) -> Option<&'static (u32, &'static CStr, Condition)> {
    TWINS.iter().find(|(function, ..)| call.opfuncid == pg_sys::Oid::from(*function))
}

/// The function that may take the place of an operator's. What an argument was judged by is then the argument.
unsafe fn twin(call: &mut pg_sys::OpExpr, params: pg_sys::ParamListInfo) -> Option<pg_sys::Oid> {
    let (_, name, condition) = original(call)?;
    let [left, right] = nodes::<pg_sys::Node>(call.args).collect::<Vec<_>>()[..] else { return None };
    // SAFETY: look-ups in the system caches; arguments of an operator of two.
    unsafe {
        let types = [pg_sys::exprType(left), pg_sys::exprType(right)];
        let has_collation = || twins::is_deterministic(call.inputcollid);
        let either = |judge: constant::Judge| {
            judge(left, params).map(|value| (0, value)).or_else(|| judge(right, params).map(|value| (1, value)))
        };
        let known = match condition {
            Condition::None => None,
            Condition::Elements if pg_sys::get_typcollation(types[0]) == pg_sys::InvalidOid || has_collation() => None,
            Condition::Elements => return None,
            Condition::Pattern if has_collation() => Some((1, constant::pattern(right, params)?)),
            Condition::Pattern => return None,
            Condition::Query => Some(either(constant::query)?),
            Condition::Document => Some(either(constant::document)?),
        };
        let found = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as c_int,
            pg_sys::Anum_pg_proc_oid as i16,
            name.as_ptr().into(),
            pg_sys::Datum::from(pg_sys::buildoidvector(types.as_ptr(), 2)),
            pg_sys::get_namespace_oid(c"orgscope".as_ptr(), true).into(),
            pg_sys::Datum::null(),
        );
        if found == pg_sys::InvalidOid {
            return None;
        }
        if let Some((argument, value)) = known {
            (*(*call.args).elements.add(argument)).ptr_value = value.cast();
        }
        Some(found)
    }
}
