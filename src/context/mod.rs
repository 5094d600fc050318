//! The organization of this transaction.
//!
//! `value` keeps it (check and assign hook), `available` knows whether it may be used, `lifetime` ends it (transaction
//! callback, plain SET), `break_glass` holds one over the transactions of a session until `glass_end`, `seal` keeps it
//! from being changed, `functions` is what SQL
//! sees of it.

pub mod available;
pub mod break_glass;
pub mod functions;
pub mod glass_end;
pub mod lifetime;
pub mod seal;
pub mod value;

pub fn init() {
    available::init();
    lifetime::init();
    break_glass::init();
    glass_end::init();
}
