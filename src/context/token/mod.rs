//! The context as a signed token: whoever can send SQL can set a setting, but not sign.
//!
//! `fault` says why a token is refused. `jwks` (keys), `claims` (what a token says) and `verify` (that it is true) know
//! nothing of PostgreSQL. `setting` is the setting that takes a token, `judge` what it is judged by, `actor` whom it names,
//! `force` ends it in time, `used` remembers tokens that may be used once, `shared` where. `redact` keeps tokens and keys out of the server's log and out of audit rows.

pub mod actor;
pub mod claims;
pub mod fault;
pub mod force;
pub mod judge;
pub mod jwks;
pub mod redact;
pub mod setting;
pub mod shared;
#[cfg(test)]
mod tests;
pub mod used;
pub mod verify;

pub use fault::Fault;

pub fn init() {
    redact::init();
    shared::init();
}
