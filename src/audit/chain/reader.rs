//! Chains read back, as many as are asked for in one pass. Seals and rows come in two streams of one snapshot, each ordered
//! by id; a row that is not in the seal at hand waits for a later one, for transactions end in another order than they take
//! ids, and all chains share one stream.

use super::canonical::{self, Canonical};
use super::cursor::Cursor;
use super::installation::Known;
use super::link::{self, Chain, Head, NO_ORGANIZATION, Organization, Seal};
use super::uuid_text;
use crate::spi::View;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What is wrong, and where.
pub struct Problem {
    pub what: &'static str,
    pub seal: Option<i64>,
    pub row_id: Option<i64>,
    pub sequence: Option<i64>,
}

impl Problem {
    fn seal(what: &'static str, seal: i64) -> Self {
        Self { what, seal: Some(seal), row_id: None, sequence: None }
    }

    fn added(row_id: i64) -> Self {
        Self { what: "added", seal: None, row_id: Some(row_id), sequence: None }
    }
}

/// What was read of one chain.
#[derive(Default)]
pub struct Read {
    pub head: Head,
    pub rows: i64,
    pub seals: i64,
    pub unsealed: i64,
    /// The first one in the order of the chain, then rows that are in no seal. Nothing is read after it.
    pub problem: Option<Problem>,
    /// The cut that it begins with is on no record. It goes on from there all the same: whoever sees that must see what else
    /// was changed.
    pub cut: Option<Problem>,
    /// Seals whose predecessor has a higher last id: rows that came late are sealed alone.
    early: BTreeMap<i64, Seal>,
}

/// More seals than this do not come before their predecessor: it is missing.
const EARLY: usize = 10_000;

struct Waiting {
    organization: Organization,
    form: Canonical,
}

pub struct Reader<'a> {
    known: &'a Known,
    seals: Cursor,
    rows: Cursor,
    /// The row read last, not yet asked for.
    ahead: Option<(i64, Organization)>,
    ahead_form: Canonical,
    /// The row found last.
    form: Canonical,
    /// Rows that no seal has claimed yet.
    waiting: BTreeMap<i64, Waiting>,
    /// No index keeps an id from being there twice in two partitions.
    twice: Vec<(i64, Organization)>,
    chains: BTreeMap<Chain, Read>,
}

/// The chains of an organization, or all.
pub fn read(organization: Option<&Organization>, known: &Known) -> BTreeMap<Chain, Read> {
    let mut reader = Reader::open(organization, known);
    reader.run();
    reader.seals.close();
    reader.rows.close();
    reader.chains
}

impl<'a> Reader<'a> {
    fn open(organization: Option<&Organization>, known: &'a Known) -> Self {
        let (of_row, of_seal) = match organization {
            None => ("true", "true"),
            Some(&NO_ORGANIZATION) => {
                ("a.organization_id IS NULL OR a.organization_id OPERATOR(pg_catalog.=) $1::pg_catalog.uuid", OF_SEAL)
            }
            Some(_) => ("a.organization_id OPERATOR(pg_catalog.=) $1::pg_catalog.uuid", OF_SEAL),
        };
        let rows = format!("SELECT {} FROM orgscope.audit_log a WHERE {of_row} ORDER BY a.id", canonical::COLUMNS);
        let seals = format!(
            "SELECT {} FROM orgscope.audit_seal s WHERE {of_seal} ORDER BY s.installation, s.last_id, s.number",
            link::COLUMNS
        );
        let name = organization.map(uuid_text);
        let args = [name.as_deref()];
        let args = if organization.is_some() { &args[..] } else { &[] };
        let open = |sql: &str| Cursor::open(sql, args, View::Statement);
        Self {
            known,
            seals: open(&seals),
            rows: open(&rows),
            ahead: None,
            ahead_form: Canonical::default(),
            form: Canonical::default(),
            waiting: BTreeMap::new(),
            twice: Vec::new(),
            chains: checkpoints(organization),
        }
    }

    fn run(&mut self) {
        self.read_row();
        while let Some(seal) = self.seals.next().map(|row| Seal::read(&row)) {
            let chain = seal.chain;
            let mut read = self.chains.remove(&chain).unwrap_or_default();
            self.take(&mut read, seal);
            self.chains.insert(chain, read);
        }
        for read in self.chains.values_mut().filter(|r| r.problem.is_none() && !r.early.is_empty()) {
            read.problem = Some(Problem::seal("seal missing", read.head.number + 1));
        }
        for (id, waiting) in std::mem::take(&mut self.waiting) {
            self.unclaimed(id, waiting.organization, false);
        }
        while let Some((id, organization)) = self.ahead {
            self.unclaimed(id, organization, false);
            self.read_row();
        }
        for (id, organization) in std::mem::take(&mut self.twice) {
            self.unclaimed(id, organization, true);
        }
    }

    /// And the seals that have waited for it.
    fn take(&mut self, read: &mut Read, seal: Seal) {
        let expected = read.head.number + 1;
        if read.problem.is_some() {
            return;
        }
        if seal.number > expected && read.early.len() < EARLY {
            read.early.insert(seal.number, seal);
            return;
        }
        let mut next = Some(seal);
        while let Some(seal) = next {
            match self.follow(&read.head, &seal) {
                Ok(()) => {
                    read.head = seal.head();
                    (read.seals, read.rows) = (read.seals + 1, read.rows + seal.row_count);
                }
                Err(problem) => {
                    read.problem = Some(problem);
                    read.early.clear();
                    return;
                }
            }
            next = read.early.remove(&(read.head.number + 1));
        }
    }

    /// Whether the seal follows, and its rows are what they were.
    fn follow(&mut self, head: &Head, seal: &Seal) -> Result<(), Problem> {
        let expected = head.number + 1;
        if seal.number != expected {
            return Err(Problem::seal("seal missing", expected));
        }
        let follows = seal.previous == head.digest && seal.first_sequence == head.sequence + 1;
        if !follows || !seal.is_consistent() {
            return Err(Problem::seal("seal broken", expected));
        }
        for (position, id) in seal.row_ids.iter().enumerate() {
            let what = match self.find(*id, &seal.chain.organization) {
                true if self.form.digest(&seal.salt) == seal.row_digest(position) => continue,
                true => "changed",
                false => "missing",
            };
            let sequence = Some(seal.first_sequence + position as i64);
            return Err(Problem { what, seal: Some(expected), row_id: Some(*id), sequence });
        }
        Ok(())
    }

    /// Brings the row into `form`.
    fn find(&mut self, id: i64, organization: &Organization) -> bool {
        if let Some(waiting) = self.waiting.get(&id) {
            if waiting.organization != *organization {
                return false;
            }
            self.form = self.waiting.remove(&id).map(|w| w.form).unwrap_or_default();
            return true;
        }
        while let Some((next, of)) = self.ahead {
            match next.cmp(&id) {
                Ordering::Greater => return false,
                Ordering::Equal if of == *organization => {
                    std::mem::swap(&mut self.form, &mut self.ahead_form);
                    self.read_row();
                    return true;
                }
                Ordering::Equal | Ordering::Less => {
                    self.keep(next, of);
                    self.read_row();
                }
            }
        }
        false
    }

    /// The row read last waits, unless the verdict on its chain is spoken.
    fn keep(&mut self, id: i64, organization: Organization) {
        let chain = Chain { organization, installation: self.known.installation(id) };
        if self.chains.get(&chain).is_some_and(|read| read.problem.is_some()) {
            return;
        }
        let form = std::mem::take(&mut self.ahead_form);
        if self.waiting.insert(id, Waiting { organization, form }).is_some() {
            self.twice.push((id, organization));
        }
    }

    fn read_row(&mut self) {
        self.ahead = self.rows.next().map(|row| {
            self.ahead_form.read(&row);
            (row.int8(canonical::ID), row.uuid(canonical::ORGANIZATION))
        });
    }

    fn unclaimed(&mut self, id: i64, organization: Organization, twice: bool) {
        let chain = Chain { organization, installation: self.known.installation(id) };
        let read = self.chains.entry(chain).or_default();
        read.unsealed += 1;
        if read.problem.is_none() && (twice || !self.known.may_be_unsealed(id)) {
            read.problem = Some(Problem::added(id));
        }
    }
}

const OF_SEAL: &str = "s.chain OPERATOR(pg_catalog.=) $1::pg_catalog.uuid";

/// Where purges have cut the chains, each of which its own record must confirm.
fn checkpoints(organization: Option<&Organization>) -> BTreeMap<Chain, Read> {
    const CHECKPOINTS: &str = "SELECT c.chain, c.installation, c.number, c.digest, c.sequence, a.id \
         FROM orgscope.audit_checkpoint c LEFT JOIN orgscope.audit_log a \
             ON a.id OPERATOR(pg_catalog.=) c.record_id AND a.action OPERATOR(pg_catalog.=) 'lifecycle' \
            AND a.operation OPERATOR(pg_catalog.=) 'PURGE' \
            AND COALESCE(a.organization_id, '00000000-0000-0000-0000-000000000000') OPERATOR(pg_catalog.=) c.chain \
            AND a.detail OPERATOR(pg_catalog.->>) 'digest' OPERATOR(pg_catalog.=) pg_catalog.encode(c.digest, 'hex') \
         WHERE $1 IS NULL OR c.chain OPERATOR(pg_catalog.=) $1::pg_catalog.uuid";
    let name = organization.map(uuid_text);
    let mut cursor = Cursor::open(CHECKPOINTS, &[name.as_deref()], View::Statement);
    let mut chains = BTreeMap::new();
    while let Some(row) = cursor.next() {
        let head = Head { number: row.int8(2), digest: row.digest(3), sequence: row.int8(4) };
        let cut = row.field(5).is_none().then(|| Problem::seal("checkpoint", head.number));
        let chain = Chain { organization: row.uuid(0), installation: row.int8(1) };
        chains.insert(chain, Read { head, cut, ..Read::default() });
    }
    cursor.close();
    chains
}
