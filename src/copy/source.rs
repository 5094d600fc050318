//! The rows that COPY reads, as a node of the INSERT's plan: it takes the place of the scan of the named relation.

use super::insert::{Insert, SOURCE};
use super::triggers::Triggers;
use super::{raw, skipped};
use crate::error::Error;
use crate::pg::entry;
use pgrx::pg_sys;
use std::ffi::c_int;
use std::ptr::null_mut;

/// What COPY begins with.
#[derive(Clone, Copy)]
pub struct Begin {
    pub state: *mut pg_sys::ParseState,
    pub table: pg_sys::Relation,
    pub copy: *mut pg_sys::CopyStmt,
}

pub struct Source {
    begin: Begin,
    /// Of the statement.
    memory: pg_sys::MemoryContext,
    /// NULL until the first row is asked for.
    copy: pg_sys::CopyFromState,
    table: pg_sys::Oid,
    /// COPY's WHERE, NULL without one.
    filter: *mut pg_sys::ExprState,
    excluded: i64,
    triggers: Triggers,
    callback: pg_sys::ErrorContextCallback,
}

impl Source {
    /// Plain frame. It lives in the statement's memory, as long as the query.
    pub unsafe fn open(insert: &Insert, query: *mut pg_sys::QueryDesc, begin: Begin) -> *mut Self {
        // SAFETY: a started query.
        unsafe {
            let source = raw::palloc0(size_of::<Self>()).cast::<Self>();
            let scan = scan_in((*query).planstate);
            (*source).begin = begin;
            (*source).memory = pg_sys::CurrentMemoryContext;
            (*source).table = (*begin.table).rd_id;
            (*source).filter = raw::ExecInitQual(insert.filter, scan);
            (&raw mut (*source).triggers).write(entry(|| Ok(Triggers::of((*query).planstate.cast(), begin.table))));
            let relation = raw::get_ENR((*(*query).estate).es_queryEnv, SOURCE.as_ptr());
            (*relation).reldata = source.cast();
            raw::ExecSetExecProcNode(scan, Some(next));
            source
        }
    }

    pub fn copy(&self) -> pg_sys::CopyFromState {
        self.copy
    }

    /// Plain frame. When the first row is asked for, triggers on the statement have let it pass: what they refuse is
    /// refused before the client is asked for rows, and not while it sends them.
    ///
    /// From then on errors name the line, as COPY's do.
    unsafe fn begin(&mut self) {
        // SAFETY: as DoCopy; the callback is taken back at the end of the rows, and an error resets the stack.
        unsafe {
            let Begin { state, table, copy } = self.begin;
            let (file, is_program) = ((*copy).filename, (*copy).is_program);
            let (columns, options) = ((*copy).attlist, (*copy).options);
            let before = switch_to(self.memory);
            self.copy = raw::BeginCopyFrom(state, table, null_mut(), file, is_program, None, columns, options);
            switch_to(before);
            self.callback.callback = Some(raw::CopyFromErrorCallback);
            self.callback.arg = self.copy.cast();
            self.callback.previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = &raw mut self.callback;
        }
    }
}

/// Plain frame. The scan below what writes.
unsafe fn scan_in(plan: *mut pg_sys::PlanState) -> *mut pg_sys::PlanState {
    // SAFETY: a tree of nodes.
    unsafe {
        let mut node = plan;
        while !node.is_null() && (*node).type_ != pg_sys::NodeTag::T_NamedTuplestoreScanState {
            node = (*node).lefttree;
        }
        if node.is_null() {
            entry(|| Err::<(), _>(Error::Internal { what: "COPY has no source".into() }));
        }
        node
    }
}

/// Plain frame. The node's next row, with what the plan computes of it.
unsafe extern "C-unwind" fn next(node: *mut pg_sys::PlanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor's node, of this type.
    unsafe { raw::ExecScan(node.cast(), Some(fetch), Some(recheck)) }
}

unsafe extern "C-unwind" fn recheck(_: *mut pg_sys::ScanState, _: *mut pg_sys::TupleTableSlot) -> bool {
    true
}

/// Plain frame. The loop of CopyFrom up to its WHERE.
unsafe extern "C-unwind" fn fetch(node: *mut pg_sys::ScanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the executor's node and slot, which has the table's columns.
    unsafe {
        let (state, context, slot) = ((*node).ps.state, (*node).ps.ps_ExprContext, (*node).ss_ScanTupleSlot);
        let source = &mut *(*raw::get_ENR((*state).es_queryEnv, SOURCE.as_ptr())).reldata.cast::<Source>();
        if source.copy.is_null() {
            source.begin();
        }
        raw::pgstat_progress_update_param(WRITTEN, (*state).es_processed as i64);
        loop {
            if pg_sys::InterruptPending != 0 {
                raw::ProcessInterrupts();
            }
            if let Some(clear) = (*(*slot).tts_ops).clear {
                clear(slot);
            }
            raw::MemoryContextReset((*context).ecxt_per_tuple_memory);
            let before = switch_to((*context).ecxt_per_tuple_memory);
            let is_row = raw::NextCopyFrom(source.copy, context, (*slot).tts_values, (*slot).tts_isnull);
            switch_to(before);
            if !is_row {
                pg_sys::error_context_stack = source.callback.previous;
                return slot;
            }
            if skipped::is(source.copy) {
                continue;
            }
            raw::ExecStoreVirtualTuple(slot);
            (*slot).tts_tableOid = source.table;
            if passes(source.filter, context, slot) {
                source.triggers.spare((*slot).tts_values, (*slot).tts_isnull);
                return slot;
            }
            source.excluded += 1;
            raw::pgstat_progress_update_param(EXCLUDED, source.excluded);
        }
    }
}

const WRITTEN: c_int = pg_sys::PROGRESS_COPY_TUPLES_PROCESSED as c_int;
const EXCLUDED: c_int = pg_sys::PROGRESS_COPY_TUPLES_EXCLUDED as c_int;

/// Plain frame. ExecQual of executor.h.
unsafe fn passes(
    filter: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
    slot: *mut pg_sys::TupleTableSlot,
) -> bool {
    if filter.is_null() {
        return true;
    }
    // SAFETY: evaluated in the memory of the row, as a condition is.
    unsafe {
        let Some(evaluate) = (*filter).evalfunc else { return true };
        (*context).ecxt_scantuple = slot;
        let mut is_null = false;
        let before = switch_to((*context).ecxt_per_tuple_memory);
        let value = evaluate(filter, context, &raw mut is_null);
        switch_to(before);
        value.value() != 0
    }
}

/// MemoryContextSwitchTo of palloc.h.
unsafe fn switch_to(context: pg_sys::MemoryContext) -> pg_sys::MemoryContext {
    // SAFETY: a plain global.
    unsafe {
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = context;
        before
    }
}
