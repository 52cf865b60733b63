//! SASL, both sides: whatever is said, nobody is let in who has not proved who he is, and an honest
//! client gets in.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use ringpost::smtp::extension::Extensions;
use ringpost::users::client::{Attempt, Credentials};
use ringpost::users::sasl::{Binding, Exchange, Turn, mechanisms};
use ringpost::users::token::{Issuer, Terms};
use ringpost::users::{User, Users};
use ringpost_fuzz::{file, headed};

static USERS: LazyLock<Arc<Users>> = LazyLock::new(|| {
    let mut users = Users::default();
    let ann = User::new("a pencil", Vec::new()).expect("a user");
    assert!(users.add("ann@c.test", ann));
    Arc::new(users)
});

static ISSUER: LazyLock<Arc<Issuer>> = LazyLock::new(|| {
    let terms = Terms {
        issuer: "https://id.c.test".to_owned(),
        audience: "mail".to_owned(),
        user_claim: "email".to_owned(),
    };
    Arc::new(Issuer::read(&file("keys.pem", KEY.as_bytes()), terms).expect("a key"))
});

static OURS: LazyLock<Credentials> = LazyLock::new(|| {
    let text = b"user = \"ann@c.test\"\npassword = \"a pencil\"\n";
    Credentials::read(&file("credentials.toml", text)).expect("credentials")
});

/// Its private half is nowhere: no token that a fuzzer makes is signed with it.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

fn strangers(mechanism: &str, binding: Option<Binding>, said: &[u8]) {
    let users = Arc::clone(&USERS);
    let issuer = Some(Arc::clone(&ISSUER));
    let exchange = Exchange::begin(users, issuer, mechanism, binding);
    let mut exchange = exchange.expect("a mechanism that is spoken");
    // Words are on lines, and are octets: an empty line is an empty word.
    for word in said.split(|octet| *octet == b'\n').take(8) {
        match exchange.step(Some(word)) {
            Turn::Challenge(_) => {}
            Turn::Check {
                user,
                password,
                hash,
            } => {
                assert!(user.is_empty() || user == "ann@c.test");
                assert!(hash.starts_with("$argon2id$"));
                // SASLprep (RFC 4013) makes more octets of some: of U+FDFA eleven times as many.
                assert!(password.len() <= 11 * said.len());
                return;
            }
            Turn::Proved(user, _) => panic!("{user} was let in with {mechanism}"),
            Turn::Denied(..) | Turn::Refused => return,
        }
    }
    let _ = exchange.user();
}

fn host(said: &[u8], binding: Option<Binding>) {
    let mut extensions = Extensions::default();
    extensions.note("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
    if let Ok((mut attempt, _, first)) = Attempt::begin(&OURS, extensions.auth, binding) {
        assert!(
            !first.may_end,
            "a host that has said nothing has proved nothing"
        );
        for word in said.split(|octet| *octet == b'\n').take(4) {
            match attempt.answer(word) {
                // It does not know the password, so it cannot prove that.
                Ok(said) => assert!(!said.may_end, "a host that proves what it cannot"),
                Err(_) => return,
            }
        }
    }
}

fuzz_target!(|octets: &[u8]| {
    let (first, said) = headed(octets);
    let binding = (first & 64 != 0).then_some(Binding([7; 32]));
    let all = mechanisms(binding.is_some(), true);
    strangers(all[usize::from(first & 7) % all.len()], binding, said);
    if first & 128 != 0 {
        host(said, binding);
    }
});
