//! Commands that let a role step around row security, or change what holds it: which of them are put on record.

use super::administration::{bypasses, note_entry};
use super::entry::Entry;
use crate::guard::ddl::nodes;
use crate::pg;
use crate::spi;
use pgrx::pg_sys;
use serde_json::{Value, json};
use std::ffi::CStr;

/// Whether [`record`] must see the command. The first look at every utility statement.
pub fn concerns(tag: pg_sys::NodeTag) -> bool {
    use pg_sys::NodeTag::{
        T_AlterDatabaseSetStmt, T_AlterRoleSetStmt, T_AlterRoleStmt, T_AlterSystemStmt, T_CreateRoleStmt,
        T_GrantRoleStmt, T_GrantStmt,
    };
    matches!(
        tag,
        T_CreateRoleStmt
            | T_AlterRoleStmt
            | T_GrantRoleStmt
            | T_GrantStmt
            | T_AlterSystemStmt
            | T_AlterRoleSetStmt
            | T_AlterDatabaseSetStmt
    )
}

/// After the command, in its transaction.
pub unsafe fn record(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::{
        T_AlterDatabaseSetStmt, T_AlterRoleSetStmt, T_AlterRoleStmt, T_AlterSystemStmt, T_CreateRoleStmt, T_GrantStmt,
    };
    // SAFETY: each cast follows the node's tag; the tree is the parser's and outlives the command.
    unsafe {
        match (*node).type_ {
            T_CreateRoleStmt => {
                let command = &*node.cast::<pg_sys::CreateRoleStmt>();
                role("CREATE ROLE", pg::text_of(command.role), command.options, true);
            }
            T_AlterRoleStmt => {
                let command = &*node.cast::<pg_sys::AlterRoleStmt>();
                // ALTER GROUP ... DROP USER takes members away.
                role("ALTER ROLE", role_of(command.role), command.options, command.action >= 0);
            }
            T_AlterSystemStmt => {
                set("ALTER SYSTEM", (*node.cast::<pg_sys::AlterSystemStmt>()).setstmt, None, None);
            }
            T_AlterRoleSetStmt => {
                let command = &*node.cast::<pg_sys::AlterRoleSetStmt>();
                set("ALTER ROLE", command.setstmt, role_of(command.role), pg::text_of(command.database));
            }
            T_AlterDatabaseSetStmt => {
                let command = &*node.cast::<pg_sys::AlterDatabaseSetStmt>();
                set("ALTER DATABASE", command.setstmt, None, pg::text_of(command.dbname));
            }
            T_GrantStmt => grant_of_settings(&*node.cast()),
            _ => grant(&*node.cast()),
        }
    }
}

/// The role's name; ALL has none.
unsafe fn role_of(role: *mut pg_sys::RoleSpec) -> Option<String> {
    // SAFETY: the parser's node; with missing_ok an unknown role is InvalidOid, which has no name.
    unsafe { if role.is_null() { None } else { pg::role_name(pg_sys::get_rolespec_oid(role, true)) } }
}

/// CREATE ROLE, ALTER ROLE and ALTER GROUP: attributes, and memberships that they give.
unsafe fn role(operation: &'static str, name: Option<String>, options: *mut pg_sys::List, adds: bool) {
    let mut detail = json!({ "role": name });
    let (mut gives, mut has_password) = (false, false);
    for option in nodes::<pg_sys::DefElem>(options) {
        // SAFETY: the parser's options; those asked for a boolean carry one.
        unsafe {
            match CStr::from_ptr((*option).defname).to_str() {
                Ok(attribute @ ("superuser" | "bypassrls")) if pg_sys::defGetBoolean(option) => {
                    detail[attribute] = Value::Bool(true);
                    gives = true;
                }
                Ok("addroleto" | "rolemembers" | "adminmembers") => {
                    gives |= adds && name.as_deref().is_some_and(reaches_bypass);
                }
                Ok("password") => has_password = true,
                _ => {}
            }
        }
    }
    if gives {
        let entry = Entry::of_client("privilege", operation, Some(detail));
        note_entry(if has_password { entry.without_statement() } else { entry });
    }
}

/// GRANT of roles. What is taken back needs no record.
unsafe fn grant(command: &pg_sys::GrantRoleStmt) {
    if !command.is_grant {
        return;
    }
    // SAFETY: the parser's lists.
    let granted =
        nodes::<pg_sys::AccessPriv>(command.granted_roles).filter_map(|r| pg::text_of(unsafe { (*r).priv_name }));
    let granted: Vec<String> = granted.filter(|role| reaches_bypass(role)).collect();
    if !granted.is_empty() {
        // SAFETY: as above.
        let to: Vec<_> = nodes(command.grantee_roles).filter_map(|r| unsafe { role_of(r) }).collect();
        note_entry(Entry::of_client("privilege", "GRANT", Some(json!({ "granted": granted, "to": to }))));
    }
}

/// GRANT of the right to set what holds row security, which only a superuser has otherwise.
unsafe fn grant_of_settings(command: &pg_sys::GrantStmt) {
    if !command.is_grant || command.objtype != pg_sys::ObjectType::OBJECT_PARAMETER_ACL {
        return;
    }
    // SAFETY: the parser's lists; settings are named by String nodes, and ALL has no list of privileges.
    unsafe {
        let settings = nodes::<pg_sys::String>(command.objects).filter_map(|s| pg::text_of((*s).sval));
        let settings: Vec<String> = settings.filter(|name| is_ours(name)).collect();
        if settings.is_empty() {
            return;
        }
        let privileges: Vec<_> =
            nodes::<pg_sys::AccessPriv>(command.privileges).filter_map(|p| pg::text_of((*p).priv_name)).collect();
        let privileges = if privileges.is_empty() { vec!["all".to_owned()] } else { privileges };
        let to: Vec<_> = nodes(command.grantees).filter_map(|r| grantee_of(r)).collect();
        let detail = json!({ "settings": settings, "privileges": privileges, "to": to });
        note_entry(Entry::of_client("privilege", "GRANT", Some(detail)));
    }
}

/// PUBLIC is everybody.
unsafe fn grantee_of(role: *mut pg_sys::RoleSpec) -> Option<String> {
    // SAFETY: the parser's node.
    unsafe {
        if (*role).roletype == pg_sys::RoleSpecType::ROLESPEC_PUBLIC { Some("public".into()) } else { role_of(role) }
    }
}

/// Predefined roles that reach the files of the server, and so the rows of every table.
const ON_FILES: [u32; 3] =
    [pg_sys::ROLE_PG_READ_SERVER_FILES, pg_sys::ROLE_PG_WRITE_SERVER_FILES, pg_sys::ROLE_PG_EXECUTE_SERVER_PROGRAM];

/// Whether the role is outside row security, reaches the server's files, or is a member of one that does.
fn reaches_bypass(name: &str) -> bool {
    const REACHED: &str = "WITH RECURSIVE reached (oid) AS ( \
         SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name UNION \
         SELECT m.roleid FROM reached r JOIN pg_catalog.pg_auth_members m ON m.member OPERATOR(pg_catalog.=) r.oid) \
         SELECT pg_catalog.string_agg(oid::pg_catalog.text, ',') FROM reached";
    let reached = pg::as_superuser(|| spi::query(REACHED, &[Some(name)]));
    let mut roles = reached.iter().flat_map(|list| list.split(',')).filter_map(|oid| oid.parse::<u32>().ok());
    roles.any(|oid| ON_FILES.contains(&oid) || bypasses(oid.into()))
}

/// Settings kept for later sessions.
unsafe fn set(
    operation: &'static str,
    command: *mut pg_sys::VariableSetStmt,
    role: Option<String>,
    database: Option<String>,
) {
    // SAFETY: the parser's node; RESET ALL has no name.
    let (kind, name) = unsafe { ((*command).kind, pg::text_of((*command).name)) };
    if !name.as_deref().is_none_or(is_ours) {
        return;
    }
    // Keys, which may be secret: whoever reads the record reads the statement's text without them.
    let shows = name.as_deref().is_none_or(|n| !n.eq_ignore_ascii_case("orgscope.jwks"));
    let value = (kind == pg_sys::VariableSetKind::VAR_SET_VALUE && shows)
        // SAFETY: only reads the tree, and returns a palloc'd string.
        .then(|| pg::text_of(unsafe { pg_sys::ExtractSetVariableArgs(command) }));
    let detail = json!({ "name": name.as_deref().unwrap_or("all"), "value": value.flatten(), "role": role, "database": database });
    note_entry(Entry::of_client("setting", operation, Some(detail)));
}

/// What row security, its triggers and this library depend on.
fn is_ours(name: &str) -> bool {
    const OTHERS: [&str; 7] = [
        "session_replication_role",
        "row_security",
        "event_triggers",
        "shared_preload_libraries",
        "session_preload_libraries",
        "local_preload_libraries",
        "role",
    ];
    let name = name.to_ascii_lowercase();
    name.starts_with("orgscope.") || OTHERS.contains(&name.as_str())
}
