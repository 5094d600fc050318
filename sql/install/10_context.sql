-- context: the organization of this transaction. Behaviour: src/context/.

CREATE FUNCTION orgscope.current_org() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE COST 1 AS 'MODULE_PATHNAME', 'orgscope_current_org';
COMMENT ON FUNCTION orgscope.current_org() IS
    'the organization this transaction works for, NULL without a context';

CREATE FUNCTION orgscope.require_org() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE COST 1 AS 'MODULE_PATHNAME', 'orgscope_require_org';
COMMENT ON FUNCTION orgscope.require_org() IS
    'the organization this transaction works for; OS001 without a context (see orgscope.require_context), OS003 when the transaction has used another one, OS004 when it is unknown or suspended';

CREATE FUNCTION orgscope.set_current_org(org uuid, local boolean DEFAULT true) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'orgscope_set_current_org';
COMMENT ON FUNCTION orgscope.set_current_org(uuid, boolean) IS
    'set the organization to the end of the transaction, or with local = false of the session; OS004 when it does not exist or is suspended, OS003 when the change is not allowed';

CREATE FUNCTION orgscope.set_org_token(token text) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'orgscope_set_org_token';
COMMENT ON FUNCTION orgscope.set_org_token(text) IS
    'set the organization that a signed token names, to the end of the transaction; OS003 when the token is refused, OS004 when the organization does not exist or is suspended';

CREATE FUNCTION orgscope.clear_current_org() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'orgscope_clear_current_org';
COMMENT ON FUNCTION orgscope.clear_current_org() IS 'end the context; what row security protects is out of reach until one is set';

CREATE FUNCTION orgscope.seal_context() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'orgscope_seal_context';
COMMENT ON FUNCTION orgscope.seal_context() IS
    'keep the organization to the end of the transaction: until then every change of the context is OS003 or has no effect';

CREATE FUNCTION orgscope.seal_context(key text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'orgscope_seal_context_with_key';
COMMENT ON FUNCTION orgscope.seal_context(text) IS
    'keep the organization over the transactions of this session until unseal_context() is called with the same key, which should be long and random, and belongs in a bind parameter';

CREATE FUNCTION orgscope.unseal_context(key text) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'orgscope_unseal_context';
COMMENT ON FUNCTION orgscope.unseal_context(text) IS
    'end the seal of this session and its context; false when there is none; a wrong key is OS003, takes time and is on record';

CREATE FUNCTION orgscope.uuid_v7() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'orgscope_uuid_v7';
COMMENT ON FUNCTION orgscope.uuid_v7() IS 'a new version-7 uuid: time-ordered, so that an index on it grows at one end';
