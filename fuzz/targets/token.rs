//! Bearer tokens and the keys of those who issue them: nothing that a fuzzer makes is signed, and
//! keys that are read are public ones.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use ringpost::users::token::{Issuer, Terms};
use ringpost_fuzz::file;

fn terms() -> Terms {
    Terms {
        issuer: "https://id.c.test".to_owned(),
        audience: "mail".to_owned(),
        user_claim: "email".to_owned(),
    }
}

static ISSUER: LazyLock<Issuer> =
    LazyLock::new(|| Issuer::read(&file("keys.json", KEYS.as_bytes()), terms()).expect("keys"));

const KEYS: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k1"},
    {"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"k2"}]}"#;

fuzz_target!(|text: &str| {
    assert!(ISSUER.check(text).is_err(), "{text}");
    assert!(ISSUER.check(&format!("Bearer {text}")).is_err());
    // The parts in plain, one on each line.
    let parts: Vec<String> = text
        .splitn(3, '\n')
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .collect();
    assert!(
        ISSUER
            .check(&format!("Bearer {}", parts.join(".")))
            .is_err()
    );
    if let Err(why) = Issuer::read(&file("others.json", text.as_bytes()), terms()) {
        assert!(why.len() < 500, "{why}");
    }
});
