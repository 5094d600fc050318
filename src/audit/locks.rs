//! LOCK TABLE of a scoped table for a role that row security does not hold: it shows nothing, and can keep everybody else
//! from the table.

use super::detect::{is_ours, is_outside};
use super::event::Event;
use super::queue;
use super::writes::qualified;
use crate::error::Error;
use crate::guard::ddl::{extension_is_there, nodes, table_of};
use crate::guard::table_name;
use crate::scope::is_being_scoped;
use crate::settings::{AUDIT_READS, BYPASS, Bypass};
use crate::{pg, spi};
use pgrx::pg_sys;

/// Before the statement, which may be refused.
pub fn check(statement: &pg_sys::LockStmt) -> Result<(), Error> {
    if BYPASS.get() == Bypass::Deny
        && let Some((table, _)) = locked(statement).first()
    {
        return Err(Error::BypassDenied { table: table_name(*table, None) });
    }
    Ok(())
}

/// After it: a lock that was not got is none.
pub fn record(statement: &pg_sys::LockStmt) {
    if !AUDIT_READS.get() {
        return;
    }
    // SAFETY: reads a plain global.
    let current = unsafe { pg_sys::GetUserId() };
    for (table, role) in locked(statement) {
        let mut detail = serde_json::json!({ "mode": mode(statement.mode) });
        if role != current {
            detail["checked_as"] = pg::role_name(role).into();
        }
        let event = Event::now("bypass_read", Some(qualified(table)), Some("LOCK"));
        queue::push(&Event { detail: Some(detail), ..event }, None);
    }
}

/// Scoped tables outside row security, and as which role each is locked.
fn locked(statement: &pg_sys::LockStmt) -> Vec<(pg_sys::Oid, pg_sys::Oid)> {
    let mut locked = Vec::new();
    if is_ours() || !extension_is_there() {
        return locked;
    }
    for name in nodes::<pg_sys::RangeVar>(statement.relations) {
        // SAFETY: the parser's node, and a catalog look-up.
        let (descends, kind) = unsafe { ((*name).inh, table_of(name).map(|t| (t, pg_sys::get_rel_relkind(t) as u8))) };
        // Whose table a view reads does not matter; who owns the view does.
        if let Some((table, kind)) = kind
            && (kind == pg_sys::RELKIND_VIEW || is_outside(pg_sys::InvalidOid))
        {
            locked.extend(scoped_below(table, descends));
        }
    }
    locked.sort_unstable_by_key(|(table, role)| (table.to_u32(), role.to_u32()));
    locked.dedup();
    locked.retain(|(table, role)| is_outside(*role) && !is_being_scoped(*table));
    locked
}

fn scoped_below(table: pg_sys::Oid, descends: bool) -> Vec<(pg_sys::Oid, pg_sys::Oid)> {
    // SAFETY: reads a plain global.
    let current = unsafe { pg_sys::GetUserId() }.to_u32().to_string();
    let args = [Some(&*table.to_u32().to_string()), Some(if descends { "true" } else { "false" }), Some(&*current)];
    let found = pg::as_superuser(|| spi::look(include_str!("locks.sql"), &args));
    let lines = found.iter().flat_map(|lines| lines.lines()).filter_map(|line| line.split_once(' '));
    let oid = |text: &str| text.parse::<u32>().ok().map(pg_sys::Oid::from);
    lines.filter_map(|(table, role)| oid(table).zip(oid(role))).collect()
}

fn mode(mode: i32) -> &'static str {
    const MODES: [&str; 8] = [
        "ACCESS SHARE",
        "ROW SHARE",
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ];
    usize::try_from(mode - 1).ok().and_then(|i| MODES.get(i)).copied().unwrap_or_default()
}
