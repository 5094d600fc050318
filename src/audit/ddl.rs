//! DDL on scoped tables and on what is orgscope's own: on record in the same transaction.

use super::writes::advance;
use crate::settings::{self, ACTOR, REASON};
use crate::{pg, spi};
use pgrx::pg_sys;

const INSERT: &str = "INSERT INTO orgscope.audit_log (action, table_name, operation, actor, login_name, session_user_name, \
     role_name, application_name, client_addr, txid, statement, reason, detail) \
     SELECT 'ddl', $1, $2, $3, COALESCE($4, session_user)::pg_catalog.name, session_user, $5::pg_catalog.name, \
     pg_catalog.current_setting('application_name'), pg_catalog.inet_client_addr(), pg_catalog.pg_current_xact_id(), $6, $7, \
     $8::pg_catalog.jsonb";

/// `operation` is the command's tag.
pub fn record(operation: &str, table: Option<String>, detail: Option<&serde_json::Value>) {
    // SAFETY: look-ups of this backend's own identity; debug_query_string is NULL outside a client's statement.
    let (login, role, statement) = unsafe {
        (
            pg::role_name(pg_sys::GetAuthenticatedUserId()),
            pg::role_name(pg_sys::GetUserId()),
            pg::text_of(pg_sys::debug_query_string),
        )
    };
    let detail = detail.map(ToString::to_string);
    let (actor, reason) = (settings::text(&ACTOR), settings::text(&REASON));
    let args = [
        table.as_deref(),
        Some(operation),
        actor.as_deref(),
        login.as_deref(),
        role.as_deref(),
        statement.as_deref(),
        reason.as_deref(),
        detail.as_deref(),
    ];
    pg::as_superuser(|| {
        advance();
        spi::execute(INSERT, &args);
    });
}
