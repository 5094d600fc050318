//! Settings of signed tokens. But for the token itself they are the server's configuration: no session can change them.

use crate::context::lifetime::TOKEN_SETTING;
use crate::context::token::{judge, setting};
use pgrx::pg_sys;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

pub static TOKEN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static JWKS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static ORGANIZATION_CLAIM: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"organization_id"));
pub static AUDIENCE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static ISSUER: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// Seconds.
pub static MAX_LIFETIME: GucSetting<i32> = GucSetting::<i32>::new(3600);
pub static LEEWAY: GucSetting<i32> = GucSetting::<i32>::new(5);
/// How many tokens that may be used once are remembered.
pub static IDS: GucSetting<i32> = GucSetting::<i32>::new(65536);

pub fn define() {
    // SAFETY: as in define_context.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            TOKEN_SETTING,
            c"A signed token that names the organization this transaction works for.",
            c"A JWT that one of the keys of orgscope.jwks verifies. Set it with SET LOCAL, set_config(..., true) or orgscope.set_org_token(). It cannot be read back.",
            &TOKEN,
            GucContext::Userset,
            GucFlags::DISALLOW_IN_FILE | GucFlags::NO_SHOW_ALL,
            Some(setting::check_token),
            Some(setting::assign_token),
            Some(setting::show_token),
        );
    }
}

/// What tokens are judged by is the server's configuration: no session can change it.
pub fn define_rules() {
    judge::note_preloaded();
    // SAFETY: the check hooks only look.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"orgscope.jwks",
            c"The keys that verify organization tokens, as a JSON Web Key Set.",
            c"",
            &JWKS,
            GucContext::Sighup,
            // pg_read_all_settings reads what is superuser-only, and pg_settings shows what a reset would give back.
            GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL,
            Some(judge::check_jwks),
            None,
            Some(judge::show_jwks),
        );
        GucRegistry::define_string_guc_with_hooks(
            c"orgscope.token_organization_claim",
            c"The claim of a token that names the organization.",
            c"Names with dots between them for a claim within others, or a JSON pointer.",
            &ORGANIZATION_CLAIM,
            GucContext::Sighup,
            GucFlags::default(),
            Some(judge::check_claim),
            None,
            None,
        );
    }
    GucRegistry::define_string_guc(
        c"orgscope.token_audience",
        c"The audience that a token must be for.",
        c"Empty: a token must name none.",
        &AUDIENCE,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"orgscope.token_issuer",
        c"The issuer that a token must be from.",
        c"Empty: any whose key is in orgscope.jwks.",
        &ISSUER,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"orgscope.token_max_lifetime",
        c"How far ahead a token may expire.",
        c"",
        &MAX_LIFETIME,
        1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"orgscope.token_leeway",
        c"By how much the issuer's clock may be ahead of the server's.",
        c"It makes no token valid for longer.",
        &LEEWAY,
        0,
        300,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    // SAFETY: a plain global. As for the queue of the audit log.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        GucRegistry::define_int_guc(
            c"orgscope.token_ids",
            c"How many tokens with the claim \"jti\" are remembered until they expire.",
            c"Each takes 36 bytes. While as many are in use no other is accepted.",
            &IDS,
            16,
            16_777_216,
            GucContext::Postmaster,
            GucFlags::default(),
        );
    }
}
