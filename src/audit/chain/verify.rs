//! Reading a chain back. Seals and rows come in two ordered streams of one snapshot; a row that is not in the seal at
//! hand waits for a later one, for transactions end in another order than they take ids.

use super::canonical::{self, Canonical};
use super::cursor::{Cursor, View, connected};
use super::gaps::{self, Gap};
use super::link::{self, Chain, Head, NO_ORGANIZATION, Seal, hex};
use super::seal::TOP;
use super::uuid_text;
use crate::context::value;
use crate::error::{Absent, Error};
use crate::pg;
use pgrx::pg_sys;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What is wrong, and where.
struct Problem {
    what: &'static str,
    seal: Option<i64>,
    row_id: Option<i64>,
    sequence: Option<i64>,
}

impl Problem {
    fn seal(what: &'static str, seal: i64) -> Self {
        Self { what, seal: Some(seal), row_id: None, sequence: None }
    }

    fn added(row_id: i64) -> Self {
        Self { what: "added", seal: None, row_id: Some(row_id), sequence: None }
    }
}

#[derive(Default)]
struct Counts {
    rows: i64,
    seals: i64,
    unsealed: i64,
}

/// A verdict for the chain asked for, or for all. A role that row security holds has its own organization's alone.
pub fn verify(org: Option<[u8; 16]>) -> Result<Vec<Value>, Error> {
    if !reads_all() {
        match (org, value::current()) {
            (None, None) => return Err(Error::NoContext { table: None, why: Absent::Unset }),
            (asked, own) if asked != own => return Err(Error::ForeignChain),
            _ => {}
        }
    }
    Ok(pg::as_superuser(|| {
        connected(|| {
            let chains = org.map_or_else(all_chains, |org| vec![org]);
            let known = Known::load();
            chains.iter().map(|chain| verdict(chain, &known)).collect()
        })
    }))
}

fn reads_all() -> bool {
    // SAFETY: syscache look-ups.
    unsafe { pg_sys::has_bypassrls_privilege(pg_sys::GetUserId()) }
}

fn all_chains() -> Vec<Chain> {
    const ALL: &str = "SELECT chain FROM orgscope.audit_seal UNION SELECT chain FROM orgscope.audit_checkpoint \
         UNION SELECT COALESCE(organization_id, '00000000-0000-0000-0000-000000000000') FROM orgscope.audit_log ORDER BY 1";
    let mut cursor = Cursor::open(ALL, &[], View::Statement);
    let mut chains = Vec::new();
    while let Some(row) = cursor.next() {
        chains.push(row.uuid(0));
    }
    cursor.close();
    chains
}

/// Which rows may be without a seal: those behind the last id looked at, and those in a gap.
struct Known {
    top: i64,
    gaps: Vec<Gap>,
}

impl Known {
    fn load() -> Self {
        let mut cursor = Cursor::open(TOP, &[], View::Statement);
        let top = cursor.next().map(|row| row.bytes(0));
        let top = top.and_then(|text| String::from_utf8(text).ok()).and_then(|text| text.parse().ok());
        cursor.close();
        Self { top: top.unwrap_or_default(), gaps: gaps::load(View::Statement) }
    }

    fn may_be_unsealed(&self, id: i64) -> bool {
        id > self.top || gaps::contain(&self.gaps, id)
    }
}

/// The verdict on one chain, as it is shown.
pub fn verdict_now(chain: &Chain) -> Value {
    verdict(chain, &Known::load())
}

fn verdict(chain: &Chain, known: &Known) -> Value {
    let mut reader = Reader::open(chain, known);
    let problem = reader.run().err();
    let (counts, head) = (std::mem::take(&mut reader.counts), reader.head);
    reader.close();
    let problem = problem.as_ref();
    json!({
        "organization_id": (*chain != NO_ORGANIZATION).then(|| uuid_text(chain)),
        "verdict": problem.map_or("ok", |p| p.what),
        "row_id": problem.and_then(|p| p.row_id),
        "sequence": problem.and_then(|p| p.sequence),
        "seal": problem.map_or((head.number > 0).then_some(head.number), |p| p.seal),
        "rows": counts.rows,
        "seals": counts.seals,
        "unsealed": counts.unsealed,
        "digest": (head.number > 0).then(|| hex(&head.digest)),
    })
}

struct Reader<'a> {
    chain: Chain,
    known: &'a Known,
    seals: Cursor,
    rows: Cursor,
    /// The row read last, not yet asked for.
    ahead: Option<i64>,
    ahead_form: Canonical,
    /// The row found last.
    form: Canonical,
    /// Rows that no seal has claimed yet.
    waiting: BTreeMap<i64, Canonical>,
    head: Head,
    counts: Counts,
}

impl<'a> Reader<'a> {
    fn open(chain: &Chain, known: &'a Known) -> Self {
        let of = if *chain == NO_ORGANIZATION {
            "a.organization_id IS NULL OR a.organization_id OPERATOR(pg_catalog.=) $1::pg_catalog.uuid"
        } else {
            "a.organization_id OPERATOR(pg_catalog.=) $1::pg_catalog.uuid"
        };
        let rows = format!("SELECT {} FROM orgscope.audit_log a WHERE {of} ORDER BY a.id", canonical::COLUMNS);
        let seals = format!(
            "SELECT {} FROM orgscope.audit_seal s WHERE s.chain OPERATOR(pg_catalog.=) $1::pg_catalog.uuid ORDER BY s.number",
            link::COLUMNS
        );
        let name = uuid_text(chain);
        let open = |sql: &str| Cursor::open(sql, &[Some(&name)], View::Statement);
        Self {
            chain: *chain,
            known,
            seals: open(&seals),
            rows: open(&rows),
            ahead: None,
            ahead_form: Canonical::default(),
            form: Canonical::default(),
            waiting: BTreeMap::new(),
            head: Head::default(),
            counts: Counts::default(),
        }
    }

    fn close(self) {
        self.seals.close();
        self.rows.close();
    }

    /// The first problem in the order of the chain, then rows that are in no seal.
    fn run(&mut self) -> Result<(), Problem> {
        self.checkpoint()?;
        self.read_row();
        while let Some(seal) = self.seals.next().map(|row| Seal::read(&row)) {
            self.seal(&seal)?;
            self.head = seal.head();
            self.counts.seals += 1;
        }
        for id in std::mem::take(&mut self.waiting).into_keys() {
            self.unsealed(id)?;
        }
        while let Some(id) = self.ahead {
            self.unsealed(id)?;
            self.read_row();
        }
        Ok(())
    }

    /// Where a purge has cut the chain, which the purge's own record must confirm.
    fn checkpoint(&mut self) -> Result<(), Problem> {
        const CHECKPOINT: &str = "SELECT c.number, c.digest, c.sequence, a.id \
             FROM orgscope.audit_checkpoint c LEFT JOIN orgscope.audit_log a \
                 ON a.id OPERATOR(pg_catalog.=) c.record_id AND a.action OPERATOR(pg_catalog.=) 'lifecycle' \
                AND a.operation OPERATOR(pg_catalog.=) 'PURGE' \
                AND COALESCE(a.organization_id, '00000000-0000-0000-0000-000000000000') OPERATOR(pg_catalog.=) c.chain \
                AND a.detail OPERATOR(pg_catalog.->>) 'digest' OPERATOR(pg_catalog.=) pg_catalog.encode(c.digest, 'hex') \
             WHERE c.chain OPERATOR(pg_catalog.=) $1::pg_catalog.uuid";
        let mut cursor = Cursor::open(CHECKPOINT, &[Some(&uuid_text(&self.chain))], View::Statement);
        let found = cursor.next().map(|row| {
            let head = Head { number: row.int8(0), digest: row.digest(1), sequence: row.int8(2) };
            (head, row.field(3).is_some())
        });
        cursor.close();
        match found {
            Some((head, false)) => Err(Problem::seal("checkpoint", head.number)),
            Some((head, true)) => {
                self.head = head;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn seal(&mut self, seal: &Seal) -> Result<(), Problem> {
        let expected = self.head.number + 1;
        if seal.number != expected {
            return Err(Problem::seal("seal missing", expected));
        }
        let follows = seal.previous == self.head.digest && seal.first_sequence == self.head.sequence + 1;
        if !follows || !seal.is_consistent(&self.chain) {
            return Err(Problem::seal("seal broken", expected));
        }
        for (position, id) in seal.row_ids.iter().enumerate() {
            let found = self.find(*id)?;
            let what = match found {
                true if self.form.digest(&seal.salt) == seal.row_digest(position) => {
                    self.counts.rows += 1;
                    continue;
                }
                true => "changed",
                false => "missing",
            };
            let sequence = Some(seal.first_sequence + position as i64);
            return Err(Problem { what, seal: Some(expected), row_id: Some(*id), sequence });
        }
        Ok(())
    }

    /// Brings the row into `form`.
    fn find(&mut self, id: i64) -> Result<bool, Problem> {
        if let Some(form) = self.waiting.remove(&id) {
            self.form = form;
            return Ok(true);
        }
        while let Some(next) = self.ahead {
            match next.cmp(&id) {
                Ordering::Greater => return Ok(false),
                Ordering::Equal => {
                    std::mem::swap(&mut self.form, &mut self.ahead_form);
                    self.read_row();
                    return Ok(true);
                }
                Ordering::Less => {
                    // No index keeps an id from being there twice in two partitions.
                    if self.waiting.insert(next, std::mem::take(&mut self.ahead_form)).is_some() {
                        return Err(Problem::added(next));
                    }
                    self.read_row();
                }
            }
        }
        Ok(false)
    }

    fn read_row(&mut self) {
        self.ahead = self.rows.next().map(|row| {
            self.ahead_form.read(&row);
            row.int8(canonical::ID)
        });
    }

    fn unsealed(&mut self, id: i64) -> Result<(), Problem> {
        self.counts.unsealed += 1;
        if self.known.may_be_unsealed(id) { Ok(()) } else { Err(Problem::added(id)) }
    }
}
