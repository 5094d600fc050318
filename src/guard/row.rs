//! Row triggers. `fill` runs first, `guard` last among the BEFORE triggers, `last_word` after the row is written, where
//! no trigger of the application can change it any more.

use crate::audit::writes;
use crate::context::value::{absence, current, ready, use_current};
use crate::error::{Error, Foreign};
use crate::guard::{began, is_apply_worker, observe, table_name};
use crate::pg_function;
use crate::trigger::{Event, Shape, Trigger};

pg_function! {
    /// BEFORE ROW, first: ORMs send NULL for a column they do not know.
    fn orgscope_fill(call) {
        let t = Trigger::of(call, "fill", Shape::BeforeRow)?;
        if t.new_org()?.is_some() || is_apply_worker() {
            return Ok(Some(t.row()));
        }
        let org = match t.event() {
            Event::Update => t.old_org()?,
            _ => current(),
        };
        Ok(Some(match org {
            Some(org) => t.with_org(org)?,
            None => t.row(),
        }))
    }
}

pg_function! {
    /// BEFORE ROW, last.
    fn orgscope_guard(call) {
        let t = Trigger::of(call, "guard", Shape::BeforeRow)?;
        if !t.observes() {
            judge(&t)?;
        }
        Ok(Some(t.row()))
    }
}

pg_function! {
    /// AFTER ROW: a foreign row is refused whatever a trigger made of it, and a row written outside row security is
    /// counted for the audit log.
    fn orgscope_last_word(call) {
        let t = Trigger::of(call, "last_word", Shape::AfterRow)?;
        if t.observes() {
            observe::row(&t)?;
        } else {
            judge(&t)?;
        }
        count(&t)?;
        Ok(Some(t.row()))
    }
}

/// The rules for one row, for every role alike: a context admits only its own rows, and without a context only a role
/// outside row security may write. Logical replication has no context: the publisher has checked.
fn judge(t: &Trigger) -> Result<(), Error> {
    let (old, new) = (t.old_org()?, t.new_org()?);
    let event = t.event();
    if is_apply_worker() {
        return Ok(());
    }
    if event == Event::Update && new.is_some() && old != new {
        return Err(wrong(t, Foreign::Move));
    }
    let org = match ready() {
        None => use_current()?,
        org => org,
    };
    match org {
        Some(org) if new.or(old).is_some_and(|row| row != org) => Err(wrong(
            t,
            match event {
                Event::Insert => Foreign::Insert,
                Event::Update => Foreign::Update,
                Event::Delete => Foreign::Delete,
                Event::Truncate => Foreign::Truncate,
            },
        )),
        Some(_) => Ok(()),
        // Without a context there is nothing to fill a NULL with, so that is refused to every role.
        None if new.or(old).is_some() && t.bypasses_row_security()? => Ok(()),
        None => Err(Error::NoContext { table: Some(table_name(t.table(), t.column())), why: absence() }),
    }
}

fn wrong(t: &Trigger, what: Foreign) -> Error {
    Error::WrongOrganization { table: table_name(t.table(), t.column()), what }
}

/// Referential-integrity actions under a context belong to the statement that caused them and stay inside its
/// organization; without one they are an administrator's, and on record.
fn count(t: &Trigger) -> Result<(), Error> {
    if !t.bypasses_row_security()? || is_apply_worker() {
        return Ok(());
    }
    if !(current().is_some() && began::only_by_integrity(t.table())) {
        writes::count(t.table(), t.event(), t.new_org()?.or(t.old_org()?));
    }
    Ok(())
}
