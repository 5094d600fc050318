//! The INSERT that writes what COPY reads.

use super::{ROW_EXCLUSIVE, raw};
use crate::error::Error;
use crate::pg::{entry, raw as pg_raw};
use pgrx::pg_sys;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::{null, null_mut};

/// The name under which the INSERT reads.
pub const SOURCE: &CStr = c"orgscope_copy";

#[derive(Clone, Copy)]
pub struct Insert {
    query: *mut pg_sys::Query,
    environment: *mut pg_sys::QueryEnvironment,
    /// PostgreSQL's scan of a named relation wants one that is there. Always empty.
    nothing: *mut pg_sys::Tuplestorestate,
    /// COPY's WHERE as a list, NULL without one.
    pub filter: *mut pg_sys::List,
}

impl Insert {
    /// Plain frame.
    pub unsafe fn prepare(
        statement: *mut pg_sys::PlannedStmt,
        state: *mut pg_sys::ParseState,
        table: pg_sys::Relation,
    ) -> Self {
        // SAFETY: the nodes are made as the parser makes them, and the query has one result relation.
        unsafe {
            let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
            let item = raw::addRangeTableEntryForRelation(state, table, ROW_EXCLUSIVE, null_mut(), false, false);
            (*rights_of(item)).requiredPerms = pg_sys::ACL_INSERT as _;
            let filter = filter(state, item, table, (*copy).whereClause);
            let mut listed = null_mut();
            for column in columns(raw::CopyGetAttnums((*table).rd_att, table, (*copy).attlist)) {
                listed = raw::bms_add_member(listed, column - pg_sys::FirstLowInvalidHeapAttributeNumber);
            }
            let (environment, nothing) = environment(table);
            let parsed = raw::node::<pg_sys::RawStmt>(pg_sys::NodeTag::T_RawStmt);
            (*parsed).stmt = parse_tree(table).cast();
            (*parsed).stmt_location = (*statement).stmt_location;
            (*parsed).stmt_len = (*statement).stmt_len;
            let text = (*state).p_sourcetext;
            let queries = raw::pg_analyze_and_rewrite_fixedparams(parsed, text, null(), 0, environment);
            let query = (*(*queries).elements).ptr_value.cast::<pg_sys::Query>();
            // The privileges are COPY's: for the columns that it lists, and those that its WHERE reads.
            let (needed, has) = (rights_of(item), rights_in(query));
            (*has).requiredPerms = (*needed).requiredPerms;
            (*has).selectedCols = (*needed).selectedCols;
            (*has).insertedCols = listed;
            Self { query, environment, nothing, filter }
        }
    }

    /// Plain frame. Plans it and checks privileges, with a snapshot of its own as the active one.
    pub unsafe fn start(&self, text: *const c_char) -> *mut pg_sys::QueryDesc {
        // SAFETY: as BeginCopyTo.
        unsafe {
            let plan = raw::pg_plan_query(self.query, text, 0, null_mut());
            pg_raw::PushCopiedSnapshot(pg_raw::GetActiveSnapshot());
            pg_raw::UpdateActiveSnapshotCommandId();
            let snapshot = pg_raw::GetActiveSnapshot();
            let nowhere = pg_sys::None_Receiver;
            let query =
                raw::CreateQueryDesc(plan, text, snapshot, null_mut(), nowhere, null_mut(), self.environment, 0);
            raw::ExecutorStart(query, 0);
            query
        }
    }

    /// Plain frame.
    pub unsafe fn end(&self) {
        // SAFETY: the executor that knew it is gone.
        unsafe { raw::tuplestore_end(self.nothing) }
    }
}

#[cfg(feature = "pg15")]
type Rights = pg_sys::RangeTblEntry;
#[cfg(not(feature = "pg15"))]
type Rights = pg_sys::RTEPermissionInfo;

unsafe fn rights_of(item: *mut pg_sys::ParseNamespaceItem) -> *mut Rights {
    // SAFETY: the item is the parser's.
    unsafe {
        #[cfg(feature = "pg15")]
        return (*item).p_rte;
        #[cfg(not(feature = "pg15"))]
        return (*item).p_perminfo;
    }
}

/// What the query needs on the table that it writes.
unsafe fn rights_in(query: *mut pg_sys::Query) -> *mut Rights {
    // SAFETY: both lists count from one.
    unsafe {
        let target = (*query).resultRelation as usize - 1;
        let entry = (*(*(*query).rtable).elements.add(target)).ptr_value.cast::<pg_sys::RangeTblEntry>();
        #[cfg(feature = "pg15")]
        return entry;
        #[cfg(not(feature = "pg15"))]
        return (*(*(*query).rteperminfos).elements.add((*entry).perminfoindex as usize - 1)).ptr_value.cast();
    }
}

/// Plain frame. COPY's WHERE on a row of the table, as DoCopy makes it.
unsafe fn filter(
    state: *mut pg_sys::ParseState,
    item: *mut pg_sys::ParseNamespaceItem,
    table: pg_sys::Relation,
    clause: *mut pg_sys::Node,
) -> *mut pg_sys::List {
    if clause.is_null() {
        return null_mut();
    }
    // SAFETY: the same calls in the same order.
    unsafe {
        raw::addNSItemToQuery(state, item, false, true, true);
        let clause = raw::transformExpr(state, clause, pg_sys::ParseExprKind::EXPR_KIND_COPY_WHERE);
        let clause = raw::coerce_to_boolean(state, clause, c"WHERE".as_ptr());
        raw::assign_expr_collations(state, clause);
        let generated = generated_column(table, clause);
        if !generated.is_null() {
            let column = CStr::from_ptr(generated);
            entry(|| Err::<(), _>(Error::CopyWhereGenerated { column: column.to_string_lossy().into_owned() }));
        }
        let clause = raw::eval_const_expressions(null_mut(), clause);
        raw::make_ands_implicit(raw::canonicalize_qual(clause.cast(), false))
    }
}

/// Plain frame. The first generated column that the clause reads, which has no value yet; NULL without one.
unsafe fn generated_column(table: pg_sys::Relation, clause: *mut pg_sys::Node) -> *const c_char {
    const OFFSET: c_int = pg_sys::FirstLowInvalidHeapAttributeNumber;
    // SAFETY: the columns of an open table; the table is the clause's only relation.
    unsafe {
        let mut read = null_mut();
        raw::pull_varattnos(clause, 1, &raw mut read);
        if raw::bms_is_member(-OFFSET, read) {
            read = raw::bms_add_range(read, 1 - OFFSET, c_int::from((*(*table).rd_rel).relnatts) - OFFSET);
        }
        let mut member = raw::bms_next_member(read, -OFFSET);
        while member >= 0 {
            let column = attribute(table, member + OFFSET);
            if (*column).attgenerated != 0 {
                return (*column).attname.data.as_ptr();
            }
            member = raw::bms_next_member(read, member);
        }
        null()
    }
}

pub unsafe fn attribute(table: pg_sys::Relation, number: c_int) -> *mut pg_sys::FormData_pg_attribute {
    // SAFETY: numbers count from one, to as many as the descriptor has.
    unsafe { tuple_attribute((*table).rd_att, number as usize - 1) }
}

#[cfg(not(feature = "pg18"))]
unsafe fn tuple_attribute(description: pg_sys::TupleDesc, i: usize) -> *mut pg_sys::FormData_pg_attribute {
    // SAFETY: see attribute().
    unsafe { (*description).attrs.as_mut_ptr().add(i) }
}

/// The attributes stand behind their compact forms.
#[cfg(feature = "pg18")]
unsafe fn tuple_attribute(description: pg_sys::TupleDesc, i: usize) -> *mut pg_sys::FormData_pg_attribute {
    // SAFETY: TupleDescAttrAddress of tupdesc.h.
    unsafe {
        let compact = (*description).compact_attrs.as_mut_ptr().add((*description).natts as usize);
        compact.cast::<pg_sys::FormData_pg_attribute>().add(i)
    }
}

unsafe fn columns(list: *mut pg_sys::List) -> impl Iterator<Item = c_int> {
    // SAFETY: a list of integers.
    let length = if list.is_null() { 0 } else { unsafe { (*list).length as usize } };
    // SAFETY: as above.
    (0..length).map(move |i| unsafe { (*(*list).elements.add(i)).int_value })
}

/// Plain frame. The named relation that the source stands in for, with the table's columns.
unsafe fn environment(table: pg_sys::Relation) -> (*mut pg_sys::QueryEnvironment, *mut pg_sys::Tuplestorestate) {
    // SAFETY: a description of its own, and memory that outlives the statement.
    unsafe {
        let environment = raw::create_queryEnv();
        let nothing = raw::tuplestore_begin_heap(false, false, pg_sys::work_mem);
        let relation =
            raw::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>()).cast::<pg_sys::EphemeralNamedRelationData>();
        (*relation).md.name = SOURCE.as_ptr().cast_mut();
        (*relation).md.tupdesc = raw::CreateTupleDescCopy((*table).rd_att);
        (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
        (*relation).reldata = nothing.cast();
        raw::register_ENR(environment, relation);
        (environment, nothing)
    }
}

/// Plain frame. COPY has evaluated the defaults of the columns it was not given: the INSERT names all columns. It writes
/// identity columns as COPY does, whatever they are generated as.
unsafe fn parse_tree(table: pg_sys::Relation) -> *mut pg_sys::InsertStmt {
    // SAFETY: names of an open table, which outlive the statement.
    unsafe {
        let (mut into, mut from) = (null_mut(), null_mut());
        let source = SOURCE.as_ptr().cast_mut();
        for number in 1..=c_int::from((*(*table).rd_rel).relnatts) {
            let column = attribute(table, number);
            if (*column).attisdropped || (*column).attgenerated != 0 {
                continue;
            }
            let name = (*column).attname.data.as_mut_ptr();
            let value = raw::node::<pg_sys::ColumnRef>(pg_sys::NodeTag::T_ColumnRef);
            let qualified = raw::lappend(null_mut(), raw::makeString(source).cast());
            (*value).fields = raw::lappend(qualified, raw::makeString(name).cast());
            into = raw::lappend(into, target(name, null_mut()).cast());
            from = raw::lappend(from, target(null_mut(), value.cast()).cast());
        }
        let select = raw::node::<pg_sys::SelectStmt>(pg_sys::NodeTag::T_SelectStmt);
        (*select).targetList = from;
        (*select).fromClause = raw::lappend(null_mut(), raw::makeRangeVar(null_mut(), source, -1).cast());
        let insert = raw::node::<pg_sys::InsertStmt>(pg_sys::NodeTag::T_InsertStmt);
        let name = (*(*table).rd_rel).relname.data.as_mut_ptr();
        (*insert).relation = raw::makeRangeVar(raw::get_namespace_name((*(*table).rd_rel).relnamespace), name, -1);
        (*insert).cols = into;
        (*insert).selectStmt = select.cast();
        (*insert).override_ = pg_sys::OverridingKind::OVERRIDING_SYSTEM_VALUE;
        insert
    }
}

/// Plain frame.
unsafe fn target(name: *mut c_char, value: *mut pg_sys::Node) -> *mut pg_sys::ResTarget {
    // SAFETY: a node of this type.
    unsafe {
        let target = raw::node::<pg_sys::ResTarget>(pg_sys::NodeTag::T_ResTarget);
        (*target).name = name;
        (*target).val = value;
        (*target).location = -1;
        target
    }
}
