//! GRANT ... WITH INHERIT, SET: membership no longer means both. Permission checks moved into a list of their own.

use crate::common::*;

const ENABLE: &str = "SELECT count(*) > 0 FROM orgscope.enable_org_scoping('public.note')";

fn member_of_owner(database: &str, membership: &str) -> World {
    let world = World::without_tables(database);
    run(
        &mut world.superuser(),
        &format!(
            "CREATE ROLE {database} LOGIN; GRANT owner TO {database} WITH {membership}; GRANT SELECT ON orgscope.organization TO {database}"
        ),
    );
    run(&mut world.owner(), "CREATE TABLE note (id int PRIMARY KEY, body text)");
    world
}

#[test]
fn a_member_that_does_not_inherit_is_no_owner() {
    let world = member_of_owner("sets", "INHERIT FALSE, SET TRUE");
    let mut member = world.connect("sets");
    refused(&mut member, "42501", ENABLE);
    refused(&mut member, "42501", "SELECT count(*) FROM orgscope.plan_org_scoping('public.note')");
    run(&mut member, "SET ROLE owner");
    assert_eq!(one(&mut member, ENABLE), "t");
    run(&mut member, "RESET ROLE");
    refused(&mut member, "42501", "SELECT count(*) FROM orgscope.disable_org_scoping('public.note')");
}

#[test]
fn a_member_that_only_inherits_is_an_owner() {
    let world = member_of_owner("inherits", "INHERIT TRUE, SET FALSE");
    let mut member = world.connect("inherits");
    assert_eq!(one(&mut member, ENABLE), "t");
    // FORCE ROW LEVEL SECURITY covers whoever inherits from the owner.
    refused(&mut member, "OS001", "SELECT * FROM note");
    run(&mut world.superuser(), &format!("INSERT INTO note VALUES (1, 'a', '{A}'), (2, 'b', '{B}')"));
    assert_eq!(rows_under(&mut member, B, "SELECT body FROM note"), ["b"]);
    refused_under(&mut member, A, "OS002", &format!("INSERT INTO note VALUES (3, 'b', '{B}')"));
}

/// BYPASSRLS is an attribute: it comes with SET ROLE, never by inheritance.
#[test]
fn bypassrls_is_not_inherited() {
    let world = World::new("bypass_member");
    run(
        &mut world.superuser(),
        "CREATE ROLE on_call LOGIN; GRANT dba TO on_call WITH INHERIT TRUE, SET FALSE;
         CREATE ROLE on_duty LOGIN; GRANT dba TO on_duty WITH INHERIT FALSE, SET TRUE",
    );
    let mut on_call = world.connect("on_call");
    refused(&mut on_call, "OS001", "SELECT * FROM ticket");
    refused(&mut on_call, "OS001", "DELETE FROM ticket");
    refused(&mut on_call, "42501", "SET ROLE dba");
    assert_eq!(rows_under(&mut on_call, A, "SELECT id FROM ticket ORDER BY id"), ["1", "2"]);

    let mut on_duty = world.connect("on_duty");
    refused_under(&mut on_duty, A, "42501", "SELECT * FROM ticket");
    run(&mut on_duty, "SET ROLE dba");
    run(&mut on_duty, "UPDATE ticket SET title = 'changed' WHERE id IN (1, 11)");
    assert_eq!(
        rows(
            &mut world.superuser(),
            "SELECT login_name, session_user_name, role_name, organization_id, row_count FROM orgscope.audit_log WHERE action = 'bypass_write' ORDER BY 4",
        ),
        [format!("on_duty|on_duty|dba|{A}|1"), format!("on_duty|on_duty|dba|{B}|1")]
    );
}

/// The user a view's tables are checked as is kept in the permission list since 16; row security asks it there.
#[test]
fn views_check_the_user_they_checked_before() {
    let world = World::new("view_users");
    run(
        &mut world.owner(),
        "CREATE VIEW definers AS SELECT * FROM ticket;
         CREATE VIEW nested AS SELECT d.id, d.title FROM definers d JOIN comment c ON c.ticket_id = d.id;
         CREATE VIEW invokers WITH (security_invoker) AS SELECT * FROM ticket;
         GRANT SELECT, UPDATE, DELETE, INSERT ON definers, nested, invokers TO app",
    );
    let mut app = world.app();
    for view in ["definers", "nested", "invokers"] {
        refused(&mut app, "OS001", &format!("SELECT * FROM {view}"));
        assert_eq!(rows_under(&mut app, A, &format!("SELECT id FROM {view} ORDER BY id")), ["1", "2"], "{view}");
    }
    for view in ["definers", "invokers"] {
        assert_eq!(rows_under(&mut app, B, &format!("UPDATE {view} SET title = '{view}' RETURNING id")).len(), 3);
        refused_under(&mut app, B, "OS002", &format!("INSERT INTO {view} VALUES (99, 'a', '{A}')"));
    }
    let merge = "MERGE INTO definers d USING (VALUES (1), (11)) v (id) ON d.id = v.id WHEN MATCHED THEN DELETE";
    if major(&mut app) >= 17 {
        rows_under(&mut app, B, merge);
        assert_eq!(all_tickets(&world), ["1|a1|a", "2|a2|a", "12|invokers|b", "13|invokers|b"]);
    }
}
