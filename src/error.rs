//! Every error orgscope raises: one enum, one match. SQLSTATE class OS, as the README's table of errors has them.
//!
//! A message never shows a value of another organization: a foreign row is named by its table only.

use crate::context::token::Fault;

/// The table an error is about; fills the client's schema, table and column fields.
#[derive(Clone, Debug, PartialEq)]
pub struct TableName {
    pub schema: String,
    pub table: String,
    pub column: Option<String>,
}

/// What a client receives.
pub struct Report {
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: String,
    pub hint: String,
    pub table: Option<Box<TableName>>,
}

/// Why a context counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Absent {
    /// Never set, cleared, or ended with the transaction that set it.
    Unset,
    /// It came with the connection, and `orgscope.context_lifetime` is `transaction`.
    FromConnection,
    /// Break-glass has come to its end by itself.
    BreakGlassExpired,
    /// Break-glass was opened under another role.
    BreakGlassOtherRole,
    /// `orgscope.context_source` is `token`, and no token was set.
    NoToken,
}

/// Which write met a foreign row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Foreign {
    Insert,
    Update,
    Delete,
    Move,
    Truncate,
}

/// Why a context was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused {
    SessionSet,
    SessionSetFunction,
    Changed,
    /// Another organization while break-glass is open.
    BreakGlass,
    /// A second break-glass.
    AlreadyOpen,
    /// Another value, or none, while the context is sealed.
    Sealed,
    WrongKey,
    /// To be unsealed, without a key.
    NoKeyOpens,
    /// To be sealed with a key, sealed without one.
    SealedWithoutKey,
    SealBreakGlass,
}

#[derive(Debug, PartialEq)]
pub enum Error {
    NoContext {
        table: Option<Box<TableName>>,
        why: Absent,
    },
    WrongOrganization {
        table: Box<TableName>,
        what: Foreign,
    },
    ContextRefused(Refused),
    TokenRefused(Fault),
    NullToken,
    UnknownOrganization,
    SuspendedOrganization,
    NullOrganization,
    NoReason,
    Minutes,
    NullKey,
    EmptyKey,
    ReadOnly {
        table: Box<TableName>,
    },
    OpeningPrepared,
    Conflict {
        table: Option<Box<TableName>>,
        message: String,
        detail: String,
        hint: String,
    },
    NotOwner {
        table: Box<TableName>,
    },
    ExtensionInUse {
        tables: u64,
    },
    /// What was to be on record has not become a row of it.
    AuditSwallowed,
    AuditImmutable {
        operation: &'static str,
        table: Box<TableName>,
    },
    ForeignChain,
    NotSuperuser {
        function: &'static str,
    },
    ColumnGone {
        table: Box<TableName>,
        column: String,
    },
    Attached {
        table: Box<TableName>,
    },
    /// To be done again, which PostgreSQL's own SQLSTATE for that says to drivers and frameworks.
    ChangedMeanwhile {
        table: Box<TableName>,
        detail: &'static str,
    },
    InTransaction,
    /// A search with twins, called from too deep.
    NoRoomToSearch,
    /// COPY ... FREEZE by a role under row security.
    CopyFreeze,
    /// PostgreSQL's own refusal.
    CopyWhereGenerated {
        column: String,
    },
    Drift {
        table: Box<TableName>,
        kind: &'static str,
        command: String,
        missing: Vec<String>,
        undo: String,
    },
    Unscoped {
        table: Box<TableName>,
        detail: String,
        hint: String,
    },
    SharedTable {
        table: Box<TableName>,
    },
    ExplainDenied,
    BypassDenied {
        table: Box<TableName>,
    },
    AuditTimeout {
        table: Box<TableName>,
    },
    AuditImpossible {
        table: Box<TableName>,
        standby: bool,
    },
    NotATrigger {
        function: &'static str,
    },
    Internal {
        what: String,
    },
}

impl Error {
    pub fn report(&self) -> Report {
        match self {
            Self::NoContext { table, why } => no_context(table.clone(), *why),
            Self::WrongOrganization { table, what } => wrong_organization(table.clone(), *what),
            Self::ContextRefused(why) => context_refused(*why),
            Self::TokenRefused(fault) => {
                let (message, detail, hint) = fault.texts();
                report("OS003", message, &detail, hint)
            }
            Self::NullToken => report(
                "22004",
                "organization token must not be null",
                "A token is the text that its issuer has signed.",
                "Call orgscope.clear_current_org() to work without a context.",
            ),
            Self::UnknownOrganization => report(
                "OS004",
                "organization does not exist",
                "No row of orgscope.organization has this id.",
                "Check the id, or create the organization first.",
            ),
            Self::SuspendedOrganization => report(
                "OS004",
                "organization is suspended",
                "Its column is_active is false.",
                "Set is_active to true in orgscope.organization to let it work again.",
            ),
            Self::NullOrganization => report(
                "22004",
                "organization must not be null",
                "A context is always exactly one organization.",
                "Call orgscope.clear_current_org() to work without a context.",
            ),
            Self::NoReason => report(
                "22023",
                "break-glass needs a reason",
                "The reason has no letter or digit, and the organization reads it in its own audit log.",
                "Call orgscope.break_glass() with a reason, for example the number of a support case.",
            ),
            Self::Minutes => report(
                "22023",
                "minutes of break-glass out of range",
                "It lasts from 1 to 1440 minutes, which is a day.",
                "Call orgscope.break_glass() with minutes in this range, and again when it has expired.",
            ),
            Self::NullKey => report(
                "22004",
                "key of a seal must not be null",
                "Nobody could open the seal.",
                "Call orgscope.seal_context() without an argument to seal the context to the end of the transaction.",
            ),
            Self::EmptyKey => report(
                "22023",
                "key of a seal must not be empty",
                "Everybody would bring it.",
                "Use a new, long, random key for each checkout, as a bind parameter.",
            ),
            Self::ReadOnly { table } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS003",
                    &format!("cannot write to table \"{}\" under read-only break-glass", table.table),
                    "Break-glass was opened without asking to write.",
                    "Call orgscope.end_break_glass(), then orgscope.break_glass() with writable => true.",
                )
            },
            Self::OpeningPrepared => report(
                "0A000",
                "cannot PREPARE a transaction that has opened break-glass",
                "The record of the opening could still be rolled back.",
                "Open break-glass in a transaction of its own.",
            ),
            Self::Conflict { table, message, detail, hint } => {
                Report { table: table.clone(), ..report("OS005", message, detail, hint) }
            }
            Self::NotOwner { table } => Report {
                table: Some(table.clone()),
                ..report(
                    "42501",
                    &format!("must be owner of table \"{}\"", table.table),
                    "Scoping changes the definition of the table.",
                    "Call the function as the table's owner or as a superuser.",
                )
            },
            Self::ExtensionInUse { tables } => report(
                "OS006",
                "cannot drop extension \"orgscope\" while tables are scoped",
                &format!("{tables} scoped table(s) would lose row security, guards and keys."),
                "Call orgscope.disable_org_scoping() for each table in orgscope.scoped_tables first.",
            ),
            Self::AuditSwallowed => report(
                "OS008",
                "audit rows were not written",
                "A rule or a trigger on orgscope.audit_log, or on a partition of it, has taken them away.",
                "Drop it: the audit log takes no rules and triggers but its own.",
            ),
            Self::AuditImmutable { operation, table } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS008",
                    "audit rows cannot be changed",
                    &format!("{operation} on {}.{} is refused for every role.", table.schema, table.table),
                    "Add a new row that corrects the record instead.",
                )
            },
            Self::ForeignChain => report(
                "OS002",
                "audit chain belongs to another organization",
                "A role under row security verifies the chain of its own organization only.",
                "Call orgscope.verify_audit() without an argument.",
            ),
            Self::NotSuperuser { function } => report(
                "42501",
                &format!("must be superuser to call orgscope.{function}()"),
                "It works on the audit rows of every organization.",
                "Call it as a superuser.",
            ),
            Self::ColumnGone { table, column } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS005",
                    &format!("organization column \"{column}\" of table \"{}\" is not there", table.table),
                    "It was renamed, dropped, or is no longer a uuid.",
                    "Give it its name and type back, then call orgscope.repair_org_scoping().",
                )
            },
            Self::Attached { table } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS006",
                    &format!("cannot attach scoped table \"{}\" to a table that is not scoped", table.table),
                    "Its rows could then be read through the other table, without its row security.",
                    "Scope the other table with orgscope.enable_org_scoping() first, or call orgscope.disable_org_scoping() for this one.",
                )
            },
            Self::InTransaction => report(
                "25001",
                "orgscope.backfill_org() cannot run inside a transaction block",
                "It commits after each batch.",
                "CALL it outside BEGIN, functions and DO, or give enable_org_scoping() the option \"backfill\".",
            ),
            Self::NoRoomToSearch => report(
                "54001",
                "not enough stack left to search under row security",
                "With \"orgscope.leakproof_operators\" on, a search needs 512 kB, so that no row decides whether there is enough.",
                "Call it from fewer functions, or raise \"max_stack_depth\".",
            ),
            Self::CopyFreeze => report(
                "0A000",
                "cannot use COPY FREEZE under row security",
                "Frozen rows are seen by every transaction at once, and the rows of a scoped table are written by an INSERT.",
                "Leave out FREEZE.",
            ),
            Self::CopyWhereGenerated { column } => report(
                "42P10",
                "generated columns are not supported in COPY FROM WHERE conditions",
                &format!("Column \"{column}\" is a generated column."),
                "Write the condition with the columns that it is generated from.",
            ),
            Self::Drift { table, kind, command, missing, undo } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS006",
                    &format!("{command} would weaken {kind} table \"{}\"", table.table),
                    &format!("It would be left without: {}.", missing.join(", ")),
                    &format!("Keep it, or call {undo} to take the table out of scoping."),
                )
            },
            Self::ChangedMeanwhile { table, detail } => Report {
                table: Some(table.clone()),
                ..report(
                    "40001",
                    &format!("could not serialize access due to a concurrent change of table \"{}\"", table.table),
                    detail,
                    "Run the transaction again.",
                )
            },
            Self::Unscoped { table, detail, hint } => Report {
                table: Some(table.clone()),
                ..report("OS006", &format!("new table \"{}\" would not be scoped", table.table), detail, hint)
            },
            Self::SharedTable { table } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS002",
                    &format!("table \"{}\" is shared by all organizations", table.table),
                    "All organizations read its rows, and none may change them.",
                    "Write to it as a superuser or as a role with BYPASSRLS; if organizations have to write to it, call orgscope.unshare_table().",
                )
            },
            Self::ExplainDenied => report(
                "42501",
                "cannot use EXPLAIN under row security",
                "Plans are made of the rows of all organizations, and orgscope.explain is \"deny\".",
                "Use a role that row security does not hold; or, as a superuser, set orgscope.explain to \"allow\".",
            ),
            Self::BypassDenied { table } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS007",
                    &format!("access to scoped table \"{}\" outside row security is denied", table.table),
                    "Row security does not hold this role, and orgscope.bypass is deny.",
                    "Use a role without SUPERUSER and BYPASSRLS; or, as a superuser and on record, SET orgscope.bypass = audit.",
                )
            },
            Self::AuditTimeout { table } => Report {
                table: Some(table.clone()),
                ..report(
                    "OS007",
                    &format!("read of scoped table \"{}\" could not be put on record in time", table.table),
                    "orgscope.audit_durability is sync: no row is returned before its reader is on record.",
                    "See in the server's log why the audit writer does not write, or raise orgscope.audit_timeout.",
                )
            },
            Self::AuditImpossible { table, standby } => audit_impossible(table.clone(), *standby),
            Self::NotATrigger { function } => report(
                "39P01",
                &format!("function \"orgscope.{function}\" was not called by its trigger"),
                "It is part of what orgscope.enable_org_scoping() installs on a table.",
                "Call orgscope.repair_org_scoping() if a table's triggers were changed.",
            ),
            Self::Internal { what } => report(
                "XX000",
                &format!("orgscope: {what}"),
                "This is a fault in orgscope.",
                "Please report it with the statement that caused it.",
            ),
        }
    }
}

fn report(sqlstate: &'static str, message: &str, detail: &str, hint: &str) -> Report {
    Report { sqlstate, message: message.into(), detail: detail.into(), hint: hint.into(), table: None }
}

fn audit_impossible(table: Box<TableName>, standby: bool) -> Report {
    let message = format!("read of scoped table \"{}\" cannot be put on record", table.table);
    let (detail, hint) = if standby {
        (
            "orgscope.audit_durability is sync, and a standby cannot write the audit log.",
            "Read on the primary; or, as a superuser, SET orgscope.audit_durability = async: a standby's reads then go to the server's log.",
        )
    } else {
        (
            "orgscope.audit_durability is sync, and the audit queue has no room or is not there.",
            "See in the server's log why the audit writer does not write, raise orgscope.audit_queue, or add orgscope to shared_preload_libraries.",
        )
    };
    Report { table: Some(table), ..report("OS007", &message, detail, hint) }
}

fn no_context(table: Option<Box<TableName>>, why: Absent) -> Report {
    let message = match &table {
        Some(name) => format!("no organization context for table \"{}\"", name.table),
        None => "no organization context".into(),
    };
    let (detail, hint) = match why {
        Absent::Unset => (
            "orgscope.current_org is not set in this transaction.",
            "Begin the transaction with SET LOCAL orgscope.current_org = '...' or orgscope.set_current_org(...).",
        ),
        Absent::FromConnection => (
            "orgscope.current_org came with the connection, which does not count while orgscope.context_lifetime is \"transaction\".",
            "Use SET LOCAL in each transaction, or let a superuser set orgscope.context_lifetime to \"connection\" for this role.",
        ),
        Absent::BreakGlassExpired => (
            "The break-glass of this session has expired.",
            "Call orgscope.break_glass() again, or set orgscope.current_org in this transaction.",
        ),
        Absent::BreakGlassOtherRole => (
            "The break-glass of this session was opened under another role.",
            "Call orgscope.break_glass() as this role, or set orgscope.current_org in this transaction.",
        ),
        Absent::NoToken => (
            "orgscope.context_source is \"token\", and no token is in force in this transaction.",
            "Begin the transaction with SET LOCAL orgscope.token = '...' or orgscope.set_org_token(...).",
        ),
    };
    Report { table, ..report("OS001", &message, detail, hint) }
}

fn wrong_organization(table: Box<TableName>, what: Foreign) -> Report {
    let name = &table.table;
    let (message, detail, hint) = match what {
        Foreign::Insert => (
            format!("new row for table \"{name}\" belongs to another organization"),
            "The row's organization is not the organization of this transaction's context.",
            "Leave the organization column out: it is filled from the context.",
        ),
        Foreign::Update => (
            format!("row of table \"{name}\" belongs to another organization"),
            "The update reached a row outside the organization of this transaction's context.",
            "Run it in a transaction whose context is that row's organization.",
        ),
        Foreign::Delete => (
            format!("row of table \"{name}\" belongs to another organization"),
            "The delete reached a row outside the organization of this transaction's context.",
            "Run it in a transaction whose context is that row's organization.",
        ),
        Foreign::Move => (
            format!("row of table \"{name}\" cannot move to another organization"),
            "The update changes the row's organization.",
            "Insert a copy under the other organization and delete this row under its own.",
        ),
        Foreign::Truncate => (
            format!("cannot truncate scoped table \"{name}\""),
            "TRUNCATE would remove the rows of every organization.",
            "Use DELETE, which reaches only the rows of the current organization.",
        ),
    };
    Report { table: Some(table), ..report("OS002", &message, detail, hint) }
}

fn context_refused(why: Refused) -> Report {
    match why {
        Refused::SessionSet => report(
            "OS003",
            "cannot set \"orgscope.current_org\" for the whole session",
            "orgscope.context_lifetime does not allow it: a pooled connection would carry the organization to its next client.",
            "Use SET LOCAL inside a transaction.",
        ),
        Refused::SessionSetFunction => report(
            "OS003",
            "cannot set the current organization for the whole session",
            "orgscope.context_lifetime does not allow it: a pooled connection would carry the organization to its next client.",
            "Leave out the second argument of orgscope.set_current_org(), inside a transaction.",
        ),
        Refused::Changed => report(
            "OS003",
            "cannot change the organization within a transaction",
            "This transaction has already used another organization, and orgscope.context_change is \"once\".",
            "End the transaction first and set the other organization in a new one.",
        ),
        Refused::BreakGlass => report(
            "OS003",
            "cannot set another organization while break-glass is open",
            "Break-glass is for one organization, and ends with a transaction.",
            "Call orgscope.end_break_glass() first, in a transaction of its own.",
        ),
        Refused::AlreadyOpen => report(
            "OS003",
            "break-glass is already open",
            "This session has opened it, or has just asked for it in this transaction.",
            "Call orgscope.end_break_glass() first, in a transaction of its own.",
        ),
        Refused::Sealed => report(
            "OS003",
            "cannot change the organization while the context is sealed",
            "orgscope.seal_context() was called: the seal ends with its transaction, or with its key.",
            "End the transaction, or call orgscope.unseal_context() with the key.",
        ),
        Refused::WrongKey => report(
            "OS003",
            "key does not open the seal of the context",
            "The attempt is on record, and each takes longer than the one before.",
            "Bring the key that orgscope.seal_context() was called with, or close the connection.",
        ),
        Refused::NoKeyOpens => report(
            "OS003",
            "context was sealed without a key",
            "Such a seal ends with its transaction, and not before.",
            "End the transaction.",
        ),
        Refused::SealedWithoutKey => report(
            "OS003",
            "context is already sealed without a key",
            "Such a seal ends with its transaction, and takes no key.",
            "Call orgscope.seal_context() with a key in a transaction in which it was not called without one.",
        ),
        Refused::SealBreakGlass => report(
            "OS003",
            "cannot seal break-glass",
            "It expires by itself and holds for one role, which a seal would change.",
            "Call orgscope.end_break_glass() first, in a transaction of its own.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_the_house_style() {
        let table = Box::new(TableName { schema: "s".into(), table: "t".into(), column: None });
        let all = [
            Error::NoContext { table: None, why: Absent::Unset },
            Error::NoContext { table: Some(table.clone()), why: Absent::FromConnection },
            Error::WrongOrganization { table: table.clone(), what: Foreign::Insert },
            Error::WrongOrganization { table: table.clone(), what: Foreign::Move },
            Error::WrongOrganization { table: table.clone(), what: Foreign::Truncate },
            Error::ContextRefused(Refused::SessionSet),
            Error::ContextRefused(Refused::Changed),
            Error::UnknownOrganization,
            Error::SuspendedOrganization,
            Error::NotOwner { table: table.clone() },
            Error::ExtensionInUse { tables: 1 },
            Error::AuditSwallowed,
            Error::AuditImmutable { operation: "DELETE", table: table.clone() },
            Error::ForeignChain,
            Error::NotSuperuser { function: "purge_audit_log" },
            Error::InTransaction,
            Error::CopyFreeze,
            Error::NoRoomToSearch,
            Error::NoContext { table: None, why: Absent::BreakGlassExpired },
            Error::NoContext { table: None, why: Absent::BreakGlassOtherRole },
            Error::ContextRefused(Refused::BreakGlass),
            Error::ContextRefused(Refused::AlreadyOpen),
            Error::ContextRefused(Refused::Sealed),
            Error::ContextRefused(Refused::WrongKey),
            Error::ContextRefused(Refused::NoKeyOpens),
            Error::ContextRefused(Refused::SealedWithoutKey),
            Error::ContextRefused(Refused::SealBreakGlass),
            Error::NullKey,
            Error::EmptyKey,
            Error::NullToken,
            Error::NoContext { table: None, why: Absent::NoToken },
            Error::NoReason,
            Error::Minutes,
            Error::OpeningPrepared,
            Error::ReadOnly { table: table.clone() },
            Error::SharedTable { table: table.clone() },
            Error::ExplainDenied,
            Error::BypassDenied { table: table.clone() },
            Error::AuditTimeout { table: table.clone() },
            Error::AuditImpossible { table: table.clone(), standby: true },
            Error::AuditImpossible { table: table.clone(), standby: false },
            Error::Unscoped { table: table.clone(), detail: "A.".into(), hint: "B.".into() },
            Error::Drift { table, kind: "scoped", command: "x".into(), missing: vec!["y".into()], undo: "z()".into() },
        ];
        for error in all {
            let r = error.report();
            assert_eq!(r.sqlstate.len(), 5);
            assert!(!r.message.ends_with('.'), "{}", r.message);
            assert!(r.message.starts_with(char::is_lowercase), "{}", r.message);
            assert!(r.detail.ends_with('.'), "{}", r.detail);
            assert!(r.hint.ends_with('.'), "{}", r.hint);
        }
    }
}
