//! The organization of this transaction.
//!
//! `value` keeps it (check and assign hook), `lifetime` ends it (transaction callback, plain SET), `functions` is what
//! SQL sees of it.

pub mod functions;
pub mod lifetime;
pub mod value;

pub fn init() {
    lifetime::init();
}
