//! Sealing: every committed audit row gets its place in the chain of its organization, once, in the order in which it is
//! first seen. Rows are not touched; a seal lists them.

use super::canonical::{self, Canonical, Salt};
use super::cursor::{Cursor, connected};
use super::gaps;
use super::installation::Installation;
use super::link::{Chain, Head, Organization, Seal, hex};
use super::{anchor, list, uuid_text};
use crate::error::Error;
use crate::pg::{self, boundary, raw};
use crate::spi::{self, View};
use pgrx::pg_sys;
use std::collections::BTreeMap;

/// The rows of one pass: bounds memory, and the size of a seal.
const LATER: &str = "FROM orgscope.audit_log a WHERE a.id OPERATOR(pg_catalog.>) $1::pg_catalog.int8 \
     AND a.id OPERATOR(pg_catalog.<=) $2::pg_catalog.int8 ORDER BY a.id LIMIT 10000";

const IN_GAPS: &str = "FROM orgscope.audit_gap g CROSS JOIN LATERAL (\
     SELECT * FROM orgscope.audit_log l WHERE l.id OPERATOR(pg_catalog.>=) g.first_id AND l.id OPERATOR(pg_catalog.<=) g.last_id \
     ORDER BY l.id LIMIT 1000000) a \
     WHERE g.first_id OPERATOR(pg_catalog.>=) $1::pg_catalog.int8 AND g.last_id OPERATOR(pg_catalog.<=) $2::pg_catalog.int8 \
     ORDER BY a.id";

/// Rows of a pass that belong to one chain.
struct Group {
    salt: Salt,
    ids: Vec<i64>,
    digests: Vec<u8>,
    last_at: i64,
}

impl Group {
    fn new() -> Result<Self, Error> {
        let mut salt = Salt::default();
        // SAFETY: writes 16 bytes.
        if !unsafe { pg_sys::pg_strong_random(salt.as_mut_ptr().cast(), salt.len()) } {
            return Err(Error::Internal { what: "no random bytes for a seal".into() });
        }
        Ok(Self { salt, ids: Vec::new(), digests: Vec::new(), last_at: i64::MIN })
    }

    fn close(self, chain: Chain, head: Head) -> Seal {
        let mut seal = Seal {
            chain,
            number: head.number + 1,
            first_sequence: head.sequence + 1,
            row_count: self.ids.len() as i64,
            last_id: self.ids.last().copied().unwrap_or_default(),
            row_ids: self.ids,
            row_digests: self.digests,
            last_at: self.last_at,
            // SAFETY: reads the clock.
            sealed_at: unsafe { pg_sys::GetCurrentTimestamp() },
            salt: self.salt,
            previous: head.digest,
            digest: [0; 32],
        };
        seal.digest = seal.computed();
        seal
    }
}

type Groups = BTreeMap<Organization, Group>;

/// Seals all audit rows that are not sealed yet and that this transaction sees; returns how many. In the transaction of
/// the caller, who is a superuser; one at a time.
pub fn seal() -> Result<u64, Error> {
    pg::as_superuser(|| {
        connected(|| {
            // Reading goes on; another sealer waits, and a statement's snapshot is taken after its wait.
            spi::execute("LOCK TABLE orgscope.audit_gap IN SHARE ROW EXCLUSIVE MODE", &[]);
            seal_all()
        })
    })
}

/// The same for who has other work to do: false while another sealer is at it.
pub fn seal_unless_busy() -> Result<bool, Error> {
    pg::as_superuser(|| connected(|| if lock_at_once() { seal_all().map(|_| true) } else { Ok(false) }))
}

fn lock_at_once() -> bool {
    let table = pg::own_table(c"audit_gap");
    let lock = pg_sys::ShareRowExclusiveLock as std::ffi::c_int;
    // SAFETY: a missing table has no oid and is not locked. What the lock's last holder has committed is seen: a snapshot of
    // the statements that follow is taken after this.
    table != pg_sys::InvalidOid && boundary(|| unsafe { raw::ConditionalLockRelationOid(table, lock) })
}

fn seal_all() -> Result<u64, Error> {
    let oldest = gaps::oldest();
    let own = Installation::own();
    let (first_id, last_id) = (own.first_id.to_string(), own.last_id.to_string());
    let open = gaps::load(View::Latest, own.first_id..=own.last_id);
    let mut top = own.top;
    let (mut groups, mut sealed, mut first) = (Groups::new(), 0, true);
    loop {
        let mut found = Vec::new();
        if std::mem::take(&mut first) && !open.is_empty() {
            found = collect(&mut groups, IN_GAPS, &[Some(&first_id), Some(&last_id)])?;
            gaps::settle(&open, &found, oldest);
        }
        let later = collect(&mut groups, LATER, &[Some(&top.to_string()), Some(&last_id)])?;
        gaps::notice(top, &later);
        write(std::mem::take(&mut groups), own.first_id);
        sealed += (found.len() + later.len()) as u64;
        match later.last() {
            Some(last) => top = *last,
            None => return Ok(sealed),
        }
    }
}

/// Adds rows to their chains' groups; returns their ids, ascending.
fn collect(groups: &mut Groups, from: &str, args: &[Option<&str>]) -> Result<Vec<i64>, Error> {
    let mut cursor = Cursor::open(&format!("SELECT {} {from}", canonical::COLUMNS), args, View::Latest);
    let (mut ids, mut form) = (Vec::new(), Canonical::default());
    while let Some(row) = cursor.next() {
        let organization = row.uuid(canonical::ORGANIZATION);
        let group = match groups.entry(organization) {
            std::collections::btree_map::Entry::Occupied(group) => group.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(Group::new()?),
        };
        form.read(&row);
        group.digests.extend_from_slice(&form.digest(&group.salt));
        group.ids.push(row.int8(canonical::ID));
        group.last_at = group.last_at.max(row.int8(canonical::AT));
        ids.push(row.int8(canonical::ID));
    }
    cursor.close();
    Ok(ids)
}

const HEADS: &str = "SELECT c.chain, s.number, s.digest, s.sequence FROM pg_catalog.unnest($1::pg_catalog.uuid[]) c (chain) \
     CROSS JOIN LATERAL (\
         (SELECT l.number, l.digest, l.first_sequence OPERATOR(pg_catalog.+) l.row_count OPERATOR(pg_catalog.-) 1::pg_catalog.int8 AS sequence \
          FROM orgscope.audit_seal l WHERE l.chain OPERATOR(pg_catalog.=) c.chain \
          AND l.installation OPERATOR(pg_catalog.=) $2::pg_catalog.int8 ORDER BY l.number DESC LIMIT 1) \
         UNION ALL \
         SELECT p.number, p.digest, p.sequence FROM orgscope.audit_checkpoint p WHERE p.chain OPERATOR(pg_catalog.=) c.chain \
         AND p.installation OPERATOR(pg_catalog.=) $2::pg_catalog.int8 \
         ORDER BY number DESC LIMIT 1) s";

fn heads(groups: &Groups, installation: i64) -> BTreeMap<Organization, Head> {
    let chains = list(groups.keys().map(uuid_text));
    let mut cursor = Cursor::open(HEADS, &[Some(&chains), Some(&installation.to_string())], View::Latest);
    let mut heads = BTreeMap::new();
    while let Some(row) = cursor.next() {
        heads.insert(row.uuid(0), Head { number: row.int8(1), digest: row.digest(2), sequence: row.int8(3) });
    }
    cursor.close();
    heads
}

const INSERT: &str = "INSERT INTO orgscope.audit_seal (chain, installation, number, first_sequence, row_count, row_ids, row_digests, \
     last_id, last_at, sealed_at, salt, previous, digest) \
     SELECT chain, $13::pg_catalog.int8, number, first_sequence, row_count, row_ids::pg_catalog.int8[], pg_catalog.decode(row_digests, 'hex'), \
     last_id, last_at, sealed_at, pg_catalog.decode(salt, 'hex'), pg_catalog.decode(previous, 'hex'), \
     pg_catalog.decode(digest, 'hex') \
     FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.uuid[]), pg_catalog.unnest($2::pg_catalog.int8[]), \
         pg_catalog.unnest($3::pg_catalog.int8[]), pg_catalog.unnest($4::pg_catalog.int8[]), \
         pg_catalog.unnest($5::pg_catalog.text[]), pg_catalog.unnest($6::pg_catalog.text[]), \
         pg_catalog.unnest($7::pg_catalog.int8[]), pg_catalog.unnest($8::pg_catalog.timestamptz[]), \
         pg_catalog.unnest($9::pg_catalog.timestamptz[]), pg_catalog.unnest($10::pg_catalog.text[]), \
         pg_catalog.unnest($11::pg_catalog.text[]), pg_catalog.unnest($12::pg_catalog.text[])) \
     s (chain, number, first_sequence, row_count, row_ids, row_digests, last_id, last_at, sealed_at, salt, previous, digest)";

/// One statement for all chains of a pass: there may be as many chains as rows.
fn write(groups: Groups, installation: i64) {
    if groups.is_empty() {
        return;
    }
    let heads = heads(&groups, installation);
    let seals: Vec<Seal> = groups
        .into_iter()
        .map(|(organization, group)| {
            let head = heads.get(&organization).copied().unwrap_or_default();
            group.close(Chain { organization, installation }, head)
        })
        .collect();
    let columns = [
        list(seals.iter().map(|s| uuid_text(&s.chain.organization))),
        list(seals.iter().map(|s| s.number)),
        list(seals.iter().map(|s| s.first_sequence)),
        list(seals.iter().map(|s| s.row_count)),
        list(seals.iter().map(|s| format!("\"{}\"", list(s.row_ids.iter())))),
        list(seals.iter().map(|s| hex(&s.row_digests))),
        list(seals.iter().map(|s| s.last_id)),
        list(seals.iter().map(|s| time(s.last_at))),
        list(seals.iter().map(|s| time(s.sealed_at))),
        list(seals.iter().map(|s| hex(&s.salt))),
        list(seals.iter().map(|s| hex(&s.previous))),
        list(seals.iter().map(|s| hex(&s.digest))),
        installation.to_string(),
    ];
    spi::execute(INSERT, &columns.each_ref().map(|c| Some(c.as_str())));
    seals.iter().for_each(anchor::keep);
}

/// A time as an element of an array, exact whatever the session's zone.
fn time(at: i64) -> String {
    // SAFETY: timestamptz_to_str returns a buffer of its own, in ISO form with the zone in it.
    format!("\"{}\"", pg::text_of(unsafe { pg_sys::timestamptz_to_str(at) }).unwrap_or_default())
}
