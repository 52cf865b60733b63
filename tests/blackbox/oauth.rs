//! Clients that log in with a token of somebody else's making.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::imap::Imap;
use crate::support::pop3::Pop3;
use crate::support::{Relay, Scene, message};

/// Who issues tokens: a new key each time.
pub struct Issuer(EcdsaKeyPair);

impl Issuer {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn jwks(&self) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|octets| URL_SAFE_NO_PAD.encode(octets));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] }).to_string()
    }

    /// What a client says with a token for `user` that counts for so many seconds.
    fn says(&self, user: &str, seconds: i64) -> String {
        self.says_with(
            user,
            &json!({ "alg": "ES256" }),
            &json!({ "exp": now() + seconds }),
        )
    }

    /// The same with a token for this audience.
    pub fn says_for(&self, user: &str, audience: &str) -> String {
        self.says_with(
            user,
            &json!({ "alg": "ES256" }),
            &json!({ "aud": audience }),
        )
    }

    /// The same with this header, and with `other` in place of the claims of a good token.
    fn says_with(&self, user: &str, header: &Value, other: &Value) -> String {
        let mut claims = json!({
            "iss": "https://id.test", "aud": "mail", "exp": now() + 300, "email": user,
        });
        for (name, value) in other.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(header), encode(&claims));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
        STANDARD.encode(format!(
            "n,a={user},\x01auth=Bearer {message}.{signature}\x01\x01"
        ))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A house for ann, where tokens of `issuer` count.
struct House {
    _scene: Scene,
    relay: Relay,
    pop3: SocketAddr,
    imap: SocketAddr,
}

impl House {
    fn new(issuer: &Issuer, plaintext: &str) -> Self {
        let scene = Scene::new();
        let mut setup = scene.config("");
        let [pop3, imap] =
            [8, 9].map(|host| SocketAddr::from((scene.net.host(host), scene.net.free_port(host))));
        let keys = scene.net.host(7).to_string();
        let keys =
            std::env::temp_dir().join(format!("ringpost-{}-{keys}.jwks", std::process::id()));
        std::fs::write(&keys, issuer.jwks()).unwrap();
        setup.extra = format!(
            "smtp.trusted_networks = []\nauth.allow_plaintext = \"{plaintext}\"\n\
             oauth = {{ keys = {keys:?}, issuer = \"https://id.test\", audience = \"mail\" }}\n\
             listener = [{{ protocol = \"submission\", bind = [\"{}\"] }}, \
             {{ protocol = \"pop3\", bind = [\"{pop3}\"] }}, \
             {{ protocol = \"imap\", bind = [\"{imap}\"] }}]\n\
             route = [{{ domain = \"c.test\", to = \"mailbox\" }}]",
            setup.smtp
        );
        let relay = Relay::start(setup);
        let output = relay.run_with(&["user", "add", "ann@c.test"], "secret\n");
        assert!(output.status.success(), "{output:?}");
        relay.log_line(&["changed: done"]);
        Self {
            _scene: scene,
            relay,
            pop3,
            imap,
        }
    }

    /// Where the keys are.
    fn keys(&self) -> std::path::PathBuf {
        let text = std::fs::read_to_string(self.relay.config_path()).unwrap();
        let (_, rest) = text.split_once("keys = \"").unwrap();
        rest.split_once('"').unwrap().0.into()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.keys());
    }
}

#[test]
fn client_shows_a_token_and_is_in() {
    let issuer = Issuer::new();
    let house = House::new(&issuer, "loopback");
    let said = issuer.says("ann@c.test", 300);

    let mut client = house.relay.client();
    let hello = client.command("EHLO c.test").text();
    assert!(hello.contains(" OAUTHBEARER"), "{hello}");
    client.command("AUTH OAUTHBEARER").is("334 ");
    client.command(&said).is("235 2.7.0");
    client
        .submit("<ann@c.test>", &["<ann@c.test>"], &message("mine"))
        .is("250 ");
    client.command("MAIL FROM:<bob@c.test>").is("553 ");

    let mut client = Imap::greet(house.imap);
    let answer = client.command("CAPABILITY").is("OK ");
    answer.has("AUTH=OAUTHBEARER");
    client
        .command(&format!("AUTHENTICATE OAUTHBEARER {said}"))
        .is("OK ");
    client.command("SELECT INBOX").is("OK ");

    let mut client = Pop3::greet(house.pop3);
    let offered = client.list("CAPA");
    let sasl = offered.iter().find(|line| line.starts_with("SASL "));
    assert!(sasl.unwrap().ends_with("OAUTHBEARER"), "{offered:?}");
    client.expect("AUTH OAUTHBEARER", "+ ");
    client.expect(&said, "+OK Logged in.");
}

/// RFC 7628 §3.2.3: it hears why, answers with a single control-A, and is refused.
#[test]
fn client_shows_a_token_that_does_not_count() {
    let issuer = Issuer::new();
    let house = House::new(&issuer, "loopback");
    let stranger = Issuer::new();
    let why = STANDARD.encode("{\"status\":\"invalid_token\"}");
    for (said, logged) in [
        (issuer.says("ann@c.test", -300), "the token has expired"),
        (stranger.says("ann@c.test", 300), "no known key has signed"),
        (issuer.says("bob@c.test", 300), "names none"),
    ] {
        let mut client = house.relay.client();
        let began = Instant::now();
        let reply = client.command(&format!("AUTH OAUTHBEARER {said}"));
        assert_eq!((reply.code, reply.lines[0].trim()), (334, &*why));
        assert!(began.elapsed() >= Duration::from_secs(1), "guessing costs");
        client.command("AQ==").is("535 5.7.8");
        client.command("MAIL FROM:<ann@c.test>").is("530 ");
        house.relay.log_line(&["authentication failed", logged]);
    }
    let said = stranger.says("ann@c.test", 300);
    let mut client = Imap::greet(house.imap);
    client.send(format!("a AUTHENTICATE OAUTHBEARER {said}\r\n"));
    assert_eq!(client.line(), format!("+ {why}"));
    client.send("AQ==\r\n");
    client.answer("a").is("NO [AUTHENTICATIONFAILED]");
    let mut client = Pop3::greet(house.pop3);
    client.expect(&format!("AUTH OAUTHBEARER {said}"), &format!("+ {why}"));
    client.expect("*", "-ERR [AUTH]");
    assert!(!house.relay.log().contains(&said), "no token in the log");
}

/// As it is used: nothing is said in plain, neither here nor anywhere else.
#[test]
fn client_shows_tokens_under_tls() {
    let issuer = Issuer::new();
    let house = House::new(&issuer, "never");
    let shown = house.relay.data().join("keys/self-signed.pem");
    let (es256, none) = (json!({ "alg": "ES256" }), json!({ "alg": "none" }));
    let good = issuer.says("ann@c.test", 300);
    let unsigned = {
        let said = STANDARD.decode(issuer.says_with("ann@c.test", &none, &json!({})));
        let said = String::from_utf8(said.unwrap()).unwrap();
        let (signed, _) = said.rsplit_once('.').unwrap();
        STANDARD.encode(format!("{signed}.\x01\x01"))
    };
    for bad in [
        issuer.says("ann@c.test", -300),
        issuer.says_for("ann@c.test", "chat"),
        issuer.says_with(
            "ann@c.test",
            &es256,
            &json!({ "iss": "https://id.evil.test" }),
        ),
        issuer.says_with("ann@c.test", &es256, &json!({ "nbf": now() + 600 })),
        issuer.says_with("ann@c.test", &none, &json!({})),
        unsigned,
        Issuer::new().says("ann@c.test", 300),
    ] {
        let mut client = house.relay.client().secure(&shown);
        client
            .command(&format!("AUTH OAUTHBEARER {bad}"))
            .is("334 ");
        client.command("AQ==").is("535 5.7.8");
        client
            .command(&format!("AUTH OAUTHBEARER {good}"))
            .is("235 ");
        client
            .submit("<ann@c.test>", &["<ann@c.test>"], &message("mine"))
            .is("250 ");
    }
    let mut client = Pop3::greet(house.pop3);
    client.expect("STLS", "+OK");
    client.secure(&shown);
    client.expect("AUTH OAUTHBEARER", "+ ");
    client.expect(&good, "+OK Logged in.");
    assert!(!house.relay.log().contains(&good), "no token in the log");
}

#[test]
fn issuer_takes_another_key() {
    let issuer = Issuer::new();
    let house = House::new(&issuer, "loopback");
    let old = issuer.says("ann@c.test", 300);
    let new = Issuer::new();
    std::fs::write(house.keys(), new.jwks()).unwrap();
    let code = |said: &str| {
        let mut client = house.relay.client();
        client.command(&format!("AUTH OAUTHBEARER {said}")).code
    };
    crate::support::eventually("the new key counts", || {
        (code(&new.says("ann@c.test", 300)) == 235).then_some(())
    });
    assert_eq!(code(&old), 334);
    // A file that says nothing changes nothing, and a check names it.
    std::fs::write(house.keys(), "{\"keys\": []}").unwrap();
    house.relay.log_line(&["the old keys for tokens stay"]);
    assert_eq!(code(&new.says("ann@c.test", 300)), 235);
    let output = house.relay.run(&["check"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("keys: ") && said.contains("has no key"),
        "{said}"
    );
}

#[test]
fn token_is_not_asked_for_in_plain() {
    let issuer = Issuer::new();
    let house = House::new(&issuer, "never");
    let mut client = house.relay.client();
    let hello = client.command("EHLO c.test").text();
    assert!(
        !hello.contains("AUTH") && hello.contains("STARTTLS"),
        "{hello}"
    );
    let said = issuer.says("ann@c.test", 300);
    client
        .command(&format!("AUTH OAUTHBEARER {said}"))
        .is("503 ");
    let mut client = Imap::greet(house.imap);
    let answer = client.command(&format!("AUTHENTICATE OAUTHBEARER {said}"));
    answer.is("NO [PRIVACYREQUIRED]");
}
