-- token: a signed context, and every way in which a token is refused. All tokens are of one key and expire in 2092.
CREATE TABLE letter (id int PRIMARY KEY, organization_id uuid);
INSERT INTO letter VALUES (1, '11111111-1111-7111-8111-111111111111'), (2, '22222222-2222-7222-8222-222222222222');
SELECT count(*) > 0 AS scoped FROM orgscope.enable_org_scoping('public.letter');
GRANT SELECT ON letter TO app;
CREATE ROLE signed NOSUPERUSER NOBYPASSRLS IN ROLE app;
CREATE FUNCTION pg_temp.base64url(bytea) RETURNS text LANGUAGE sql AS
    $$SELECT translate(encode($1, 'base64'), E'+/=\n', '-_')$$;
-- The issuer. HMAC-SHA256 by hand: PostgreSQL has SHA-256.
CREATE FUNCTION pg_temp.hmac(text, secret bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    inner_key bytea := decode(repeat('36', 64), 'hex');
    outer_key bytea := decode(repeat('5c', 64), 'hex');
BEGIN
    FOR i IN 0 .. length(secret) - 1 LOOP
        inner_key := set_byte(inner_key, i, get_byte(secret, i) # 54);
        outer_key := set_byte(outer_key, i, get_byte(secret, i) # 92);
    END LOOP;
    RETURN sha256(outer_key || sha256(inner_key || convert_to($1, 'UTF8')));
END $$;
CREATE FUNCTION pg_temp.token(claims jsonb, header jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    claims jsonb := jsonb_strip_nulls('{"organization_id": "11111111-1111-7111-8111-111111111111", "exp": 3870000000, "sub": "alice"}' || claims);
    header jsonb := jsonb_strip_nulls('{"alg": "HS256", "kid": "story"}' || header);
    signed text := pg_temp.base64url(convert_to(header::text, 'UTF8')) || '.' || pg_temp.base64url(convert_to(claims::text, 'UTF8'));
BEGIN
    RETURN signed || '.' || pg_temp.base64url(pg_temp.hmac(signed, '0123456789abcdef0123456789abcdef'));
END $$;

-- No keys yet.
SELECT pg_temp.token('{}') AS token \gset
SELECT orgscope.set_org_token(:'token');
\echo :SQLSTATE
-- Keys that are none are refused, and not shown.
ALTER SYSTEM SET orgscope.jwks = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY';
ALTER SYSTEM SET orgscope.jwks = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys": [{"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}]}';
ALTER SYSTEM SET orgscope.token_organization_claim = 'a..b';
ALTER SYSTEM SET orgscope.jwks = '{"keys": [{"kty": "oct", "kid": "story", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}, {"kty": "oct", "kid": "next", "k": "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA"}, {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}';
ALTER SYSTEM SET orgscope.token_max_lifetime = '24800 d';
SELECT pg_reload_conf(), pg_sleep(0.5);

-- A token opens the context of its organization, to the end of the transaction, and says who acts.
SET ROLE signed;
BEGIN;
SELECT orgscope.set_org_token(:'token');
SELECT * FROM letter;
SHOW orgscope.actor;
SHOW orgscope.token;
SET LOCAL orgscope.actor = 'bob';
ROLLBACK;
SELECT * FROM letter;
SET LOCAL orgscope.token = :'token';
SET orgscope.token = :'token';
\echo :SQLSTATE
SELECT orgscope.set_org_token(NULL);
\echo :SQLSTATE
BEGIN;
SELECT orgscope.set_org_token(:'token');
SELECT orgscope.seal_context();
\echo :SQLSTATE
ROLLBACK;

-- Where only a token counts.
RESET ROLE;
SET orgscope.context_source = 'token';
SET ROLE signed;
SELECT * FROM letter;
\echo :SQLSTATE
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
\echo :SQLSTATE
SELECT set_config('orgscope.current_org', '11111111-1111-7111-8111-111111111111', true);
SELECT orgscope.set_current_org('11111111-1111-7111-8111-111111111111');
SET orgscope.context_source = 'setting';
ALTER ROLE signed SET orgscope.token = :'token';
BEGIN;
SELECT orgscope.set_org_token(:'token');
SELECT * FROM letter;
SELECT orgscope.clear_current_org();
SELECT * FROM letter;
ROLLBACK;

-- One transaction, one organization.
SELECT pg_temp.token('{"organization_id": "22222222-2222-7222-8222-222222222222"}') AS globex \gset
BEGIN;
SELECT orgscope.set_org_token(:'token');
SELECT * FROM letter;
SELECT orgscope.set_org_token(:'globex');
ROLLBACK;
SELECT orgscope.set_org_token(pg_temp.token('{"organization_id": "33333333-3333-7333-8333-333333333333"}'));

-- Form, header and key.
SELECT orgscope.set_org_token('');
\echo :SQLSTATE
SELECT orgscope.set_org_token('Bearer ' || :'token');
SELECT orgscope.set_org_token(:'token' || repeat('x', 9000));
SELECT orgscope.set_org_token(left(:'token', -1));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"alg": "none"}'));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"alg": "RS256"}'));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"kid": "ed"}'));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"kid": "gone"}'));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"kid": null}'));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"kid": "next"}'));
SELECT orgscope.set_org_token(pg_temp.token('{}', '{"crit": ["exp"]}'));

-- Claims.
SELECT orgscope.set_org_token(pg_temp.token('{"exp": null}'));
SELECT orgscope.set_org_token(pg_temp.token('{"exp": 1700000000}'));
SELECT orgscope.set_org_token(pg_temp.token('{"exp": "3870000000"}'));
SELECT orgscope.set_org_token(pg_temp.token('{"exp": 9080000000}'));
SELECT orgscope.set_org_token(pg_temp.token('{"nbf": 3869999999}'));
SELECT orgscope.set_org_token(pg_temp.token('{"aud": "somebody"}'));
SELECT orgscope.set_org_token(pg_temp.token('{"organization_id": "acme"}'));
SELECT orgscope.set_org_token(pg_temp.token('{"db_role": "app"}'));
SELECT orgscope.set_org_token(pg_temp.token('{"db_name": "other"}'));
SELECT orgscope.set_org_token(pg_temp.token(jsonb_build_object('jti', txid_current()::text))) AS org, pg_temp.token(jsonb_build_object('jti', txid_current()::text)) AS once \gset
SELECT orgscope.set_org_token(:'once');
\echo :SQLSTATE
RESET ROLE;
RESET orgscope.context_source;

-- The issuer is the server's to choose, and so is what comes of keys that have gone.
ALTER SYSTEM SET orgscope.token_issuer = 'https://issuer.example';
SELECT pg_reload_conf(), pg_sleep(0.5);
SELECT orgscope.set_org_token(:'token');
ALTER SYSTEM RESET orgscope.token_issuer;
SELECT pg_reload_conf(), pg_sleep(0.5);
SET ROLE signed;
BEGIN;
SELECT orgscope.set_org_token(:'token');
RESET ROLE;
\! psql -X -q -d postgres -c "ALTER SYSTEM RESET orgscope.jwks" -c "SELECT pg_reload_conf()" > /dev/null
SELECT pg_sleep(0.5);
SET ROLE signed;
SELECT * FROM letter;
ROLLBACK;
RESET ROLE;
ALTER SYSTEM RESET orgscope.token_max_lifetime;
SELECT pg_reload_conf();
DROP ROLE signed;
SELECT count(*) > 0 AS unscoped FROM orgscope.disable_org_scoping('public.letter');
DROP TABLE letter;
