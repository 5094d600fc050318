//! One client's connection. Every answer is compared with the one expected, every row with its organization.

use anyhow::{Context, Result};
use postgres::error::SqlState;
use postgres::types::{ToSql, Type};
use postgres::{Client, Error, NoTls, SimpleQueryMessage};

use super::scene;
use super::tally::Tally;

/// Where others have an SQLSTATE: the connection was ended.
pub const CLOSED: &str = "closed";

/// What a statement has to answer.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// So many rows, all of the organization.
    Rows(usize),
    /// No error, and no row with an organization.
    Done,
    Refused(&'static str),
    /// This error, or the pooler ends the connection.
    RefusedOrClosed(&'static str),
    /// Rows as above, or this error: it depends on what an earlier client has left on the connection.
    Either(usize, &'static str),
}

pub struct Session {
    config: postgres::Config,
    client: Client,
    random: Random,
    /// Of the transaction that runs.
    pub organization: String,
    pub other: String,
    case: &'static str,
    pub tally: Tally,
}

impl Session {
    pub fn open(port: u16, seed: u64) -> Result<Self> {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(port).user(scene::ROLE).dbname("postgres");
        let client = config.connect(NoTls).context("cannot connect to the pooler")?;
        let (organization, other) = (String::new(), String::new());
        Ok(Self { config, client, random: Random::new(seed), organization, other, case: "", tally: Tally::default() })
    }

    /// A case for an organization chosen at random; also another that is never the same.
    pub fn begin(&mut self, case: &'static str) {
        let count = scene::ORGANIZATIONS;
        let chosen = self.random.below(count);
        self.organization = scene::organization(chosen);
        self.other = scene::organization((chosen + 1 + self.random.below(count - 1)) % count);
        self.case = case;
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    /// Leaves the connection as it is, with an open transaction perhaps, and takes a new one.
    pub fn reconnect(&mut self) -> Result<()> {
        self.client = self.config.connect(NoTls).context("cannot connect to the pooler again")?;
        Ok(())
    }

    /// Connects with a value in the startup packet. A pooler that knows nothing of it may refuse.
    pub fn reconnect_with(&mut self, options: &str) -> Result<()> {
        match self.config.clone().options(options).connect(NoTls) {
            Ok(client) => self.client = client,
            Err(error) => self.tally.refused(code(&error)),
        }
        Ok(())
    }

    /// A simple-query message, of any number of statements.
    pub fn ask(&mut self, sql: &str, expected: Answer) -> Result<bool> {
        let rows = self.client.simple_query(sql).map(|messages| {
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.try_get(scene::COLUMN).ok().flatten().map(str::to_owned),
                _ => None,
            });
            rows.collect()
        });
        self.judge(rows, expected, sql)
    }

    /// An unnamed statement with parameters, in the extended protocol.
    pub fn ask_with(&mut self, sql: &str, parameters: &[&str], expected: Answer) -> Result<bool> {
        let typed: Vec<_> = parameters.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let rows = self.client.query_typed(sql, &typed);
        let rows = rows.map(|rows| rows.iter().filter_map(|row| row.try_get(scene::COLUMN).ok()).collect());
        self.judge(rows, expected, sql)
    }

    /// Whether the statement has succeeded.
    fn judge(&mut self, rows: Result<Vec<String>, Error>, expected: Answer, sql: &str) -> Result<bool> {
        match &rows {
            Ok(rows) => {
                let foreign = rows.iter().filter(|&row| *row != self.organization).count();
                self.tally.rows += rows.len() as u64;
                self.tally.foreign += foreign as u64;
                let right = match expected {
                    Answer::Rows(count) | Answer::Either(count, _) => rows.len() == count,
                    Answer::Done => rows.is_empty(),
                    Answer::Refused(_) | Answer::RefusedOrClosed(_) => false,
                };
                if foreign > 0 || !right {
                    let what = format!("{sql}: {} rows, {foreign} of another organization; {expected:?}", rows.len());
                    self.tally.wrong(self.case, &what);
                }
            }
            Err(error) => match expected {
                Answer::Refused(sqlstate) | Answer::Either(_, sqlstate) if code(error) == sqlstate => {
                    self.tally.refused(sqlstate);
                }
                Answer::RefusedOrClosed(sqlstate) if [sqlstate, CLOSED].contains(&code(error)) => {
                    self.tally.refused(code(error));
                }
                _ => {
                    let said = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                    self.tally.wrong(self.case, &format!("{sql}: {} {said}; {expected:?}", code(error)));
                }
            },
        }
        if rows.as_ref().err().is_some_and(|error| code(error) == CLOSED) {
            self.reconnect()?;
        }
        Ok(rows.is_ok())
    }
}

/// A pooler that refuses what a client does ends its connection; what it says before may arrive or not.
fn code(error: &Error) -> &str {
    match error.code() {
        None | Some(&SqlState::PROTOCOL_VIOLATION) => CLOSED,
        Some(code) => code.code(),
    }
}

/// xorshift64*: the load has to be mixed, not unpredictable, and the same seed makes the same.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}
