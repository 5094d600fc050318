-- organization: the tenants.

CREATE TABLE orgscope.organization (
    id                   uuid        PRIMARY KEY DEFAULT orgscope.uuid_v7(),
    name                 text        NOT NULL CONSTRAINT organization_name_not_blank CHECK (name ~ '\S'),
    slug                 text        NOT NULL UNIQUE
        CONSTRAINT organization_slug_form CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 63),
    email                text
        CONSTRAINT organization_email_form CHECK (email ~ '^[^@\s]+@[^@\s]+\.[^@\s.]+$' AND length(email) <= 254),
    is_active            boolean     NOT NULL DEFAULT true,
    subscription_status  text        NOT NULL DEFAULT 'trialing'
        CONSTRAINT organization_subscription_status_form CHECK (subscription_status ~ '^[a-z][a-z_]*$'),
    subscription_ends_at timestamptz,
    features             jsonb       NOT NULL DEFAULT '{}'
        CONSTRAINT organization_features_form CHECK (jsonb_typeof(features) IN ('object', 'array')),
    settings             jsonb       NOT NULL DEFAULT '{}'
        CONSTRAINT organization_settings_form CHECK (jsonb_typeof(settings) = 'object'),
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    -- Its mere presence in a foreign key must never name the nil uuid, which the context refuses.
    CONSTRAINT organization_id_not_nil CHECK (id <> '00000000-0000-0000-0000-000000000000')
);
COMMENT ON TABLE orgscope.organization IS 'the tenants; a tenant role sees its own row and changes none';
COMMENT ON COLUMN orgscope.organization.id IS
    'what orgscope.current_org names, and the organization column of scoped tables refers to; a version-7 uuid by default';
COMMENT ON COLUMN orgscope.organization.name IS 'for people; not blank';
COMMENT ON COLUMN orgscope.organization.slug IS 'for addresses: a-z, 0-9 and single hyphens, at most 63 characters, unique';
COMMENT ON COLUMN orgscope.organization.email IS 'where to reach it, NULL when unknown';
COMMENT ON COLUMN orgscope.organization.is_active IS 'false: suspended, and refused as a context (OS004)';
COMMENT ON COLUMN orgscope.organization.subscription_status IS
    'the billing provider''s word; active, trial and trialing count as subscribed';
COMMENT ON COLUMN orgscope.organization.subscription_ends_at IS 'when the subscription ends; NULL: it does not';
COMMENT ON COLUMN orgscope.organization.features IS
    'features this organization has: {"name": true} or ["name"]; read by orgscope.has_feature()';
COMMENT ON COLUMN orgscope.organization.settings IS 'the application''s own, an object; orgscope does not read it';
COMMENT ON COLUMN orgscope.organization.created_at IS 'when it was added';
COMMENT ON COLUMN orgscope.organization.updated_at IS 'when it was changed last; kept by a trigger';

CREATE FUNCTION orgscope.touch_updated_at() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_touch_updated_at';
COMMENT ON FUNCTION orgscope.touch_updated_at() IS 'trigger: sets updated_at';

CREATE TRIGGER touch_updated_at BEFORE UPDATE ON orgscope.organization
    FOR EACH ROW EXECUTE FUNCTION orgscope.touch_updated_at();

-- Backends remember which organizations are active. These tell them to look again; ALWAYS, for what replication and restores
-- bring.
CREATE FUNCTION orgscope.availability_changed() RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'orgscope_availability_changed';
COMMENT ON FUNCTION orgscope.availability_changed() IS
    'trigger: an organization was made, suspended, resumed or deleted, which holds in every connection when it is committed';
CREATE FUNCTION orgscope.availability_truncated() RETURNS trigger LANGUAGE c
    AS 'MODULE_PATHNAME', 'orgscope_availability_truncated';
COMMENT ON FUNCTION orgscope.availability_truncated() IS 'trigger: the same for TRUNCATE';
REVOKE EXECUTE ON FUNCTION orgscope.availability_changed(), orgscope.availability_truncated() FROM PUBLIC;

CREATE TRIGGER availability_added AFTER INSERT OR DELETE ON orgscope.organization
    FOR EACH ROW EXECUTE FUNCTION orgscope.availability_changed();
CREATE TRIGGER availability_changed AFTER UPDATE ON orgscope.organization
    FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION orgscope.availability_changed();
CREATE TRIGGER availability_truncated AFTER TRUNCATE ON orgscope.organization
    FOR EACH STATEMENT EXECUTE FUNCTION orgscope.availability_truncated();
ALTER TABLE orgscope.organization
    ENABLE ALWAYS TRIGGER availability_added,
    ENABLE ALWAYS TRIGGER availability_changed,
    ENABLE ALWAYS TRIGGER availability_truncated;

-- FORCE is left out: the owner installs organizations, and only a superuser can own them.
ALTER TABLE orgscope.organization ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON orgscope.organization FOR SELECT USING (id = orgscope.current_org());

CREATE FUNCTION orgscope.current_organization() RETURNS orgscope.organization
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT o FROM orgscope.organization o WHERE o.id = orgscope.current_org() $$;
COMMENT ON FUNCTION orgscope.current_organization() IS 'the row of the current organization, NULL without a context';

CREATE FUNCTION orgscope.is_subscription_active(org uuid DEFAULT orgscope.current_org()) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT EXISTS (
            SELECT FROM orgscope.organization o
            WHERE o.id = org
              AND o.is_active
              AND o.subscription_status IN ('active', 'trial', 'trialing')
              AND (o.subscription_ends_at IS NULL OR o.subscription_ends_at > now()))
    $$;
COMMENT ON FUNCTION orgscope.is_subscription_active(uuid) IS
    'whether the organization is active and its subscription runs; false for an organization the caller cannot see';

CREATE FUNCTION orgscope.has_feature(feature text, org uuid DEFAULT orgscope.current_org()) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT EXISTS (
            SELECT FROM orgscope.organization o
            WHERE o.id = org
              AND CASE jsonb_typeof(o.features)
                      WHEN 'array' THEN o.features ? feature
                      ELSE o.features -> feature = 'true'::jsonb
                  END)
    $$;
COMMENT ON FUNCTION orgscope.has_feature(text, uuid) IS
    'whether the organization has the feature; false for an organization the caller cannot see';

SELECT pg_catalog.pg_extension_config_dump('orgscope.organization', '');
