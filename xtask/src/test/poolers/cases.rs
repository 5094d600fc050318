//! What clients do, each with its weight. A case is one or a few transactions, and knows every answer.

use anyhow::Result;

use super::scene::ROWS;
use super::session::Answer::{Done, Either, Refused, RefusedOrClosed, Rows};
use super::session::{CLOSED, Session};

type Case = (&'static str, u64, fn(&mut Session) -> Result<()>);

/// How a client works.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum Cases {
    Transaction,
    Statement,
    HandWritten,
}

const READ: &str = "SELECT id, organization_id::text AS organization_id FROM ticket";
const SET_CONFIG: &str = "SELECT set_config($1, $2, true)";
const NAME: &str = "orgscope.current_org";

const TRANSACTION: &[Case] = &[
    ("one message", 30, one_message),
    ("SET LOCAL", 15, set_local),
    ("set_config", 15, set_config),
    ("set_current_org", 8, set_current_org),
    ("set_config for the session", 4, set_config_for_session),
    ("no context", 10, no_context),
    ("plain SET", 5, plain_set),
    ("error", 6, error),
    ("savepoint", 5, savepoint),
    ("two organizations", 4, two_organizations),
    ("write", 8, write),
    ("prepared statement left behind", 6, left_statement),
    ("connection gone", 1, gone),
    ("startup packet", 1, startup),
];

const STATEMENT: &[Case] = &[
    ("one message", 40, one_message_without_begin),
    ("set_config in one message", 15, set_config_in_one_message),
    ("DO", 8, in_do),
    ("error", 6, error_in_one_message),
    ("two organizations", 4, two_organizations_in_one_message),
    ("set_config for the session", 4, set_config_for_session_in_one_message),
    ("no context", 10, no_context),
    ("plain SET", 5, plain_set),
    ("BEGIN", 1, begin),
    ("startup packet", 1, startup),
];

const HAND_WRITTEN: &[Case] = &[("plain SET", 3, hand_written), ("no context", 1, hand_written_without)];

impl Cases {
    fn list(self) -> &'static [Case] {
        match self {
            Self::Transaction => TRANSACTION,
            Self::Statement => STATEMENT,
            Self::HandWritten => HAND_WRITTEN,
        }
    }

    /// Runs one, chosen by weight.
    pub fn run_one(self, session: &mut Session) -> Result<()> {
        let list = self.list();
        let mut left = session.below(list.iter().map(|(_, weight, _)| weight).sum());
        for (name, weight, run) in list {
            if left < *weight {
                session.begin(name);
                session.tally.transactions += 1;
                return run(session);
            }
            left -= weight;
        }
        Ok(())
    }
}

fn set(session: &Session) -> String {
    format!("SET LOCAL {NAME} = '{}'", session.organization)
}

fn one_message(session: &mut Session) -> Result<()> {
    let sql = format!("BEGIN; {}; {READ}; COMMIT", set(session));
    session.ask(&sql, Rows(ROWS)).map(drop)
}

fn set_local(session: &mut Session) -> Result<()> {
    session.ask("BEGIN", Done)?;
    session.ask(&set(session), Done)?;
    session.ask(READ, Rows(ROWS))?;
    session.ask("COMMIT", Done).map(drop)
}

fn set_config(session: &mut Session) -> Result<()> {
    let organization = session.organization.clone();
    session.ask("BEGIN", Done)?;
    session.ask_with(SET_CONFIG, &[NAME, &organization], Done)?;
    session.ask_with(READ, &[], Rows(ROWS))?;
    session.ask("COMMIT", Done).map(drop)
}

fn set_current_org(session: &mut Session) -> Result<()> {
    let organization = session.organization.clone();
    session.ask("BEGIN", Done)?;
    session.ask_with("SELECT orgscope.set_current_org($1::uuid)", &[&organization], Done)?;
    session.ask_with(READ, &[], Rows(ROWS))?;
    session.ask("ROLLBACK", Done).map(drop)
}

fn set_config_for_session(session: &mut Session) -> Result<()> {
    let organization = session.organization.clone();
    let sql = format!("SELECT set_config('{NAME}', '{organization}', false)");
    session.ask(&sql, Done)?;
    session.ask(READ, Refused("OS001"))?;
    session.ask(&format!("BEGIN; {sql}; {READ}; COMMIT"), Rows(ROWS))?;
    session.ask(READ, Refused("OS001")).map(drop)
}

fn no_context(session: &mut Session) -> Result<()> {
    session.ask(READ, Refused("OS001"))?;
    session.ask_with(READ, &[], Refused("OS001"))?;
    session.ask("SELECT orgscope.current_org()::text AS organization_id", Done)?;
    session.ask("INSERT INTO entry DEFAULT VALUES", Refused("OS001")).map(drop)
}

fn plain_set(session: &mut Session) -> Result<()> {
    let sql = format!("SET {NAME} = '{}'", session.organization);
    session.ask(&sql, Refused("OS003"))?;
    session.ask(READ, Refused("OS001")).map(drop)
}

fn error(session: &mut Session) -> Result<()> {
    session.ask(&format!("BEGIN; {}", set(session)), Done)?;
    session.ask(READ, Rows(ROWS))?;
    session.ask("SELECT 1 / 0", Refused("22012"))?;
    session.ask(READ, Refused("25P02"))?;
    session.ask("COMMIT", Done)?;
    session.ask(READ, Refused("OS001")).map(drop)
}

fn savepoint(session: &mut Session) -> Result<()> {
    session.ask("BEGIN; SAVEPOINT s", Done)?;
    session.ask(&set(session), Done)?;
    session.ask("ROLLBACK TO s", Done)?;
    session.ask(READ, Refused("OS001"))?;
    session.ask(&format!("ROLLBACK TO s; {}", set(session)), Done)?;
    session.ask(READ, Rows(ROWS))?;
    session.ask("COMMIT", Done).map(drop)
}

fn two_organizations(session: &mut Session) -> Result<()> {
    session.ask(&format!("BEGIN; {}; {READ}", set(session)), Rows(ROWS))?;
    let sql = format!("SET LOCAL {NAME} = '{}'", session.other);
    session.ask(&sql, Refused("OS003"))?;
    session.ask("ROLLBACK", Done).map(drop)
}

fn write(session: &mut Session) -> Result<()> {
    session.ask(&format!("BEGIN; {}", set(session)), Done)?;
    let sql = format!("INSERT INTO entry VALUES ('{}') RETURNING organization_id", session.organization);
    session.ask(&sql, Rows(1))?;
    let end = if session.below(2) == 0 { "COMMIT" } else { "ROLLBACK" };
    session.ask(end, Done).map(drop)
}

/// The plan may have been made, and kept, under another organization.
fn left_statement(session: &mut Session) -> Result<()> {
    session.ask(&format!("BEGIN; {}; SAVEPOINT s", set(session)), Done)?;
    if !session.ask("EXECUTE left_behind", Either(ROWS, "26000"))? {
        session.ask(&format!("ROLLBACK TO s; PREPARE left_behind AS {READ}; EXECUTE left_behind"), Rows(ROWS))?;
    }
    session.ask("COMMIT", Done).map(drop)
}

/// Without an end of the transaction, which has also written.
fn gone(session: &mut Session) -> Result<()> {
    session.ask(&format!("BEGIN; {}; {READ}", set(session)), Rows(ROWS))?;
    let sql = format!("INSERT INTO entry VALUES ('{}') RETURNING organization_id", session.organization);
    session.ask(&sql, Rows(1))?;
    session.reconnect()?;
    session.ask(READ, Refused("OS001")).map(drop)
}

/// A value that comes with the connection counts for nothing, also where the pooler repeats it to the server. Since 1.26 it
/// does so with SET, which is refused, and then ends the connection.
fn startup(session: &mut Session) -> Result<()> {
    session.reconnect_with(&format!("-c {NAME}={}", session.organization))?;
    session.ask(READ, RefusedOrClosed("OS001"))?;
    session.ask(&format!("{}; {READ}", set(session)), Rows(ROWS))?;
    session.ask(READ, Refused("OS001"))?;
    session.reconnect()
}

fn one_message_without_begin(session: &mut Session) -> Result<()> {
    let sql = format!("{}; {READ}", set(session));
    session.ask(&sql, Rows(ROWS)).map(drop)
}

fn set_config_in_one_message(session: &mut Session) -> Result<()> {
    let sql = format!("SELECT set_config('{NAME}', '{}', true); {READ}", session.organization);
    session.ask(&sql, Rows(ROWS)).map(drop)
}

fn in_do(session: &mut Session) -> Result<()> {
    let organization = &session.organization;
    let sql = format!(
        "DO $$ BEGIN PERFORM set_config('{NAME}', '{organization}', true); INSERT INTO entry VALUES ('{organization}'); END $$"
    );
    session.ask(&sql, Done)?;
    session.ask(READ, Refused("OS001")).map(drop)
}

fn error_in_one_message(session: &mut Session) -> Result<()> {
    let sql = format!("{}; SELECT 1 / 0; {READ}", set(session));
    session.ask(&sql, Refused("22012"))?;
    session.ask(READ, Refused("OS001")).map(drop)
}

fn two_organizations_in_one_message(session: &mut Session) -> Result<()> {
    let sql = format!("{}; {READ}; SET LOCAL {NAME} = '{}'; {READ}", set(session), session.other);
    session.ask(&sql, Refused("OS003")).map(drop)
}

fn set_config_for_session_in_one_message(session: &mut Session) -> Result<()> {
    let sql = format!("SELECT set_config('{NAME}', '{}', false); {READ}", session.organization);
    session.ask(&sql, Rows(ROWS))?;
    session.ask(READ, Refused("OS001")).map(drop)
}

/// The pooler ends the connection of a client that begins a transaction.
fn begin(session: &mut Session) -> Result<()> {
    session.ask(&format!("BEGIN; {}", set(session)), Refused(CLOSED))?;
    session.ask(READ, Refused("OS001")).map(drop)
}

const READ_HAND_WRITTEN: &str = "SELECT id, organization_id::text AS organization_id FROM note";

fn hand_written(session: &mut Session) -> Result<()> {
    let sql = format!("SET x.org = '{}'", session.organization);
    session.ask(&sql, Done)?;
    session.ask(READ_HAND_WRITTEN, Rows(ROWS)).map(drop)
}

fn hand_written_without(session: &mut Session) -> Result<()> {
    session.ask(READ_HAND_WRITTEN, Rows(0)).map(drop)
}
