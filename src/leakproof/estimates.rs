//! Statistics for queries under row security.
//!
//! PostgreSQL does not let an operator look at the values in its statistics there unless its function is LEAKPROOF, and asks
//! that of the operator, not of the twin in its place. Without statistics it takes every search for one that finds many rows.
//! So it is told that it may look, where no other function could: every function in the conditions of the whole statement is
//! LEAKPROOF, as it came and as it stands once SQL functions have been put in line.

use crate::guard::ddl::nodes;
use crate::pg::{Backend, WITH_SHOWS_STATISTICS, entry, raw};
use pgrx::pg_sys;
use std::ffi::c_int;

static mut NEXT: pg_sys::get_relation_stats_hook_type = None;

/// Whether the statement that is being planned has been found harmless.
static OPEN: Backend<bool> = Backend::new(false);

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called after ours.
    unsafe {
        NEXT = pg_sys::get_relation_stats_hook;
        pg_sys::get_relation_stats_hook = Some(relation_stats);
    }
}

/// Returns what held before.
pub fn open(open: bool) -> bool {
    OPEN.with(|o| std::mem::replace(o, open))
}

/// A condition in one query of a statement may be about a column of another.
pub unsafe fn may_be_shown(queries: &[*mut pg_sys::Query]) -> bool {
    // SAFETY: queries of the statement's. Where WITH shows its statistics to who reads it, that could be a function put in
    // line, which is not among them.
    !queries.iter().any(|query| unsafe { leaks(&**query) || WITH_SHOWS_STATISTICS && !(**query).cteList.is_null() })
}

/// Plain frame.
unsafe extern "C-unwind" fn relation_stats(
    root: *mut pg_sys::PlannerInfo,
    table: *mut pg_sys::RangeTblEntry,
    column: i16,
    found: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: the arguments are the planner's and passed on as they came.
    unsafe {
        if NEXT.is_some_and(|next| next(root, table, column, found)) {
            return true;
        }
        OPEN.with(|open| *open) && entry(|| Ok(provide(&*root, &*table, column, &mut *found)))
    }
}

unsafe fn provide(
    root: &pg_sys::PlannerInfo,
    table: &pg_sys::RangeTblEntry,
    column: i16,
    found: &mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: nodes of the planner's; a look-up in the system cache, which the planner gives back.
    unsafe {
        if table.rtekind != pg_sys::RTEKind::RTE_RELATION
            || table.securityQuals.is_null()
            || !may_read(table.relid, column)
            || levels(root).any(|query| leaks(&*query))
        {
            return false;
        }
        found.statsTuple = pg_sys::SearchSysCache3(
            pg_sys::SysCacheIdentifier::STATRELATTINH as c_int,
            table.relid.into(),
            column.into(),
            table.inh.into(),
        );
        found.freefunc = Some(raw::ReleaseSysCache);
        found.acl_ok = true;
    }
    true
}

/// A query, and those it is part of.
fn levels(root: &pg_sys::PlannerInfo) -> impl Iterator<Item = *mut pg_sys::Query> {
    // SAFETY: planner's states, each alive as long as those of its parts.
    std::iter::successors(Some(root), |root| unsafe { root.parent_root.as_ref() }).map(|root| root.parse)
}

/// Without that PostgreSQL shows nobody statistics.
unsafe fn may_read(table: pg_sys::Oid, column: i16) -> bool {
    // SAFETY: syscache look-ups; the table is locked.
    unsafe {
        let (user, right, ok) =
            (raw::GetUserId(), pg_sys::ACL_SELECT as pg_sys::AclMode, pg_sys::AclResult::ACLCHECK_OK);
        pg_sys::pg_class_aclcheck(table, user, right) == ok
            || pg_sys::pg_attribute_aclcheck(table, column, user, right) == ok
    }
}

/// Whether a function in the conditions of a query could tell what it is given.
unsafe fn leaks(query: &pg_sys::Query) -> bool {
    // SAFETY: nodes of the query's.
    unsafe { pg_sys::contain_leaked_vars(query.havingQual) || joins_leak(query.jointree.cast()) }
}

unsafe fn joins_leak(node: *mut pg_sys::Node) -> bool {
    // SAFETY: each cast follows the node's tag.
    unsafe {
        if node.is_null() {
            return false;
        }
        match (*node).type_ {
            pg_sys::NodeTag::T_FromExpr => {
                let from = &*node.cast::<pg_sys::FromExpr>();
                pg_sys::contain_leaked_vars(from.quals) || nodes(from.fromlist).any(|part| joins_leak(part))
            }
            pg_sys::NodeTag::T_JoinExpr => {
                let join = &*node.cast::<pg_sys::JoinExpr>();
                pg_sys::contain_leaked_vars(join.quals) || joins_leak(join.larg) || joins_leak(join.rarg)
            }
            pg_sys::NodeTag::T_RangeTblRef => false,
            _ => true,
        }
    }
}
