//! What the chains that were read come to: a verdict for each organization.

use super::cursor::connected;
use super::installation::Known;
use super::link::{Chain, NO_ORGANIZATION, Organization, hex};
use super::reader::{self, Read};
use super::uuid_text;
use crate::context::value;
use crate::error::{Absent, Error};
use crate::{pg, spi};
use pgrx::pg_sys;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A verdict for the organization asked for, or for each. A role that row security holds has its own organization's alone.
pub fn verify(org: Option<Organization>) -> Result<Vec<Value>, Error> {
    if !reads_all() {
        match (org, value::current()) {
            (None, None) => return Err(Error::NoContext { table: None, why: Absent::Unset }),
            (asked, own) if asked != own => return Err(Error::ForeignChain),
            _ => {}
        }
    }
    let verdicts = || connected(|| verdicts(org.as_ref()).into_values().collect());
    Ok(pg::as_superuser(|| spi::with_one_snapshot(verdicts)))
}

fn reads_all() -> bool {
    // SAFETY: syscache look-ups.
    unsafe { pg_sys::has_bypassrls_privilege(pg_sys::GetUserId()) }
}

/// Inside [`connected`].
pub fn verdicts(organization: Option<&Organization>) -> BTreeMap<Organization, Value> {
    let mut chains: BTreeMap<Organization, Vec<(Chain, Read)>> = BTreeMap::new();
    // One that has nothing on record yet has a verdict as well.
    if let Some(organization) = organization {
        chains.insert(*organization, Vec::new());
    }
    for (chain, read) in reader::read(organization, &Known::load()) {
        chains.entry(chain.organization).or_default().push((chain, read));
    }
    chains.into_iter().map(|(organization, chains)| (organization, verdict(&organization, &chains))).collect()
}

/// Of the chains of all installations, the oldest first: the first problem, else the first cut that nobody has recorded, or the
/// head of the last.
fn verdict(organization: &Organization, chains: &[(Chain, Read)]) -> Value {
    let problem = chains.iter().find_map(|(chain, read)| Some((chain, read.problem.as_ref()?)));
    let found = problem.or_else(|| chains.iter().find_map(|(chain, read)| Some((chain, read.cut.as_ref()?))));
    let head = chains.iter().rev().find(|(_, read)| read.head.number > 0);
    let problem = found.map(|(_, problem)| problem);
    let sum = |of: fn(&Read) -> i64| chains.iter().map(|(_, read)| of(read)).sum::<i64>();
    json!({
        "organization_id": (*organization != NO_ORGANIZATION).then(|| uuid_text(organization)),
        "verdict": problem.map_or("ok", |p| p.what),
        "row_id": problem.and_then(|p| p.row_id),
        "sequence": problem.and_then(|p| p.sequence),
        "seal": problem.map_or(head.map(|(_, read)| read.head.number), |p| p.seal),
        "rows": sum(|read| read.rows),
        "seals": sum(|read| read.seals),
        "unsealed": sum(|read| read.unsealed),
        "digest": head.map(|(_, read)| hex(&read.head.digest)),
        "installation": found.map(|(chain, _)| chain).or(head.map(|(chain, _)| chain)).map(|c| c.installation),
    })
}
