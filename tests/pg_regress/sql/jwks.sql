-- jwks: what is wrong with a set of keys, told without showing it. None of these is taken.
ALTER SYSTEM SET orgscope.jwks = '{}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[[]]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":null,"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"oct","kid":"h","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQ"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"oct","kid":"h","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"oct","kid":"h","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY","alg":"none"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURoA"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"EC","crv":"P-256","x":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","y":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"RSA","n":"__________________________________________________________________________________________________________________________________________________________________________8","e":"AQAB"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"RSA","n":"_____________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________________w","e":"AQ"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","key_ops":"verify"}]}';
ALTER SYSTEM SET orgscope.jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519"}]}';
ALTER SYSTEM SET orgscope.jwks = 'keys';
-- ALTER SYSTEM takes no expression.
SELECT '{"keys":[' || string_agg('{"kty":"oct"}', ',') || ']}' AS many FROM generate_series(1, 65) \gset
ALTER SYSTEM SET orgscope.jwks = :'many';
SELECT repeat(' ', 65537) AS long \gset
ALTER SYSTEM SET orgscope.jwks = :'long';
SHOW orgscope.jwks;
