//! The restrictive floor once more, added by the library whenever row security of a scoped table is applied: out of reach
//! of ALTER POLICY and DROP POLICY. Where the policy is in place PostgreSQL finds the two equal and plans one.
//!
//! A table is recognized by its guard, which its relation descriptor holds: no catalog is read for any other table.

use crate::audit::registry::guard_of;
use crate::pg::{entry, pstrdup};
use crate::policy::FLOOR;
use pgrx::pg_sys;
use std::ffi::c_char;

static mut NEXT: pg_sys::row_security_policy_hook_type = None;

/// The operator `=` of uuid, as pg_operator.dat numbers it.
const UUID_EQUAL: u32 = 2972;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called too.
    unsafe {
        NEXT = pg_sys::row_security_policy_hook_restrictive;
        pg_sys::row_security_policy_hook_restrictive = Some(restrictive);
    }
}

/// Plain frame, called for relations with row security only.
unsafe extern "C-unwind" fn restrictive(
    command: pg_sys::CmdType::Type,
    relation: pg_sys::Relation,
) -> *mut pg_sys::List {
    // SAFETY: the arguments are PostgreSQL's and passed on as they came.
    unsafe {
        let others = NEXT.map_or(std::ptr::null_mut(), |next| next(command, relation));
        match guarded_column(relation) {
            Some(column) => entry(|| Ok(floor(relation, column).map_or(others, |f| pg_sys::lappend(others, f.cast())))),
            None => others,
        }
    }
}

/// The argument of the trigger that has our guard's name. Whose function it calls is asked later.
unsafe fn guarded_column(relation: pg_sys::Relation) -> Option<(pg_sys::Oid, *const c_char)> {
    // SAFETY: the descriptor of an open relation.
    unsafe { guard_of(relation).map(|t| (t.tgfoid, (*t.tgargs).cast_const())) }
}

/// None if the trigger is somebody else's, or the column is not there.
unsafe fn floor(
    relation: pg_sys::Relation,
    (function, column): (pg_sys::Oid, *const c_char),
) -> Option<*mut pg_sys::RowSecurityPolicy> {
    // SAFETY: syscache look-ups by oid and name, with missing_ok; all nodes are palloc'd.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"orgscope".as_ptr(), true);
        let attribute = pg_sys::get_attnum((*relation).rd_id, column);
        if schema == pg_sys::InvalidOid || pg_sys::get_func_namespace(function) != schema || attribute <= 0 {
            return None;
        }
        let type_oid = pg_sys::get_atttype((*relation).rd_id, attribute);
        let require_org = require_org(schema);
        if type_oid != pg_sys::UUIDOID || require_org == pg_sys::InvalidOid {
            return None;
        }
        let qual = predicate(attribute, require_org);
        let policy = pg_sys::palloc0(size_of::<pg_sys::RowSecurityPolicy>()).cast::<pg_sys::RowSecurityPolicy>();
        (*policy).policy_name = pstrdup(FLOOR.name);
        (*policy).polcmd = b'*' as c_char;
        (*policy).roles = everybody();
        (*policy).qual = qual;
        (*policy).with_check_qual = pg_sys::copyObjectImpl(qual.cast()).cast();
        Some(policy)
    }
}

/// The function that a policy of ours calls.
pub unsafe fn require_org(schema: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a syscache look-up by name, no arguments, and schema: InvalidOid when there is none.
    unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as i16,
            c"require_org".as_ptr().into(),
            pg_sys::Datum::from(pg_sys::buildoidvector(std::ptr::null(), 0)),
            schema.into(),
            pg_sys::Datum::null(),
        )
    }
}

/// `column = orgscope.require_org()`, as the parser makes it of the policy.
unsafe fn predicate(attribute: i16, require_org: pg_sys::Oid) -> *mut pg_sys::Expr {
    const NONE: pg_sys::Oid = pg_sys::InvalidOid;
    // SAFETY: node constructors; a policy's relation is number 1.
    unsafe {
        let column = pg_sys::makeVar(1, attribute, pg_sys::UUIDOID, -1, NONE, 0);
        let form = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
        let call = pg_sys::makeFuncExpr(require_org, pg_sys::UUIDOID, std::ptr::null_mut(), NONE, NONE, form);
        let equal =
            pg_sys::make_opclause(UUID_EQUAL.into(), pg_sys::BOOLOID, false, column.cast(), call.cast(), NONE, NONE);
        (*equal.cast::<pg_sys::OpExpr>()).opfuncid = pg_sys::F_UUID_EQ.into();
        equal
    }
}

/// Roles of a policy TO PUBLIC.
unsafe fn everybody() -> *mut pg_sys::ArrayType {
    let mut public = pg_sys::Datum::from(0u32);
    // SAFETY: an array of one oid.
    unsafe { pg_sys::construct_array(&raw mut public, 1, pg_sys::OIDOID, 4, true, b'i' as c_char) }
}
