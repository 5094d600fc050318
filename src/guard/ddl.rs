//! DDL that would take the protection away from every table at once.

use crate::audit::administration;
use crate::audit::ddl as audit;
use crate::error::Error;
use crate::guard::table_name;
use crate::scope;
use crate::{pg, spi};
use pgrx::pg_sys;
use std::ffi::{CStr, c_char};

/// Refuses to drop the extension, its schema, or what its owner owns, while tables are scoped: CASCADE would leave the
/// tables without policies and keys, and their rows open to everybody.
pub fn check_drop(statement: &pg_sys::DropStmt) -> Result<(), Error> {
    use pg_sys::ObjectType::{OBJECT_EVENT_TRIGGER, OBJECT_EXTENSION, OBJECT_SCHEMA};
    if statement.removeType == OBJECT_EVENT_TRIGGER {
        let ours = names(statement.objects).flatten().find(|name| name.starts_with(EVENT_TRIGGERS));
        return ours.map_or(Ok(()), |name| record_ours("DROP EVENT TRIGGER", &name));
    }
    let concerns_us = matches!(statement.removeType, OBJECT_EXTENSION | OBJECT_SCHEMA)
        && names(statement.objects).any(|name| name.as_deref() == Some("orgscope"));
    if !concerns_us {
        return Ok(());
    }
    refuse_while_scoped()?;
    administration::announce_drop();
    Ok(())
}

pub fn check_drop_owned(statement: &pg_sys::DropOwnedStmt) -> Result<(), Error> {
    let owner =
        "SELECT extowner::pg_catalog.text FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'orgscope'";
    let Some(owner) = spi::query(owner, &[]) else { return Ok(()) };
    // SAFETY: the parser's list of RoleSpec nodes; with missing_ok an unknown role is PostgreSQL's error to raise.
    let mut roles = nodes(statement.roles).map(|role| unsafe { pg_sys::get_rolespec_oid(role, true) });
    if roles.any(|role| role.to_u32().to_string() == owner) { refuse_while_scoped() } else { Ok(()) }
}

/// Counts tables by their guards, not by the registry: a table that was renamed is protected all the same.
const SCOPED_TABLES: &str = "SELECT pg_catalog.count(DISTINCT t.tgrelid)::pg_catalog.text \
     FROM pg_catalog.pg_trigger t \
     JOIN pg_catalog.pg_proc f ON f.oid OPERATOR(pg_catalog.=) t.tgfoid \
     JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) f.pronamespace \
     WHERE n.nspname OPERATOR(pg_catalog.=) 'orgscope' AND c.relnamespace OPERATOR(pg_catalog.<>) n.oid";

fn refuse_while_scoped() -> Result<(), Error> {
    if !extension_is_there() {
        return Ok(());
    }
    // Whoever is at it would be done after the count.
    scope::lock_registry(scope::ALONE);
    match pg::as_superuser(|| spi::query(SCOPED_TABLES, &[])).and_then(|n| n.parse().ok()) {
        Some(0) | None => Ok(()),
        Some(tables) => Err(Error::ExtensionInUse { tables }),
    }
}

/// Whether an ALTER TABLE makes PostgreSQL look through a table for rows that break a foreign key. It does that as the
/// table's owner, and under FORCE ROW LEVEL SECURITY it would look at the current organization's rows only and call the
/// key valid, or fail without a context. So FORCE is suspended for the statement, as for the key's own checks later.
///
/// Plain frame: called for every utility statement.
pub unsafe fn checks_foreign_keys(node: *mut pg_sys::Node) -> bool {
    // SAFETY: each cast follows the node's tag.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_AlterTableStmt
            && nodes::<pg_sys::AlterTableCmd>((*node.cast::<pg_sys::AlterTableStmt>()).cmds).any(|command| {
                let definition = (*command).def;
                match (*command).subtype {
                    // PostgreSQL 18: ALTER CONSTRAINT ... ENFORCED
                    pg_sys::AlterTableType::AT_ValidateConstraint | pg_sys::AlterTableType::AT_AlterConstraint => true,
                    // The parent's keys.
                    pg_sys::AlterTableType::AT_AttachPartition => true,
                    // The keys of the column, on either side, are made anew and checked.
                    pg_sys::AlterTableType::AT_AlterColumnType => true,
                    // The same for a generated column.
                    #[cfg(any(feature = "pg17", feature = "pg18"))]
                    pg_sys::AlterTableType::AT_SetExpression => true,
                    // Whether a key refers to the partition's rows. CONCURRENTLY goes over several transactions, which a
                    // suspended FORCE must not.
                    pg_sys::AlterTableType::AT_DetachPartition => {
                        !(*definition.cast::<pg_sys::PartitionCmd>()).concurrent
                    }
                    pg_sys::AlterTableType::AT_AddConstraint => is_foreign_key(definition.cast()),
                    pg_sys::AlterTableType::AT_AddColumn => {
                        nodes((*definition.cast::<pg_sys::ColumnDef>()).constraints).any(|c| is_foreign_key(c))
                    }
                    _ => false,
                }
            })
    }
}

unsafe fn is_foreign_key(constraint: *mut pg_sys::Constraint) -> bool {
    // SAFETY: the parser puts Constraint nodes here.
    unsafe { (*constraint).contype == pg_sys::ConstrType::CONSTR_FOREIGN }
}

/// Refuses to make a scoped table a partition or child of one that is not: row security is that of the table named in a
/// query, so all its rows could be read through the parent.
pub fn check_attach(statement: &pg_sys::AlterTableStmt) -> Result<(), Error> {
    for command in nodes::<pg_sys::AlterTableCmd>(statement.cmds) {
        // SAFETY: each cast follows the subcommand.
        let (child, parent, is_partition) = unsafe {
            match (*command).subtype {
                pg_sys::AlterTableType::AT_AttachPartition => {
                    ((*(*command).def.cast::<pg_sys::PartitionCmd>()).name, statement.relation, true)
                }
                pg_sys::AlterTableType::AT_AddInherit => (statement.relation, (*command).def.cast(), false),
                _ => continue,
            }
        };
        // An unknown table is PostgreSQL's error to raise.
        let (Some(child), Some(parent)) = (table_of(child), table_of(parent)) else { continue };
        if !has_guards(child) {
            continue;
        }
        if !has_guards(parent) {
            return Err(Error::Attached { table: table_name(child, None) });
        }
        if is_partition {
            make_room_for_clones(child);
        }
    }
    Ok(())
}

/// No lock: the statement takes its own, and a table that is being scoped at this moment is checked by no one but its
/// own session.
pub fn table_of(name: *const pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    let flags = pg_sys::RVROption::RVR_MISSING_OK;
    // SAFETY: the parser's node; missing_ok.
    let table =
        unsafe { pg_sys::RangeVarGetRelidExtended(name, pg_sys::NoLock as i32, flags, None, std::ptr::null_mut()) };
    (table != pg_sys::InvalidOid).then_some(table)
}

/// A partition's row triggers are clones of its parent's, of the same names: its own go first. As the user of the
/// statement, who must own the table.
fn make_room_for_clones(table: pg_sys::Oid) {
    let sql = "SELECT pg_catalog.string_agg(pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname), '; ') \
         FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         JOIN pg_catalog.pg_proc f ON f.oid OPERATOR(pg_catalog.=) t.tgfoid \
         WHERE t.tgrelid OPERATOR(pg_catalog.=) $1::pg_catalog.oid AND t.tgparentid OPERATOR(pg_catalog.=) 0 \
           AND (t.tgtype OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 1 \
           AND f.pronamespace OPERATOR(pg_catalog.=) 'orgscope'::pg_catalog.regnamespace";
    if let Some(drops) = spi::query(sql, &[Some(&table.to_u32().to_string())]) {
        // The command ends with the clones in their place.
        scope::quietly(table, || spi::execute(&drops, &[]));
    }
}

fn has_guards(table: pg_sys::Oid) -> bool {
    let sql = "SELECT 'yes' FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_proc f ON f.oid OPERATOR(pg_catalog.=) t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) f.pronamespace \
         WHERE n.nspname OPERATOR(pg_catalog.=) 'orgscope' AND t.tgrelid OPERATOR(pg_catalog.=) $1::pg_catalog.oid LIMIT 1";
    spi::query(sql, &[Some(&table.to_u32().to_string())]).is_some()
}

pub fn nodes<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: the parser's list of pointers to nodes of the type the caller names, alive for the whole statement.
    let length = if list.is_null() { 0 } else { unsafe { (*list).length as usize } };
    (0..length).map(move |i| unsafe { (*(*list).elements.add(i)).ptr_value.cast() })
}

/// DROP EXTENSION and DROP SCHEMA name their objects by single String nodes.
fn names(list: *mut pg_sys::List) -> impl Iterator<Item = Option<String>> {
    // SAFETY: see nodes(); a String node's text is NUL-terminated.
    nodes::<pg_sys::String>(list).map(|name| unsafe { pg::text_of((*name).sval as *const c_char) })
}

const UPDATE: &str = "ALTER EXTENSION UPDATE";

/// What takes our objects out of the extension, after which they can be dropped one by one, or puts others in.
pub unsafe fn record_extension(node: *mut pg_sys::Node) -> Result<(), Error> {
    // SAFETY: each cast follows the node's tag; an extension is named by one String node.
    let (name, command) = unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_AlterExtensionContentsStmt => {
                let statement = &*node.cast::<pg_sys::AlterExtensionContentsStmt>();
                let command = if statement.action < 0 { "ALTER EXTENSION DROP" } else { "ALTER EXTENSION ADD" };
                (pg::text_of(statement.extname), command)
            }
            pg_sys::NodeTag::T_AlterExtensionStmt => {
                (pg::text_of((*node.cast::<pg_sys::AlterExtensionStmt>()).extname), UPDATE)
            }
            _ => {
                let statement = &*node.cast::<pg_sys::AlterObjectSchemaStmt>();
                if statement.objectType != pg_sys::ObjectType::OBJECT_EXTENSION {
                    return Ok(());
                }
                let object = statement.object.cast::<pg_sys::String>();
                (pg::text_of((*object).sval), "ALTER EXTENSION SET SCHEMA")
            }
        }
    };
    if name.as_deref() == Some("orgscope") { record_ours(command, "orgscope") } else { Ok(()) }
}

/// What only the owner may do to what is ours. Who is not is PostgreSQL's to refuse.
fn record_ours(command: &str, object: &str) -> Result<(), Error> {
    // SAFETY: a syscache look-up.
    if !unsafe { pg_sys::superuser() } || !extension_is_there() || creating_ours() {
        return Ok(());
    }
    let detail = serde_json::json!({ "objects": [object] });
    if command != UPDATE {
        return audit::record_ours(command, detail);
    }
    // Its script may change the audit log.
    audit::record_ours_at_end(command, detail);
    Ok(())
}

/// Whether a script of ours runs, which makes and changes what is ours. Another extension's may not.
fn creating_ours() -> bool {
    // SAFETY: plain globals, and a catalog look-up: with missing_ok an absent extension is InvalidOid.
    unsafe {
        pg_sys::creating_extension
            && pg_sys::CurrentExtensionObject == pg_sys::get_extension_oid(c"orgscope".as_ptr(), true)
    }
}

/// Our event triggers switched off, renamed, given away or dropped: only a superuser can, and no event trigger sees it.
pub unsafe fn record_event_trigger(node: *mut pg_sys::Node) -> Result<(), Error> {
    use pg_sys::ObjectType::OBJECT_EVENT_TRIGGER;
    // SAFETY: each cast follows the node's tag; event triggers are named by one String node.
    let (name, command) = unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_AlterEventTrigStmt => {
                (pg::text_of((*node.cast::<pg_sys::AlterEventTrigStmt>()).trigname), "ALTER EVENT TRIGGER")
            }
            pg_sys::NodeTag::T_RenameStmt
                if (*node.cast::<pg_sys::RenameStmt>()).renameType == OBJECT_EVENT_TRIGGER =>
            {
                let object = (*node.cast::<pg_sys::RenameStmt>()).object.cast::<pg_sys::String>();
                (pg::text_of((*object).sval), "ALTER EVENT TRIGGER RENAME")
            }
            pg_sys::NodeTag::T_AlterOwnerStmt
                if (*node.cast::<pg_sys::AlterOwnerStmt>()).objectType == OBJECT_EVENT_TRIGGER =>
            {
                let object = (*node.cast::<pg_sys::AlterOwnerStmt>()).object.cast::<pg_sys::String>();
                (pg::text_of((*object).sval), "ALTER EVENT TRIGGER OWNER")
            }
            _ => return Ok(()),
        }
    };
    match name.filter(|name| name.starts_with(EVENT_TRIGGERS)) {
        Some(name) => record_ours(command, &name),
        None => Ok(()),
    }
}

/// How the names of our event triggers begin.
const EVENT_TRIGGERS: &str = "orgscope_";

/// With `event_triggers = off` (PostgreSQL 17), which only a superuser may set, nobody looks at DDL.
///
/// Plain frame: called for every utility statement.
pub unsafe fn goes_unseen(node: *mut pg_sys::Node) -> bool {
    // SAFETY: look-ups in static tables; with missing_ok an unknown setting is NULL, and its text is guc.c's.
    unsafe {
        // Every transaction may send these, and no event trigger sees them.
        if matches!((*node).type_, pg_sys::NodeTag::T_TransactionStmt | pg_sys::NodeTag::T_VariableSetStmt)
            || !pg_sys::command_tag_event_trigger_ok(pg_sys::CreateCommandTag(node))
        {
            return false;
        }
        let setting = pg_sys::GetConfigOption(c"event_triggers".as_ptr(), true, false);
        !setting.is_null() && CStr::from_ptr(setting) == c"off"
    }
}

pub unsafe fn record_unseen(node: *mut pg_sys::Node) -> Result<(), Error> {
    if extension_is_there() && !creating_ours() {
        // SAFETY: the parser's node; names of tags are static.
        let name = unsafe { pg::text_of(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(node))) };
        return audit::record_ours(&name.unwrap_or_default(), serde_json::json!({ "event_triggers": "off" }));
    }
    Ok(())
}

pub fn extension_is_there() -> bool {
    // SAFETY: a catalog look-up; with missing_ok an absent extension is InvalidOid.
    unsafe { pg_sys::get_extension_oid(c"orgscope".as_ptr(), true) != pg_sys::InvalidOid }
}
