//! The organization of this transaction.
//!
//! `value` keeps it (check and assign hook), `available` knows whether it may be used, `lifetime` ends it (transaction
//! callback, plain SET), `break_glass` holds one over the transactions of a session until `glass_end`, `seal` keeps it
//! from being changed, `handed_on` is what parallel workers have of it, `token` takes one that is signed, and `signed` is what the others know of that; `functions` is what
//! SQL sees of it.

pub mod available;
pub mod break_glass;
pub mod functions;
pub mod glass_end;
pub mod handed_on;
pub mod lifetime;
pub mod seal;
pub mod signed;
pub mod token;
pub mod value;

pub fn init() {
    available::init();
    lifetime::init();
    break_glass::init();
    glass_end::init();
    token::init();
}

/// The application's user, as the token in force says or `orgscope.actor`.
pub fn actor() -> Option<String> {
    token::actor::actor().or_else(|| crate::settings::text(&crate::settings::ACTOR))
}
