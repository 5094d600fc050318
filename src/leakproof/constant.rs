//! What the rows are compared with, where it is known before the first of them: literals, parameters of a plan made for
//! their values, and immutable functions of these. And how deep PostgreSQL goes to compare with it: a row decides how far.

use crate::pg::{boundary, raw};
use pgrx::pg_sys;
use std::ffi::CStr;

/// Of `%` in a pattern, each of which LIKE goes one deeper at.
const MOST_WILDCARDS: usize = 64;
/// Of words and operators in a query for text.
const MOST_ITEMS: i32 = 256;
/// Of objects and arrays in each other.
const DEEPEST: usize = 64;

/// Returns what an argument comes to, if that is known and harmless. It has to take the argument's place: PostgreSQL would
/// ask an immutable function once more, and one that is not what it claims to be has another answer then.
pub type Judge = unsafe fn(*mut pg_sys::Node, pg_sys::ParamListInfo) -> Option<*mut pg_sys::Const>;

/// A pattern of LIKE.
pub unsafe fn pattern(node: *mut pg_sys::Node, params: pg_sys::ParamListInfo) -> Option<*mut pg_sys::Const> {
    // SAFETY: a constant of this type is a varlena that text_to_cstring reads.
    unsafe {
        value(node, params, pg_sys::TEXTOID).filter(|text| {
            let text = pg_sys::text_to_cstring((**text).constvalue.cast_mut_ptr());
            is_whole(CStr::from_ptr(text).to_bytes())
        })
    }
}

/// A tsquery: after the varlena's header, the number of its items.
pub unsafe fn query(node: *mut pg_sys::Node, params: pg_sys::ParamListInfo) -> Option<*mut pg_sys::Const> {
    // SAFETY: TSQueryData of ts_type.h; a detoasted copy is aligned.
    unsafe {
        value(node, params, pg_sys::TSQUERYOID).filter(|query| {
            let query = pg_sys::pg_detoast_datum((**query).constvalue.cast_mut_ptr()).cast::<i32>();
            *query.add(1) <= MOST_ITEMS
        })
    }
}

/// A jsonb.
pub unsafe fn document(node: *mut pg_sys::Node, params: pg_sys::ParamListInfo) -> Option<*mut pg_sys::Const> {
    // SAFETY: a constant of this type, whose output function returns C text.
    unsafe {
        value(node, params, pg_sys::JSONBOID).filter(|document| {
            let value = (**document).constvalue;
            let text = boundary(|| raw::OidOutputFunctionCall(pg_sys::F_JSONB_OUT.into(), value));
            depth(CStr::from_ptr(text).to_bytes()) <= DEEPEST
        })
    }
}

unsafe fn value(
    node: *mut pg_sys::Node,
    params: pg_sys::ParamListInfo,
    wanted: pg_sys::Oid,
) -> Option<*mut pg_sys::Const> {
    // SAFETY: folding asks nothing of a planner's state but the parameters. It may run a user's function.
    unsafe {
        if pg_sys::exprType(node) != wanted {
            return None;
        }
        let global = pg_sys::palloc0(size_of::<pg_sys::PlannerGlobal>()).cast::<pg_sys::PlannerGlobal>();
        (*global).type_ = pg_sys::NodeTag::T_PlannerGlobal;
        (*global).boundParams = params;
        let root = pg_sys::palloc0(size_of::<pg_sys::PlannerInfo>()).cast::<pg_sys::PlannerInfo>();
        (*root).type_ = pg_sys::NodeTag::T_PlannerInfo;
        (*root).glob = global;
        let folded = boundary(|| raw::eval_const_expressions(root, node));
        // A function put in line would have to be noted in the plan, which is made anew when it is replaced.
        if (*folded).type_ != pg_sys::NodeTag::T_Const || !(*global).invalItems.is_null() {
            return None;
        }
        let value = folded.cast::<pg_sys::Const>();
        (!(*value).constisnull && (*value).consttype == wanted).then_some(value)
    }
}

/// Whether a pattern does not end in an escape character that escapes nothing, for which LIKE raises once a row comes that
/// far. In no server encoding is a backslash part of another character.
fn is_whole(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next().is_none() {
            return false;
        }
    }
    pattern.iter().filter(|byte| **byte == b'%').count() <= MOST_WILDCARDS
}

/// Of JSON as PostgreSQL prints it.
fn depth(document: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0usize, 0, false);
    let mut bytes = document.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_ends_in_its_escape_or_goes_deep_is_not_replaced() {
        for whole in ["", "a", "%x%", r"a\\", r"\%", r"\\\\", &"%".repeat(MOST_WILDCARDS)] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for cut in [r"\", r"a\", r"\\\", r"é\", &"%a".repeat(MOST_WILDCARDS + 1)] {
            assert!(!is_whole(cut.as_bytes()), "{cut}");
        }
    }

    #[test]
    fn the_depth_of_a_document() {
        for (document, expected) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a": [1, {"b": {}}], "c": []}"#, 4),
            (r#"["[[[", "\"[["]"#, 1),
            (r#"["\\", []]"#, 2),
        ] {
            assert_eq!(depth(document.as_bytes()), expected, "{document}");
        }
    }
}
