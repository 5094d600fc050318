//! The hook on utility statements: SET without LOCAL, DROP of the extension or of parts of it, and foreign keys added to
//! scoped tables.
//!
//! It looks, and may refuse; then the statement runs in a plain frame, so that PostgreSQL's own errors reach the client
//! with every field they began with.

use crate::audit::{administration, commands, detect, locks, reads};
use crate::context::{available, lifetime, seal, value};
use crate::copy;
use crate::error::Error;
use crate::guard::{ddl, explain, values};
use crate::pg::{entry, raw, without_force};
use crate::scope;
use pgrx::pg_sys;
use std::ffi::c_char;

static mut NEXT: pg_sys::ProcessUtility_hook_type = None;

pub fn init() {
    // SAFETY: _PG_init runs once per process; hooks are plain pointers, and the one found is called after ours.
    unsafe {
        NEXT = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(utility);
    }
}

/// Plain frame.
unsafe extern "C-unwind" fn utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the arguments are PostgreSQL's and passed on as they came.
    unsafe {
        let node = (*statement).utilityStmt;
        // Some commands end the transaction that keeps their tree.
        let tag = (*node).type_;
        // Before what it depends on: a function may have changed a setting, and change it back.
        administration::look_if_changed();
        if concerns_us((*node).type_) {
            entry(|| before(node));
        }
        if ddl::goes_unseen(node) {
            entry(|| ddl::record_unseen(node));
        }
        let finishes_prepared = tag == pg_sys::NodeTag::T_TransactionStmt && commits_prepared(&*node.cast());
        let reads = if tag == pg_sys::NodeTag::T_CopyStmt { reads::begun() } else { 0 };
        // COPY checks privileges without the executor's start, and a start that has failed has left its word.
        detect::started();
        let next = NEXT.unwrap_or(raw::standard_ProcessUtility);
        let run = || next(statement, query, read_only_tree, context, params, environment, dest, completion);
        if tag == pg_sys::NodeTag::T_CopyStmt && copy::from(statement, query, completion) {
            return;
        }
        if !ddl::checks_foreign_keys(node) {
            run()
        } else if entry(|| Ok(values::are_hidden(&*node.cast()))) {
            values::without_values(|| without_force(run))
        } else {
            without_force(run)
        }
        if (*node).type_ == pg_sys::NodeTag::T_ReassignOwnedStmt {
            entry(scope::judge_owners);
        }
        if matches!(tag, pg_sys::NodeTag::T_VariableSetStmt | pg_sys::NodeTag::T_DiscardStmt) {
            entry(|| {
                if tag == pg_sys::NodeTag::T_VariableSetStmt {
                    lifetime::after_reset(&*node.cast());
                }
                administration::look();
                Ok(())
            });
        } else if tag == pg_sys::NodeTag::T_LockStmt {
            entry(|| {
                locks::record(&*node.cast());
                Ok(())
            });
        } else if tag == pg_sys::NodeTag::T_CopyStmt && reads::begun() > reads && !completion.is_null() {
            entry(|| {
                reads::copied(reads, (*completion).nprocessed);
                Ok(())
            });
        } else if finishes_prepared {
            available::raise_generation();
        } else if commands::concerns(tag) {
            entry(|| {
                commands::record(node);
                Ok(())
            });
        }
    }
}

/// What the prepared transaction did with organizations is not known here.
fn commits_prepared(statement: &pg_sys::TransactionStmt) -> bool {
    statement.kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
}

/// The first look at every utility statement, BEGIN and COMMIT among them.
fn concerns_us(tag: pg_sys::NodeTag) -> bool {
    use pg_sys::NodeTag::{
        T_AlterEventTrigStmt, T_AlterExtensionContentsStmt, T_AlterExtensionStmt, T_AlterObjectSchemaStmt,
        T_AlterOwnerStmt, T_AlterTableStmt, T_CreateSchemaStmt, T_CreateTableAsStmt, T_DiscardStmt, T_DropOwnedStmt,
        T_DropStmt, T_ExplainStmt, T_FetchStmt, T_GrantStmt, T_LockStmt, T_RenameStmt, T_VariableSetStmt,
    };
    matches!(
        tag,
        T_VariableSetStmt
            | T_AlterTableStmt
            | T_DropStmt
            | T_DropOwnedStmt
            | T_CreateTableAsStmt
            | T_AlterEventTrigStmt
            | T_AlterExtensionContentsStmt
            | T_AlterExtensionStmt
            | T_AlterObjectSchemaStmt
            | T_RenameStmt
            | T_AlterOwnerStmt
            | T_LockStmt
            | T_GrantStmt
            | T_CreateSchemaStmt
            | T_FetchStmt
            | T_DiscardStmt
            | T_ExplainStmt
    )
}

unsafe fn before(node: *mut pg_sys::Node) -> Result<(), Error> {
    // SAFETY: each cast follows the node's tag.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_VariableSetStmt => lifetime::check_set(&*node.cast()),
            pg_sys::NodeTag::T_AlterTableStmt => ddl::check_attach(&*node.cast()),
            pg_sys::NodeTag::T_DropStmt => {
                scope::name(node);
                ddl::check_drop(&*node.cast())
            }
            pg_sys::NodeTag::T_GrantStmt | pg_sys::NodeTag::T_CreateSchemaStmt => {
                scope::name(node);
                Ok(())
            }
            pg_sys::NodeTag::T_DropOwnedStmt => ddl::check_drop_owned(&*node.cast()),
            // DISCARD ALL resets every setting; the others none.
            pg_sys::NodeTag::T_DiscardStmt => {
                let all = (*node.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL;
                if all { seal::check_reset() } else { Ok(()) }
            }
            pg_sys::NodeTag::T_FetchStmt => value::check_used(),
            pg_sys::NodeTag::T_LockStmt => locks::check(&*node.cast()),
            pg_sys::NodeTag::T_ExplainStmt => explain::check(),
            pg_sys::NodeTag::T_CreateTableAsStmt => {
                scope::forget_sources();
                Ok(())
            }
            pg_sys::NodeTag::T_AlterExtensionContentsStmt
            | pg_sys::NodeTag::T_AlterExtensionStmt
            | pg_sys::NodeTag::T_AlterObjectSchemaStmt => ddl::record_extension(node),
            _ => ddl::record_event_trigger(node),
        }
    }
}
