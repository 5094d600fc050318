//! The twins. Each is its original under another name, where it stands in the place of it: as the function of one of
//! PostgreSQL's own operators, which only [`super::twin`] makes it. To whoever calls it himself, or makes an operator of it,
//! it answers false, whatever the arguments.

use crate::pg::raw;
use crate::pg_finfo;
use pgrx::pg_sys;

/// Exports twins. Plain frames: nothing of ours is left undone when PostgreSQL raises.
macro_rules! twins {
    ($($name:ident, $original:ident;)*) => {$(
        pg_finfo!($name);
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: called with what the original is called with.
            unsafe { if stands_in(call) { raw::$original(call) } else { pg_sys::Datum::from(false) } }
        }
    )*};
}

twins! {
    orgscope_leakproof_textlike, textlike;
    orgscope_leakproof_texticlike, texticlike;
    orgscope_leakproof_ts_match_vq, ts_match_vq;
    orgscope_leakproof_ts_match_qv, ts_match_qv;
    orgscope_leakproof_jsonb_contains, jsonb_contains;
    orgscope_leakproof_jsonb_contained, jsonb_contained;
    orgscope_leakproof_jsonb_exists, jsonb_exists;
    orgscope_leakproof_jsonb_exists_any, jsonb_exists_any;
    orgscope_leakproof_jsonb_exists_all, jsonb_exists_all;
    orgscope_leakproof_arrayoverlap, arrayoverlap;
    orgscope_leakproof_arraycontains, arraycontains;
    orgscope_leakproof_arraycontained, arraycontained;
}

#[inline]
unsafe fn stands_in(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: the expression that the call is for, or NULL; the cast follows the node's tag. Operators of PostgreSQL's own
    // have numbers below those that are given out later.
    unsafe {
        let expression = (*(*call).flinfo).fn_expr;
        !expression.is_null()
            && (*expression).type_ == pg_sys::NodeTag::T_OpExpr
            && (*expression.cast::<pg_sys::OpExpr>()).opno.to_u32() < pg_sys::FirstNormalObjectId
    }
}

/// LIKE raises where it is not, or where there is none.
pub fn is_deterministic(collation: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in a cache of this backend's.
    collation != pg_sys::InvalidOid && unsafe { pg_sys::get_collation_isdeterministic(collation) }
}
