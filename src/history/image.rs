//! A row as jsonb.

use crate::pg::{as_role, boundary, raw};
use crate::pg_function;

pg_function! {
    /// `orgscope.row_image(changed record, owner oid) → jsonb`: to_jsonb(), which calls a type's own cast to json, as the
    /// table's owner. The statement around it is the superuser's, and anybody may make such a cast for a type of theirs.
    fn orgscope_row_image(call) {
        let Some(owner) = call.oid(1) else { return Ok(None) };
        // SAFETY: to_jsonb() looks at the first argument and its declared type, which it finds with this very call.
        Ok(Some(as_role(owner, || boundary(|| unsafe { raw::to_jsonb(call.0) }))))
    }
}
