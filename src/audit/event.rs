//! What goes on record: one access, refusal or change, with who, where and why.

use crate::context::token::redact;
use crate::context::{self, seal, value};
use crate::pg::{self, Backend};
use crate::settings::{self, REASON};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An audit row without its numbers. Equal events are counted in one row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_user_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

/// How often, how many rows and when. Equal events add theirs up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub events: u64,
    pub rows: Option<u64>,
    /// Microseconds, as PostgreSQL counts them.
    pub first: i64,
    pub last: i64,
    /// None when there were several, or none.
    pub transaction: Option<u64>,
}

impl Counts {
    pub fn now(events: u64, rows: Option<u64>) -> Self {
        // SAFETY: reads the clock, and this backend's transaction id without assigning one.
        let (now, transaction) =
            unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetTopFullTransactionIdIfAny().value) };
        Self { events, rows, first: now, last: now, transaction: (transaction != 0).then_some(transaction) }
    }
}

impl Event {
    /// By this backend's current role, in the statement that its client has sent.
    pub fn now(action: &str, table_name: Option<String>, operation: Option<&str>) -> Self {
        // SAFETY: this backend's own identity; role names are catalog look-ups, which need a transaction.
        let names = unsafe {
            let roles = [pg_sys::GetAuthenticatedUserId(), pg_sys::GetSessionUserId(), pg_sys::GetUserId()];
            roles.map(|role| if pg_sys::IsTransactionState() { pg::role_name(role) } else { None })
        };
        let [login_name, session_user_name, role_name] = names;
        Self {
            action: action.into(),
            organization_id: value::current().map(Uuid::from_bytes),
            table_name,
            operation: operation.map(Into::into),
            actor: context::actor(),
            login_name,
            session_user_name,
            role_name,
            // SAFETY: the setting's value lives as long as the statement.
            application_name: pg::text_of(unsafe { pg_sys::application_name }),
            client_addr: client_address(),
            statement: client_statement(),
            sqlstate: None,
            reason: settings::text(&REASON),
            detail: None,
        }
    }

    /// As JSON that is not longer than `most`: what is too long loses the end of its statement, then what is not needed to
    /// know who did what.
    pub fn encode(&self, most: usize) -> Vec<u8> {
        let whole = self.json();
        if whole.len() <= most {
            return whole;
        }
        for kept in [1000, 200, 0] {
            let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(kept).collect());
            let shorter = Self {
                statement: cut(&self.statement),
                reason: cut(&self.reason),
                actor: cut(&self.actor),
                detail: None,
                ..self.clone()
            };
            let json = shorter.json();
            if json.len() <= most {
                return json;
            }
        }
        Self { action: self.action.clone(), organization_id: self.organization_id, ..Self::default() }.json()
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The text that the client has sent, None outside a statement. One that holds a key is not kept.
pub fn client_statement() -> Option<String> {
    // SAFETY: NULL, or the text of the client's statement.
    let text = pg::text_of(unsafe { pg_sys::debug_query_string })?;
    Some(if seal::is_secret(&text) {
        "(not kept: it holds the key of a seal)".into()
    } else {
        redact::redacted(&text).into_owned()
    })
}

pub fn is_statement_secret() -> bool {
    // SAFETY: as above.
    pg::text_of(unsafe { pg_sys::debug_query_string }).is_some_and(|text| seal::is_secret(&text))
}

/// None for a client on this machine's socket, and for a background worker. It never changes, so it is asked for once.
fn client_address() -> Option<String> {
    static ADDRESS: Backend<Option<Option<String>>> = Backend::new(None);
    if let Some(known) = ADDRESS.with(|address| address.clone()) {
        return known;
    }
    // SAFETY: PostgreSQL's own function without arguments, which is NULL where there is no address.
    let address = unsafe { pgrx::direct_function_call::<pgrx::Inet>(pg_sys::inet_client_addr, &[]) };
    let address = address.map(|inet| inet.to_string());
    ADDRESS.with(|known| *known = Some(address.clone()));
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_too_long_keeps_who_did_what() {
        let long = "ü\"".repeat(5000);
        let event = Event {
            action: "bypass_read".into(),
            role_name: Some("dba".into()),
            statement: Some(long.clone()),
            reason: Some(long),
            ..Event::default()
        };
        let json = event.encode(3000);
        assert!(json.len() <= 3000);
        let back: Event = serde_json::from_slice(&json).unwrap();
        assert_eq!((back.role_name.as_deref(), back.statement.unwrap().len()), (Some("dba"), 300));
        assert_eq!(event.encode(10_000_000), event.json());
    }
}
