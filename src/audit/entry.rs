//! Rows of the log that are noted in this backend until a transaction can write them: break-glass, administration.

use super::event::Event;
use super::queue;
use super::writes::note_own;
use crate::context::value::Org;
use crate::guard::ddl::extension_is_there;
use crate::pg::{self, boundary, raw};
use crate::settings::{self, ACTOR, REASON};
use crate::spi;
use pgrx::pg_sys;
use uuid::Uuid;

/// One row of the log.
#[derive(Clone)]
pub struct Entry {
    org: Option<Org>,
    action: &'static str,
    operation: &'static str,
    role_name: Option<String>,
    reason: Option<String>,
    actor: Option<String>,
    statement: Option<String>,
    detail: Option<serde_json::Value>,
    /// When the client's statement began that was counted last.
    begun: pg_sys::TimestampTz,
    events: u64,
    /// From an earlier transaction, which rolled back or could not write.
    carried: bool,
}

impl Entry {
    /// Of break-glass, in the log of the organization it was opened for.
    pub fn of_break_glass(
        org: Org,
        operation: &'static str,
        role_name: Option<String>,
        reason: &str,
        detail: Option<serde_json::Value>,
    ) -> Self {
        let (actor, reason) = (settings::text(&ACTOR), reason.to_owned());
        Self {
            org: Some(org),
            action: "break_glass",
            operation,
            role_name,
            reason: Some(reason),
            actor,
            statement: None,
            detail,
            begun: 0,
            events: 1,
            carried: false,
        }
    }

    /// Of the client's statement of now, for no organization.
    pub fn of_client(action: &'static str, operation: &'static str, detail: Option<serde_json::Value>) -> Self {
        // SAFETY: this backend's own identity; debug_query_string is NULL outside a client's statement.
        let (role_name, statement) =
            unsafe { (pg::role_name(pg_sys::GetUserId()), pg::text_of(pg_sys::debug_query_string)) };
        Self {
            org: None,
            action,
            operation,
            role_name,
            reason: settings::text(&REASON),
            actor: settings::text(&ACTOR),
            statement,
            detail,
            begun: 0,
            events: 1,
            carried: false,
        }
    }

    pub fn about(self, org: Option<Org>) -> Self {
        Self { org, ..self }
    }

    /// Its text holds what nobody may read.
    pub fn without_statement(self) -> Self {
        Self { statement: None, ..self }
    }

    /// Of the client's statement of now.
    pub fn used(self, begun: pg_sys::TimestampTz) -> Self {
        // SAFETY: NULL outside a client's statement.
        let statement = pg::text_of(unsafe { pg_sys::debug_query_string });
        Self { begun, statement, ..self }
    }

    fn event(&self) -> Event {
        Event {
            organization_id: self.org.map(Uuid::from_bytes),
            operation: Some(self.operation.into()),
            role_name: self.role_name.clone(),
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            statement: self.statement.clone(),
            detail: self.detail.clone(),
            ..Event::now(self.action, None, None)
        }
    }

    fn same(&self, other: &Self) -> bool {
        (self.action, self.operation, self.org, self.carried)
            == (other.action, other.operation, other.org, other.carried)
            && self.detail == other.detail
            && (&self.statement, &self.actor, &self.reason) == (&other.statement, &other.actor, &other.reason)
    }
}

/// More different statements than this are told apart no longer: a session that can never write must not grow without
/// end.
const MANY: usize = 1000;

/// Counts a use: once for each of the client's statements, whatever it runs inside.
pub fn merge_use(entries: &mut Vec<Entry>, used: Entry) {
    if !entries.iter().rev().any(|e| e.begun == used.begun && !e.carried) {
        merge(entries, used);
    }
}

/// Equal ones are one row.
pub fn merge(entries: &mut Vec<Entry>, mut used: Entry) {
    if entries.len() >= MANY {
        (used.statement, used.actor) = (None, None);
    }
    match entries.iter_mut().find(|e| e.same(&used)) {
        Some(entry) => (entry.begun, entry.events) = (used.begun, entry.events + 1),
        None => entries.push(used),
    }
}

/// Their transaction is over without having written them.
pub fn carry(entries: &mut Vec<Entry>) {
    if entries.is_empty() {
        return;
    }
    for mut entry in std::mem::take(entries) {
        entry.carried = true;
        match entries.iter_mut().find(|e| e.same(&entry)) {
            Some(kept) => kept.events += entry.events,
            None => entries.push(entry),
        }
    }
}

const INSERT: &str = "INSERT INTO orgscope.audit_log (organization_id, action, operation, event_count, actor, login_name, \
     session_user_name, role_name, application_name, client_addr, txid, statement, reason, detail) \
     SELECT $1::pg_catalog.uuid, $11, $2, $3::pg_catalog.int8, $4, COALESCE($5, session_user)::pg_catalog.name, \
     session_user, $6::pg_catalog.name, pg_catalog.current_setting('application_name'), pg_catalog.inet_client_addr(), \
     CASE WHEN $7 IS NULL THEN pg_catalog.pg_current_xact_id() END, $8, $9, $10::pg_catalog.jsonb";

/// In this transaction.
pub fn write(entries: &[Entry]) {
    // SAFETY: this backend's own identity.
    let login = pg::role_name(unsafe { pg_sys::GetAuthenticatedUserId() });
    pg::as_superuser(|| {
        for entry in entries {
            note_own(entry.action, entry.events);
            let (org, events) = (entry.org.map(|o| Uuid::from_bytes(o).to_string()), entry.events.to_string());
            let detail = entry.detail.as_ref().map(ToString::to_string);
            spi::execute(
                INSERT,
                &[
                    org.as_deref(),
                    Some(entry.operation),
                    Some(&events),
                    entry.actor.as_deref(),
                    login.as_deref(),
                    entry.role_name.as_deref(),
                    entry.carried.then_some("carried"),
                    entry.statement.as_deref(),
                    entry.reason.as_deref(),
                    detail.as_deref(),
                    Some(entry.action),
                ],
            );
        }
    });
}

/// At its end, where no statement lends a snapshot any more. Nothing if the extension has been dropped. A standby, which can
/// never write, has its server's log.
pub fn write_at_end(entries: &[Entry]) {
    if !extension_is_there() {
        return;
    }
    if queue::is_standby() {
        for entry in entries {
            queue::push_many(&entry.event(), entry.events, None);
        }
        return;
    }
    // SAFETY: an error is the transaction's, which releases the snapshot.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    write(entries);
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
}

/// Before a session that ends writes anything: what PostgreSQL itself does before it drops temporary tables.
pub fn end_transaction() {
    // SAFETY: raises nothing that the end of the process would not.
    boundary(|| unsafe { raw::AbortOutOfAnyTransaction() });
}

/// While the session ends.
pub fn write_in_own_transaction(entries: &[Entry]) {
    // SAFETY: no transaction is open.
    boundary(|| unsafe { raw::StartTransactionCommand() });
    if !queue::is_standby() {
        // SAFETY: the transaction is ours alone, and its default may be the role's.
        unsafe { pg_sys::XactReadOnly = false };
    }
    write_at_end(entries);
    // SAFETY: begun above.
    boundary(|| unsafe { raw::CommitTransactionCommand() });
}

/// As JSON has it.
pub fn time(time: pg_sys::TimestampTz) -> Option<String> {
    // SAFETY: timestamptz_to_str returns a buffer of its own.
    pg::text_of(unsafe { pg_sys::timestamptz_to_str(time) })
}
