//! Old rows go by whole seals, from the oldest on. What is left begins at a checkpoint, the last purged seal's digest, and
//! an audit row per chain says what went, who did it, and whether the chain was whole before: a purge must not wash away
//! the traces of a change.

use super::cursor::{Cursor, connected};
use super::link::{Chain, Organization};
use super::{list, seal, uuid_text, verify};
use crate::audit::event::client_statement;
use crate::audit::{immutable, partitions, writes::note_own};
use crate::context;
use crate::error::{Error, TableName};
use crate::settings::{self, REASON};
use crate::spi::View;
use crate::{pg, spi};
use pgrx::pg_sys;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Chains whose oldest seal has only rows from before the time.
const OLD: &str = "SELECT s.chain, s.installation FROM orgscope.audit_seal s \
     WHERE s.number OPERATOR(pg_catalog.=) (SELECT pg_catalog.min(f.number) FROM orgscope.audit_seal f \
             WHERE f.chain OPERATOR(pg_catalog.=) s.chain AND f.installation OPERATOR(pg_catalog.=) s.installation) \
       AND s.last_at OPERATOR(pg_catalog.<) $1::pg_catalog.timestamptz ORDER BY 1, 2";

const PURGE: &str = include_str!("purge.sql");

/// Returns how many rows were deleted.
pub fn purge(before: &str) -> Result<i64, Error> {
    // SAFETY: this backend's own identity.
    let (login, role) = unsafe { (pg_sys::GetAuthenticatedUserId(), pg_sys::GetUserId()) };
    let (login, role, statement) = (pg::role_name(login), pg::role_name(role), client_statement());
    let (actor, reason) = (context::actor(), settings::text(&REASON));
    // What is not sealed would stay; what is sealed now has its anchor in the log before it goes.
    seal::seal()?;
    pg::as_superuser(|| {
        // What was found to be whole is what goes.
        let deleted = spi::with_one_snapshot(|| {
            connected(|| {
                let chains = old_chains(before);
                let verdicts = verdicts(&chains).to_string();
                let names = list(chains.iter().map(|c| uuid_text(&c.organization)));
                let installations = list(chains.iter().map(|c| c.installation));
                let args = [
                    Some(before),
                    Some(names.as_str()),
                    Some(verdicts.as_str()),
                    actor.as_deref(),
                    login.as_deref(),
                    role.as_deref(),
                    statement.as_deref(),
                    reason.as_deref(),
                    Some(installations.as_str()),
                ];
                let done = immutable::lifted(|| pg::with_pinned_search_path(|| spi::query_within(PURGE, &args)));
                let (deleted, recorded, changed) = counts(&done.unwrap_or_default());
                if changed > 0 {
                    let table = TableName { schema: "orgscope".into(), table: "audit_log".into(), column: None };
                    let detail = "What was to be purged was changed after it had been verified.";
                    return Err(Error::ChangedMeanwhile { table: table.into(), detail });
                }
                note_own("lifecycle", recorded);
                Ok(deleted)
            })
        })?;
        partitions::drop_emptied(before);
        Ok(deleted)
    })
}

/// Rows deleted, records of it, and what should have gone and was changed meanwhile.
fn counts(done: &str) -> (i64, u64, u64) {
    let mut numbers = done.split(' ').map(|n| n.parse().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next() as i64, next(), next())
}

/// One for each chain. Reading all chains at once costs less than reading one after the other.
fn verdicts(chains: &[Chain]) -> Value {
    let organizations: BTreeSet<Organization> = chains.iter().map(|c| c.organization).collect();
    let one = organizations.first().filter(|_| organizations.len() == 1);
    let verdicts = if chains.is_empty() { BTreeMap::new() } else { verify::verdicts(one) };
    chains.iter().map(|chain| verdicts.get(&chain.organization).cloned()).collect()
}

fn old_chains(before: &str) -> Vec<Chain> {
    let mut cursor = Cursor::open(OLD, &[Some(before)], View::Statement);
    let mut chains = Vec::new();
    while let Some(row) = cursor.next() {
        chains.push(Chain { organization: row.uuid(0), installation: row.int8(1) });
    }
    cursor.close();
    chains
}
