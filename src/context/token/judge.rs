//! What tokens are judged by, which is the server's configuration: read anew when that was, and only then.

use super::claims::{self, Rules};
use super::fault::Fault;
use super::jwks::{self, Key, short};
use super::redact;
use super::setting::Token;
use super::verify::{self, LONGEST, Verified};
use crate::pg::{self, Backend, pstrdup, raw};
use crate::settings;
use crate::settings::token::{AUDIENCE, ISSUER, JWKS, LEEWAY, MAX_LIFETIME, ORGANIZATION_CLAIM};
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::ffi::{CStr, c_char, c_void};

/// When this process last read the configuration, on which everything that a token is judged by depends.
pub fn configured_at() -> pg_sys::TimestampTz {
    // SAFETY: a plain global.
    unsafe { pg_sys::PgReloadTime }
}

/// What tokens are judged by, and those that have passed.
pub struct Judge {
    at: pg_sys::TimestampTz,
    /// Of the texts of all these settings.
    mark: u64,
    rules: Rules,
    keys: Vec<Key>,
    passed: Vec<([u8; 32], Verified)>,
}

static JUDGE: Backend<Option<Judge>> = Backend::new(None);
/// How many verified tokens a backend remembers.
const MANY: usize = 16;

impl Judge {
    fn new(before: Option<Self>) -> Self {
        let rules = Rules {
            organization: settings::text(&ORGANIZATION_CLAIM).unwrap_or_default(),
            audience: settings::text(&AUDIENCE).unwrap_or_default(),
            issuer: settings::text(&ISSUER).unwrap_or_default(),
            max_lifetime: MAX_LIFETIME.get().into(),
            leeway: LEEWAY.get().into(),
        };
        let jwks = settings::text(&JWKS).unwrap_or_default();
        let mark = short(&Sha256::new().chain_update(format!("{rules:?}")).chain_update(&jwks).finalize());
        let at = configured_at();
        match before {
            Some(before) if before.mark == mark => Self { at, ..before },
            // The check hook has parsed it before.
            _ => Self { at, mark, rules, keys: jwks::parse(&jwks).unwrap_or_default(), passed: Vec::new() },
        }
    }

    pub fn verify(&mut self, token: &str, now: i64) -> Result<Verified, Fault> {
        if token.len() > LONGEST {
            return Err(Fault::TooLong);
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some((_, verified)) = self.passed.iter().find(|(h, _)| *h == hash) {
            let lasts = verified.claims.expires > now;
            return if lasts { Ok(verified.clone()) } else { Err(Fault::Expired) };
        }
        // Without preloading any role could read the setting until now.
        let secrets = PRELOADED.with(|p| *p);
        let verified = verify::verify(token, &self.keys, secrets, &self.rules, now)?;
        if self.passed.len() == MANY {
            self.passed.remove(0);
        }
        self.passed.push((hash, verified.clone()));
        Ok(verified)
    }

    pub fn rules_mark(&self) -> u64 {
        short(&Sha256::digest(format!("{:?}", self.rules)))
    }
}

/// `f` must not call back into PostgreSQL.
pub fn with_judge<R>(f: impl FnOnce(&mut Judge) -> R) -> R {
    let mut judge = match JUDGE.with(Option::take) {
        Some(judge) if judge.at == configured_at() => judge,
        other => Judge::new(other),
    };
    let result = f(&mut judge);
    JUDGE.with(|j| *j = Some(judge));
    result
}

/// Whether the configuration still has the key of the token and the same rules.
pub fn stands(token: &Token) -> bool {
    with_judge(|judge| judge.rules_mark() == token.rules && judge.keys.iter().any(|k| k.mark == token.key))
}

static PRELOADED: Backend<bool> = Backend::new(false);

/// Called when the library is loaded.
pub fn note_preloaded() {
    // SAFETY: a plain global.
    PRELOADED.with(|p| *p = unsafe { pg_sys::process_shared_preload_libraries_in_progress });
}

/// A worker's leader has checked it.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_jwks(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as in check_token.
    let Some(text) = (unsafe { pg::text_of(*new) }) else { return true };
    if pg::in_parallel_worker() {
        return true;
    }
    redact::hide_activity();
    let Err(detail) = jwks::parse(&text) else { return true };
    refuse_setting(
        c"invalid value for parameter \"orgscope.jwks\"",
        &detail,
        "Use the JSON Web Key Set that the issuer publishes, with its public keys; see RFC 7517.",
    )
}

/// A set may hold secrets, so only a superuser reads it; whether there is one is no secret. Outside a transaction nobody's
/// rights can be looked up.
///
/// Plain frame.
pub unsafe extern "C-unwind" fn show_jwks() -> *const c_char {
    // SAFETY: reads the state of the transaction; a syscache look-up; guc.c's value, NULL or NUL-terminated, which it would
    // show itself.
    unsafe {
        let value = JWKS.as_ptr().read().cast_const();
        if value.is_null() || *value == 0 {
            c"".as_ptr()
        } else if raw::IsTransactionState() && raw::superuser() {
            value
        } else {
            c"***".as_ptr()
        }
    }
}

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_claim(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as in check_token.
    let text = unsafe { pg::text_of(*new) }.unwrap_or_default();
    claims::path_of(&text).is_some()
        || refuse_setting(
            c"invalid value for parameter \"orgscope.token_organization_claim\"",
            "It is not the path of a claim.",
            "Use names with dots between them, or a JSON pointer such as '/app_metadata/organization_id'.",
        )
}

/// Without showing the value.
fn refuse_setting(message: &CStr, detail: &str, hint: &str) -> bool {
    // SAFETY: guc.c reads these once, in the ereport that follows a check hook's false.
    unsafe {
        pg_sys::GUC_check_errmsg_string = pstrdup(&message.to_string_lossy());
        pg_sys::GUC_check_errdetail_string = pstrdup(detail);
        pg_sys::GUC_check_errhint_string = pstrdup(hint);
    }
    false
}
