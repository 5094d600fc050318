//! What PostgreSQL's own COPY FROM and its executor are made of, without pgrx's guard: see rule 2 and 3 of
//! [`crate::pg`]. Everything in this module's parent is called from plain frames.

use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_void};

// SAFETY: declared as in PostgreSQL's headers. What raises is called from plain frames, or through `boundary`.
unsafe extern "C-unwind" {
    pub fn palloc0(size: usize) -> *mut c_void;
    pub fn lappend(list: *mut pg_sys::List, item: *mut c_void) -> *mut pg_sys::List;
    pub fn bms_is_member(x: c_int, set: *const pg_sys::Bitmapset) -> bool;
    pub fn bms_next_member(set: *const pg_sys::Bitmapset, previous: c_int) -> c_int;
    pub fn bms_add_member(set: *mut pg_sys::Bitmapset, x: c_int) -> *mut pg_sys::Bitmapset;
    pub fn bms_add_range(set: *mut pg_sys::Bitmapset, lower: c_int, upper: c_int) -> *mut pg_sys::Bitmapset;
    pub fn MemoryContextReset(context: pg_sys::MemoryContext);
    pub fn ProcessInterrupts();
    pub fn IsInParallelMode() -> bool;
    pub fn RecoveryInProgress() -> bool;
    pub fn has_privs_of_role(member: pg_sys::Oid, role: pg_sys::Oid) -> bool;
    pub fn check_enable_rls(table: pg_sys::Oid, check_as: pg_sys::Oid, no_error: bool) -> c_int;
    pub fn get_namespace_name(schema: pg_sys::Oid) -> *mut c_char;
    pub fn table_openrv(relation: *const pg_sys::RangeVar, lock: c_int) -> pg_sys::Relation;
    pub fn table_close(relation: pg_sys::Relation, lock: c_int);
    pub fn CreateTupleDescCopy(description: pg_sys::TupleDesc) -> pg_sys::TupleDesc;
    pub fn defGetBoolean(option: *mut pg_sys::DefElem) -> bool;
    pub fn pgstat_progress_update_param(index: c_int, value: i64);

    pub fn makeRangeVar(schema: *mut c_char, name: *mut c_char, location: c_int) -> *mut pg_sys::RangeVar;
    pub fn makeString(text: *mut c_char) -> *mut pg_sys::String;
    pub fn make_parsestate(parent: *mut pg_sys::ParseState) -> *mut pg_sys::ParseState;
    pub fn addRangeTableEntryForRelation(
        state: *mut pg_sys::ParseState,
        relation: pg_sys::Relation,
        lock: c_int,
        alias: *mut pg_sys::Alias,
        inherits: bool,
        in_from: bool,
    ) -> *mut pg_sys::ParseNamespaceItem;
    pub fn addNSItemToQuery(
        state: *mut pg_sys::ParseState,
        item: *mut pg_sys::ParseNamespaceItem,
        to_join_list: bool,
        relation_visible: bool,
        columns_visible: bool,
    );
    pub fn transformExpr(
        state: *mut pg_sys::ParseState,
        expression: *mut pg_sys::Node,
        kind: pg_sys::ParseExprKind::Type,
    ) -> *mut pg_sys::Node;
    pub fn coerce_to_boolean(
        state: *mut pg_sys::ParseState,
        node: *mut pg_sys::Node,
        construct: *const c_char,
    ) -> *mut pg_sys::Node;
    pub fn assign_expr_collations(state: *mut pg_sys::ParseState, expression: *mut pg_sys::Node);
    pub fn pull_varattnos(node: *mut pg_sys::Node, varno: pg_sys::Index, columns: *mut *mut pg_sys::Bitmapset);
    pub fn eval_const_expressions(root: *mut pg_sys::PlannerInfo, node: *mut pg_sys::Node) -> *mut pg_sys::Node;
    pub fn canonicalize_qual(qual: *mut pg_sys::Expr, is_check: bool) -> *mut pg_sys::Expr;
    pub fn make_ands_implicit(clause: *mut pg_sys::Expr) -> *mut pg_sys::List;

    pub fn CopyGetAttnums(
        description: pg_sys::TupleDesc,
        relation: pg_sys::Relation,
        names: *mut pg_sys::List,
    ) -> *mut pg_sys::List;
    pub fn BeginCopyFrom(
        state: *mut pg_sys::ParseState,
        relation: pg_sys::Relation,
        filter: *mut pg_sys::Node,
        file: *const c_char,
        is_program: bool,
        callback: pg_sys::copy_data_source_cb,
        columns: *mut pg_sys::List,
        options: *mut pg_sys::List,
    ) -> pg_sys::CopyFromState;
    pub fn NextCopyFrom(
        state: pg_sys::CopyFromState,
        context: *mut pg_sys::ExprContext,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    ) -> bool;
    pub fn EndCopyFrom(state: pg_sys::CopyFromState);
    pub fn CopyFromErrorCallback(state: *mut c_void);

    pub fn create_queryEnv() -> *mut pg_sys::QueryEnvironment;
    pub fn register_ENR(environment: *mut pg_sys::QueryEnvironment, relation: pg_sys::EphemeralNamedRelation);
    pub fn get_ENR(environment: *mut pg_sys::QueryEnvironment, name: *const c_char) -> pg_sys::EphemeralNamedRelation;
    pub fn tuplestore_begin_heap(
        random_access: bool,
        across_transactions: bool,
        kilobytes: c_int,
    ) -> *mut pg_sys::Tuplestorestate;
    pub fn tuplestore_end(store: *mut pg_sys::Tuplestorestate);
    pub fn pg_analyze_and_rewrite_fixedparams(
        statement: *mut pg_sys::RawStmt,
        text: *const c_char,
        types: *const pg_sys::Oid,
        count: c_int,
        environment: *mut pg_sys::QueryEnvironment,
    ) -> *mut pg_sys::List;
    pub fn pg_plan_query(
        query: *mut pg_sys::Query,
        text: *const c_char,
        options: c_int,
        params: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
    pub fn CreateQueryDesc(
        plan: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        snapshot: pg_sys::Snapshot,
        crosscheck: pg_sys::Snapshot,
        dest: *mut pg_sys::DestReceiver,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        instrument: c_int,
    ) -> *mut pg_sys::QueryDesc;
    pub fn FreeQueryDesc(query: *mut pg_sys::QueryDesc);
    pub fn ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
    #[cfg(not(feature = "pg18"))]
    pub fn ExecutorRun(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64, once: bool);
    #[cfg(feature = "pg18")]
    pub fn ExecutorRun(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count: u64);
    pub fn ExecutorFinish(query: *mut pg_sys::QueryDesc);
    pub fn ExecutorEnd(query: *mut pg_sys::QueryDesc);
    pub fn ExecSetExecProcNode(node: *mut pg_sys::PlanState, function: pg_sys::ExecProcNodeMtd);
    pub fn ExecScan(
        node: *mut pg_sys::ScanState,
        next: pg_sys::ExecScanAccessMtd,
        recheck: pg_sys::ExecScanRecheckMtd,
    ) -> *mut pg_sys::TupleTableSlot;
    pub fn ExecInitQual(qual: *mut pg_sys::List, parent: *mut pg_sys::PlanState) -> *mut pg_sys::ExprState;
    pub fn ExecStoreVirtualTuple(slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot;
}

/// makeNode() of nodes.h.
pub unsafe fn node<T>(tag: pg_sys::NodeTag) -> *mut T {
    // SAFETY: as many zero bytes as the node has; its tag comes first.
    unsafe {
        let node = palloc0(size_of::<T>()).cast::<pg_sys::Node>();
        (*node).type_ = tag;
        node.cast()
    }
}
