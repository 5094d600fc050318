//! The twins that are more than another name of the original.

use crate::pg::raw;
use crate::pg_finfo;
use pgrx::pg_sys;

/// Whether a pattern of LIKE does not end in an escape character that escapes nothing. In no server encoding is a backslash
/// part of another character.
pub fn is_whole(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next().is_none() {
            return false;
        }
    }
    true
}

/// Exports a twin. Somebody may call it himself, with what [`super::twin`] would not have replaced: that is false, not an error.
///
/// Plain frame: nothing of ours is left undone when PostgreSQL raises.
macro_rules! text_twin {
    ($name:ident, $original:ident) => {
        pg_finfo!($name);
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: called with two texts, as the original is.
            unsafe { if may_run(call) { raw::$original(call) } else { pg_sys::Datum::from(false) } }
        }
    };
}

text_twin!(orgscope_leakproof_textlike, textlike);
text_twin!(orgscope_leakproof_texticlike, texticlike);

#[inline]
unsafe fn may_run(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: fn_extra is ours, NULL at first; the second argument of a strict function is a text, which a detoasted copy
    // outlives for the call.
    unsafe {
        let flinfo = (*call).flinfo;
        if (*flinfo).fn_extra.is_null() {
            if !is_deterministic((*call).fncollation) {
                return false;
            }
            (*flinfo).fn_extra = flinfo.cast();
        }
        let pattern = raw::pg_detoast_datum_packed((*call).args.as_slice(2)[1].value.cast_mut_ptr());
        is_whole(pgrx::varlena::varlena_to_byte_slice(pattern))
    }
}

/// LIKE raises where it is not, or where there is none.
pub fn is_deterministic(collation: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in a cache of this backend's.
    collation != pg_sys::InvalidOid && unsafe { pg_sys::get_collation_isdeterministic(collation) }
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn a_pattern_that_ends_in_its_escape_is_not_whole() {
        for whole in ["", "a", "%x%", r"a\\", r"\%", r"\\\\"] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for cut in [r"\", r"a\", r"\\\", r"é\"] {
            assert!(!is_whole(cut.as_bytes()), "{cut}");
        }
    }
}
