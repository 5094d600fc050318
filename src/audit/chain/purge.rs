//! Old rows go by whole seals, from the oldest on. What is left begins at a checkpoint, the last purged seal's digest, and
//! an audit row per chain says what went, who did it, and whether the chain was whole before: a purge must not wash away
//! the traces of a change.

use super::cursor::{Cursor, View, connected};
use super::{link::Chain, list, seal, uuid_text, verify};
use crate::audit::immutable;
use crate::error::Error;
use crate::settings::{self, ACTOR, REASON};
use crate::{pg, spi};
use pgrx::pg_sys;
use serde_json::Value;

/// Chains whose oldest seal has only rows from before the time.
const OLD: &str = "SELECT s.chain FROM orgscope.audit_seal s \
     WHERE s.number OPERATOR(pg_catalog.=) (SELECT pg_catalog.min(f.number) FROM orgscope.audit_seal f WHERE f.chain OPERATOR(pg_catalog.=) s.chain) \
       AND s.last_at OPERATOR(pg_catalog.<) $1::pg_catalog.timestamptz ORDER BY 1";

const PURGE: &str = include_str!("purge.sql");

/// Returns how many rows were deleted.
pub fn purge(before: &str) -> Result<i64, Error> {
    // SAFETY: look-ups of this backend's own identity; debug_query_string is NULL outside a client's statement.
    let (login, role, statement) = unsafe {
        (
            pg::role_name(pg_sys::GetAuthenticatedUserId()),
            pg::role_name(pg_sys::GetUserId()),
            pg::text_of(pg_sys::debug_query_string),
        )
    };
    let (actor, reason) = (settings::text(&ACTOR), settings::text(&REASON));
    // What is not sealed would stay; what is sealed now has its anchor in the log before it goes.
    seal::seal()?;
    Ok(pg::as_superuser(|| {
        connected(|| {
            let chains = old_chains(before);
            let verdicts = Value::from_iter(chains.iter().map(verify::verdict_now)).to_string();
            let names = list(chains.iter().map(uuid_text));
            crate::audit::writes::advance();
            crate::audit::writes::note_own("lifecycle", chains.len() as u64);
            let args = [
                Some(before),
                Some(names.as_str()),
                Some(verdicts.as_str()),
                actor.as_deref(),
                login.as_deref(),
                role.as_deref(),
                statement.as_deref(),
                reason.as_deref(),
            ];
            let deleted = immutable::lifted(|| pg::with_pinned_search_path(|| spi::query(PURGE, &args)));
            deleted.and_then(|n| n.parse().ok()).unwrap_or_default()
        })
    }))
}

fn old_chains(before: &str) -> Vec<Chain> {
    let mut cursor = Cursor::open(OLD, &[Some(before)], View::Latest);
    let mut chains = Vec::new();
    while let Some(row) = cursor.next() {
        chains.push(row.uuid(0));
    }
    cursor.close();
    chains
}
