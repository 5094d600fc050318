//! Why a token is refused, or holds no more. No text shows anything of the token.

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    TooLong,
    Malformed,
    Critical,
    Algorithm,
    NoKeys,
    SecretReadable,
    UnknownKey,
    AmbiguousKey,
    KeyAlgorithm,
    Signature,
    Claim(&'static str),
    NoExpiry,
    Expired,
    TooFar,
    NotYet,
    Audience,
    Issuer,
    Organization,
    Role,
    Database,
    Replayed,
    IdsFull,
    IdsNotThere,
    /// Kept as a default: in a file, for a role, a database or a function.
    Kept,
    /// SET without LOCAL.
    Session,
    /// Set before the library was loaded, by an earlier transaction.
    Stale,
    /// Only a token may open a context here.
    Unsigned,
    /// Its key has gone, or what a token must say has changed.
    Revoked,
    /// The actor is the token's.
    Actor,
    /// A seal would outlive the token.
    Sealing,
}

const NEW_TOKEN: &str = "Get a new token, and set it in this transaction.";

impl Fault {
    /// Message, DETAIL and HINT.
    pub fn texts(self) -> (&'static str, String, &'static str) {
        let (message, detail, hint) = match self {
            Self::Claim(name) => {
                let detail = format!("Its claim \"{name}\" is not of the form that the claim must have.");
                return ("organization token has a malformed claim", detail, "Have it issued as RFC 7519 says.");
            }
            Self::TooLong | Self::Malformed | Self::Critical | Self::Algorithm => self.form(),
            Self::NoKeys | Self::SecretReadable | Self::UnknownKey | Self::AmbiguousKey | Self::KeyAlgorithm => {
                self.key()
            }
            Self::Signature => (
                "organization token has a wrong signature",
                "It was not signed with the key that it names, or it was changed since.",
                "Get a new token from the issuer whose keys are in orgscope.jwks.",
            ),
            Self::NoExpiry | Self::Expired | Self::TooFar | Self::NotYet => self.time(),
            Self::Audience | Self::Issuer | Self::Organization | Self::Role | Self::Database => self.claim(),
            Self::Replayed | Self::IdsFull | Self::IdsNotThere => self.once(),
            Self::Kept | Self::Session | Self::Stale | Self::Unsigned | Self::Revoked | Self::Actor | Self::Sealing => {
                self.way()
            }
        };
        (message, detail.into(), hint)
    }

    fn form(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::TooLong => (
                "organization token is too long",
                "A token has at most 8192 bytes.",
                "Have the issuer leave out claims that the database does not need.",
            ),
            Self::Critical => (
                "organization token has a critical header",
                "Its header asks for an extension that must be understood, and none is.",
                "Have it issued without \"crit\" and \"b64\" in its header.",
            ),
            Self::Algorithm => (
                "organization token has an algorithm that is not accepted",
                "Accepted are EdDSA, ES256, RS256 and HS256; a token without a signature never is.",
                "Have it signed with one of these.",
            ),
            _ => (
                "organization token is not a signed JWT",
                "It must be three parts of base64url with dots between them, the first two of JSON.",
                "Pass the token as the issuer has made it, without \"Bearer\" and without white space.",
            ),
        }
    }

    fn key(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoKeys => (
                "no key to verify organization tokens",
                "orgscope.jwks is empty.",
                "Put the issuer's public keys into orgscope.jwks in the server's configuration and reload it.",
            ),
            Self::SecretReadable => (
                "symmetric keys need the library to be preloaded",
                "Before the library is loaded every role can read orgscope.jwks.",
                "Add orgscope to shared_preload_libraries, or have tokens signed with EdDSA, ES256 or RS256.",
            ),
            Self::AmbiguousKey => (
                "organization token does not say which key has signed it",
                "Its header has no \"kid\", and orgscope.jwks has several keys of its algorithm.",
                "Have the issuer put \"kid\" into the header.",
            ),
            Self::KeyAlgorithm => (
                "organization token has another algorithm than its key",
                "A key verifies one algorithm only, whatever a token's header says.",
                "Have it signed with the algorithm of its key in orgscope.jwks.",
            ),
            _ => (
                "organization token is signed with an unknown key",
                "orgscope.jwks has no key for it.",
                "Put the issuer's public keys into orgscope.jwks in the server's configuration and reload it.",
            ),
        }
    }

    fn time(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoExpiry => (
                "organization token has no time of expiry",
                "A token must have the claim \"exp\".",
                "Have it issued with \"exp\", a few minutes ahead.",
            ),
            Self::TooFar => (
                "organization token is valid for too long",
                "It expires later than orgscope.token_max_lifetime allows.",
                "Have it issued for a shorter time, or raise orgscope.token_max_lifetime in the server's configuration.",
            ),
            Self::NotYet => (
                "organization token is not valid yet",
                "The time of its claim \"nbf\" or \"iat\" has not come.",
                "Compare the issuer's clock with the database server's; see orgscope.token_leeway.",
            ),
            _ => ("organization token has expired", "The time of its claim \"exp\" has passed.", NEW_TOKEN),
        }
    }

    fn claim(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Audience => (
                "organization token is for another audience",
                "Its claim \"aud\" must name orgscope.token_audience; where that is empty a token must have none.",
                "Have it issued for this database, or set orgscope.token_audience in the server's configuration.",
            ),
            Self::Issuer => (
                "organization token is from another issuer",
                "Its claim \"iss\" is not orgscope.token_issuer.",
                "Use a token of that issuer, or set orgscope.token_issuer in the server's configuration.",
            ),
            Self::Role => (
                "organization token is for another role",
                "Its claim \"db_role\" is not the role of this session.",
                "Use it as the role that it was issued for.",
            ),
            Self::Database => (
                "organization token is for another database",
                "Its claim \"db_name\" is not the name of this database.",
                "Use it in the database that it was issued for.",
            ),
            _ => (
                "organization token names no organization",
                "The claim that orgscope.token_organization_claim names must be one uuid, as text.",
                "Have it issued with that claim, or set orgscope.token_organization_claim in the server's configuration.",
            ),
        }
    }

    fn once(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Replayed => (
                "organization token was used before",
                "A token with the claim \"jti\" is good for one transaction, also if that was rolled back.",
                NEW_TOKEN,
            ),
            Self::IdsFull => (
                "no room to remember that an organization token was used",
                "As many tokens with the claim \"jti\" as orgscope.token_ids says are in use and have not expired.",
                "Have tokens issued for a shorter time, or raise orgscope.token_ids and restart the server.",
            ),
            _ => (
                "cannot tell whether an organization token was used before",
                "A token with the claim \"jti\" is good for one transaction in the whole server, which is known in shared memory only.",
                "Add orgscope to shared_preload_libraries, or have tokens issued without \"jti\".",
            ),
        }
    }

    fn way(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Kept => (
                "organization token cannot be kept as a default",
                "ALTER ROLE, ALTER DATABASE, CREATE FUNCTION and configuration files would show it to others, and it expires.",
                "Set orgscope.token with SET LOCAL in each transaction.",
            ),
            Self::Session => (
                "cannot set \"orgscope.token\" for the whole session",
                "orgscope.context_lifetime does not allow it: a pooled connection would carry the organization to its next client.",
                "Use SET LOCAL inside a transaction.",
            ),
            Self::Stale => (
                "organization token was set before orgscope was loaded",
                "It was set in an earlier transaction, and nobody has looked at it.",
                "Set it with SET LOCAL in this transaction; add orgscope to shared_preload_libraries.",
            ),
            Self::Unsigned => (
                "only a signed token can set the organization",
                "orgscope.context_source is \"token\": a plain value of orgscope.current_org counts for nothing.",
                "Use SET LOCAL orgscope.token or orgscope.set_org_token() with a token of the issuer.",
            ),
            Self::Sealing => (
                "cannot seal the context of an organization token",
                "A seal would keep the organization in force when the token has expired.",
                "Leave it unsealed where orgscope.context_source is \"token\": only a token can change the context there.",
            ),
            Self::Revoked => (
                "organization token holds no more",
                "The server's configuration has been reloaded without its key, or with other rules for tokens.",
                NEW_TOKEN,
            ),
            _ => (
                "cannot change the actor of an organization token",
                "The token in force says in its claim \"sub\" who acts.",
                "Leave orgscope.actor alone, or have tokens issued without \"sub\".",
            ),
        }
    }
}
