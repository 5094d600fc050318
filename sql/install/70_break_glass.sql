-- break-glass: a context for support, on record in the organization's own log. Behaviour: src/context/break_glass.rs.

CREATE FUNCTION orgscope.break_glass(org uuid, reason text, minutes integer DEFAULT 60, writable boolean DEFAULT false)
    RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'orgscope_break_glass';
COMMENT ON FUNCTION orgscope.break_glass(uuid, text, integer, boolean) IS
    'open a context for one organization that holds for some minutes in this session and role, from the commit of this transaction, read-only unless writable; on record in the organization''s audit log; returns when it expires';

CREATE FUNCTION orgscope.end_break_glass() RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'orgscope_end_break_glass';
COMMENT ON FUNCTION orgscope.end_break_glass() IS 'end this session''s break-glass; false when there is none';

REVOKE EXECUTE ON FUNCTION orgscope.break_glass(uuid, text, integer, boolean) FROM PUBLIC;
