-- administration: changes of organizations are on record. Behaviour: src/organization.rs; for what is not a table, such as
-- roles and settings, src/audit/administration.rs.

CREATE FUNCTION orgscope.organization_changed() RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'orgscope_organization_changed';
COMMENT ON FUNCTION orgscope.organization_changed() IS
    'trigger: records a change of an organization in that organization''s audit log';

-- A restore brings organizations that were made before, and the log of how.
CREATE TRIGGER organization_created AFTER INSERT ON orgscope.organization
    FOR EACH ROW WHEN (NEW.created_at >= pg_catalog.now()) EXECUTE FUNCTION orgscope.organization_changed('id');
CREATE TRIGGER organization_changed AFTER UPDATE OR DELETE ON orgscope.organization
    FOR EACH ROW EXECUTE FUNCTION orgscope.organization_changed('id');

CREATE FUNCTION orgscope.organizations_truncated() RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'orgscope_organizations_truncated';
COMMENT ON FUNCTION orgscope.organizations_truncated() IS 'trigger: records TRUNCATE of the organizations';

CREATE TRIGGER organizations_truncated AFTER TRUNCATE ON orgscope.organization
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.organizations_truncated();

REVOKE EXECUTE ON FUNCTION orgscope.organization_changed(), orgscope.organizations_truncated() FROM PUBLIC;
