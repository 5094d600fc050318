//! C functions called without pgrx's guard: see rule 2 and 3 of [`super`].

use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_void};

// SAFETY: declared as in PostgreSQL's headers. What raises is called from plain frames, or through `boundary`.
unsafe extern "C-unwind" {
    pub fn errstart(level: c_int, domain: *const c_char) -> bool;
    pub fn errcode(sqlstate: c_int) -> c_int;
    pub fn errmsg(format: *const c_char, ...) -> c_int;
    pub fn errdetail(format: *const c_char, ...) -> c_int;
    pub fn geterrcode() -> c_int;
    pub fn errhint(format: *const c_char, ...) -> c_int;
    pub fn err_generic_string(field: c_int, value: *const c_char) -> c_int;
    pub fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
    pub fn ReThrowError(error: *mut pg_sys::ErrorData);
    pub fn DirectFunctionCall1Coll(
        function: pg_sys::PGFunction,
        collation: pg_sys::Oid,
        argument: pg_sys::Datum,
    ) -> pg_sys::Datum;
    pub fn pg_sleep(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn CommandCounterIncrement();
    pub fn try_table_open(table: pg_sys::Oid, lock: c_int) -> pg_sys::Relation;
    pub fn table_close(table: pg_sys::Relation, lock: c_int);
    pub fn RelationGetIndexList(table: pg_sys::Relation) -> *mut pg_sys::List;
    pub fn list_free(list: *mut pg_sys::List);
    pub fn ScanKeyInit(
        key: pg_sys::ScanKey,
        attribute: i16,
        strategy: u16,
        procedure: pg_sys::Oid,
        argument: pg_sys::Datum,
    );
    pub fn systable_beginscan(
        table: pg_sys::Relation,
        index: pg_sys::Oid,
        index_is_good: bool,
        snapshot: pg_sys::Snapshot,
        keys: c_int,
        key: pg_sys::ScanKey,
    ) -> pg_sys::SysScanDesc;
    pub fn GetCatalogSnapshot(table: pg_sys::Oid) -> pg_sys::Snapshot;
    pub fn RegisterSnapshot(snapshot: pg_sys::Snapshot) -> pg_sys::Snapshot;
    pub fn UnregisterSnapshot(snapshot: pg_sys::Snapshot);
    pub fn systable_getnext(scan: pg_sys::SysScanDesc) -> pg_sys::HeapTuple;
    pub fn systable_endscan(scan: pg_sys::SysScanDesc);
    pub fn SPI_getbinval(
        row: pg_sys::HeapTuple,
        description: pg_sys::TupleDesc,
        attribute: c_int,
        is_null: *mut bool,
    ) -> pg_sys::Datum;
    pub fn SPI_getvalue(row: pg_sys::HeapTuple, description: pg_sys::TupleDesc, attribute: c_int) -> *mut c_char;
    pub fn MemoryContextAlloc(context: pg_sys::MemoryContext, size: usize) -> *mut u8;
    pub fn LockAcquire(
        tag: *const pg_sys::LOCKTAG,
        mode: c_int,
        session: bool,
        no_wait: bool,
    ) -> pg_sys::LockAcquireResult::Type;
    pub fn LockRelease(tag: *const pg_sys::LOCKTAG, mode: c_int, session: bool) -> bool;
    pub fn get_namespace_oid(name: *const c_char, missing_ok: bool) -> pg_sys::Oid;
    pub fn get_relname_relid(name: *const c_char, schema: pg_sys::Oid) -> pg_sys::Oid;
    pub fn LockRelationOid(table: pg_sys::Oid, mode: c_int);
    pub fn ConditionalLockRelationOid(table: pg_sys::Oid, mode: c_int) -> bool;
    pub fn get_partition_ancestors(table: pg_sys::Oid) -> *mut pg_sys::List;
    // Called for every statement, and raising nothing: pgrx's guard would cost more than they do.
    pub fn GetOuterUserId() -> pg_sys::Oid;
    pub fn GetUserId() -> pg_sys::Oid;
    pub fn InNoForceRLSOperation() -> bool;
    pub fn IsTransactionState() -> bool;
    pub fn superuser() -> bool;
    pub fn IsLogicalWorker() -> bool;
    pub fn RecoveryInProgress() -> bool;
    pub fn GetCurrentCommandId(used: bool) -> pg_sys::CommandId;
    pub fn AbortOutOfAnyTransaction();
    pub fn PreventCommandIfReadOnly(command: *const c_char);
    pub fn SPI_connect() -> c_int;
    pub fn SPI_connect_ext(options: c_int) -> c_int;
    pub fn SPI_commit();
    pub fn EnsurePortalSnapshotExists();
    pub fn SPI_finish() -> c_int;
    pub fn SPI_execute_snapshot(
        plan: pg_sys::SPIPlanPtr,
        values: *mut pg_sys::Datum,
        nulls: *const c_char,
        snapshot: pg_sys::Snapshot,
        crosscheck: pg_sys::Snapshot,
        read_only: bool,
        fire_triggers: bool,
        limit: std::ffi::c_long,
    ) -> c_int;
    pub fn GetLatestSnapshot() -> pg_sys::Snapshot;
    pub fn PushCopiedSnapshot(snapshot: pg_sys::Snapshot);
    pub fn UpdateActiveSnapshotCommandId();
    pub fn PopActiveSnapshot();
    pub fn GetActiveSnapshot() -> pg_sys::Snapshot;
    pub fn SPI_prepare_cursor(
        sql: *const c_char,
        nargs: c_int,
        types: *mut pg_sys::Oid,
        options: c_int,
    ) -> pg_sys::SPIPlanPtr;
    pub fn SPI_register_trigger_data(data: *mut pg_sys::TriggerData) -> c_int;
    pub fn SPI_keepplan(plan: pg_sys::SPIPlanPtr) -> c_int;
    pub fn SPI_execute_plan(
        plan: pg_sys::SPIPlanPtr,
        values: *mut pg_sys::Datum,
        nulls: *const c_char,
        read_only: bool,
        limit: std::ffi::c_long,
    ) -> c_int;
    pub fn to_jsonb(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn SPI_cursor_open_with_args(
        name: *const c_char,
        sql: *const c_char,
        nargs: c_int,
        types: *mut pg_sys::Oid,
        values: *mut pg_sys::Datum,
        nulls: *const c_char,
        read_only: bool,
        options: c_int,
    ) -> pg_sys::Portal;
    pub fn heap_deform_tuple(
        tuple: pg_sys::HeapTuple,
        description: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
    pub fn SPI_cursor_fetch(portal: pg_sys::Portal, forward: bool, count: std::ffi::c_long);
    pub fn SPI_cursor_close(portal: pg_sys::Portal);
    pub fn errhidestmt(hide: bool) -> c_int;
    pub fn errhidecontext(hide: bool) -> c_int;
    pub fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: pg_sys::GucContext::Type,
        source: pg_sys::GucSource::Type,
        action: pg_sys::GucAction::Type,
        change: bool,
        level: c_int,
        is_reload: bool,
    ) -> c_int;
    #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
    pub fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
    pub fn eval_const_expressions(root: *mut pg_sys::PlannerInfo, node: *mut pg_sys::Node) -> *mut pg_sys::Node;
    pub fn check_functions_in_node(
        node: *mut pg_sys::Node,
        checker: pg_sys::check_function_callback,
        context: *mut c_void,
    ) -> bool;
    pub fn get_func_leakproof(function: pg_sys::Oid) -> bool;
    pub fn add_path(relation: *mut pg_sys::RelOptInfo, path: *mut pg_sys::Path);
    pub fn create_seqscan_path(
        root: *mut pg_sys::PlannerInfo,
        relation: *mut pg_sys::RelOptInfo,
        required_outer: pg_sys::Relids,
        workers: c_int,
    ) -> *mut pg_sys::Path;
    pub fn create_bitmap_heap_path(
        root: *mut pg_sys::PlannerInfo,
        relation: *mut pg_sys::RelOptInfo,
        bitmap: *mut pg_sys::Path,
        required_outer: pg_sys::Relids,
        loops: f64,
        workers: c_int,
    ) -> *mut pg_sys::BitmapHeapPath;
    pub fn ReleaseSysCache(tuple: pg_sys::HeapTuple);
    pub fn textlike(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn texticlike(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn ts_match_vq(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn ts_match_qv(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn jsonb_contains(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn jsonb_contained(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn jsonb_exists(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn jsonb_exists_any(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn jsonb_exists_all(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn arrayoverlap(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn arraycontains(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn arraycontained(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    pub fn OidOutputFunctionCall(function: pg_sys::Oid, value: pg_sys::Datum) -> *mut c_char;
    pub fn assign_max_stack_depth(kilobytes: c_int, extra: *mut c_void);
    pub fn stack_is_too_deep() -> bool;
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}
// SAFETY: declared as in access/twophase.h; the postmaster sets it, and nobody later.
unsafe extern "C" {
    /// The setting max_prepared_transactions.
    pub static max_prepared_xacts: c_int;
}
// SAFETY: the C library's, declared as in stdlib.h.
#[cfg(feature = "pg15")]
unsafe extern "C" {
    pub fn malloc(size: usize) -> *mut c_void;
    pub fn free(memory: *mut c_void);
}
