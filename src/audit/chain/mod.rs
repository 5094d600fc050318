//! Tamper evidence: a hash chain over the audit rows of each organization. `seal` extends the chains, `verify` reads them
//! back and names the first row that is not what it was, `purge` shortens them at the old end, `anchor` puts digests
//! where the database's superuser may have no hand. What is evident is not prevented: docs/audit.md says what is out of
//! reach.

mod anchor;
mod canonical;
mod cursor;
mod gaps;
mod installation;
mod link;
mod purge;
mod reader;
mod seal;
mod verify;

pub use seal::{seal, seal_unless_busy};

use crate::error::Error;
use crate::pg::text_datum;
use crate::pg_function;
use crate::trigger::{Shape, Trigger};
use link::Organization;
use pgrx::pg_sys;
use uuid::Uuid;

pub fn init() {
    anchor::init();
}

pg_function! {
    /// BEFORE INSERT STATEMENT on orgscope.audit_log: a transaction is numbered before it takes an id from the sequence.
    /// By its number the sealer knows that the transactions which may hold a missing id are over.
    fn orgscope_audit_numbered(call) {
        Trigger::of(call, "audit_numbered", Shape::BeforeStatement)?;
        // SAFETY: inside a transaction; one that cannot have a number cannot insert either.
        unsafe { pg_sys::GetTopTransactionId() };
        Ok(Some(pg_sys::Datum::null()))
    }
}

pg_function! {
    /// orgscope.seal_audit() → bigint
    fn orgscope_seal_audit(_call) {
        superuser("seal_audit")?;
        Ok(Some(pg_sys::Datum::from(seal()? as i64)))
    }
}

pg_function! {
    /// orgscope.run_verify_audit(org uuid) → text, a JSON array of verdicts
    fn orgscope_run_verify_audit(call) {
        let verdicts = verify::verify(call.uuid(0))?;
        Ok(Some(text_datum(&serde_json::Value::from(verdicts).to_string())))
    }
}

pg_function! {
    /// orgscope.purge_audit_log(before timestamptz) → bigint
    fn orgscope_purge_audit_log(call) {
        superuser("purge_audit_log")?;
        match call.timestamptz(0) {
            Some(before) => Ok(Some(pg_sys::Datum::from(purge::purge(&before)?))),
            None => Ok(Some(pg_sys::Datum::from(0_i64))),
        }
    }
}

pub fn superuser(function: &'static str) -> Result<(), Error> {
    // SAFETY: a syscache look-up.
    if unsafe { pg_sys::superuser() } { Ok(()) } else { Err(Error::NotSuperuser { function }) }
}

/// An array in PostgreSQL's text form. Elements that need quotes bring them.
fn list<T: ToString>(elements: impl Iterator<Item = T>) -> String {
    let elements: Vec<String> = elements.map(|e| e.to_string()).collect();
    format!("{{{}}}", elements.join(","))
}

fn uuid_text(organization: &Organization) -> String {
    Uuid::from_bytes(*organization).to_string()
}
