use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::SCRAM_SHA256_PLUS;
use rsasl::mechname::Mechname;
use rsasl::prelude::{Mechanism as Spoken, Registry, SASLClient, SASLConfig, SessionError, State};
use rsasl::property::{AuthId, ChannelBindings, Password};

use super::client::{Attempt, Credentials};
use super::sasl::{Binding, Exchange, Turn};
use super::*;
use crate::smtp::extension::{Extensions, Mechanism, Mechanisms};

static USERS: LazyLock<Arc<Users>> = LazyLock::new(|| {
    let mut users = Users::default();
    assert!(users.add(
        "Ann@C.test",
        User::new("secret", vec!["*@d.test".to_owned()]).unwrap()
    ));
    Arc::new(users)
});

/// What comes of a client with this name and password; true when the server lets it in.
fn logs_in(mechanism: &str, name: &str, password: &str) -> (bool, usize) {
    let config = SASLConfig::with_credentials(None, name.to_owned(), password.to_owned()).unwrap();
    let offered = Mechname::parse(mechanism.as_bytes()).unwrap();
    let mut client = SASLClient::new(config).start_suggested(&[offered]).unwrap();
    let mut server = Exchange::begin(Arc::clone(&USERS), None, mechanism, None).unwrap();
    let mut rounds = 0;
    let mut turn = server.step(None);
    loop {
        rounds += 1;
        let challenge = match turn {
            Turn::Challenge(challenge) => challenge,
            Turn::Check {
                user,
                password,
                hash,
            } => {
                return (verify(&password, &hash) && !user.is_empty(), rounds);
            }
            Turn::Proved(user, last) => {
                assert_eq!(user, "ann@c.test");
                let state = client.step(last.as_deref(), &mut Vec::new());
                return (matches!(state, Ok(State::Finished(_))), rounds);
            }
            Turn::Denied(..) | Turn::Refused => return (false, rounds),
        };
        let mut said = Vec::new();
        let input = if challenge.is_empty() {
            None
        } else {
            Some(&challenge[..])
        };
        client.step(input, &mut said).unwrap();
        turn = server.step(Some(&said));
    }
}

#[test]
fn every_mechanism_lets_in_who_knows_the_password_and_nobody_else() {
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
        let (is_in, rounds) = logs_in(mechanism, "ann@c.test", "secret");
        assert!(is_in, "{mechanism}");
        assert!(logs_in(mechanism, "ANN@c.test", "secret").0, "{mechanism}");
        for (name, password) in [("ann@c.test", "Secret"), ("bob@c.test", "secret")] {
            let (is_in, others) = logs_in(mechanism, name, password);
            assert!(!is_in, "{mechanism} {name}");
            assert_eq!(others, rounds, "a stranger hears as much as a user");
        }
    }
}

#[test]
fn nonsense_is_refused() {
    for (mechanism, said) in [
        ("PLAIN", &b""[..]),
        ("PLAIN", b"\0\0"),
        ("PLAIN", b"no separators"),
        ("PLAIN", b"bob@c.test\0ann@c.test\0secret"),
        ("PLAIN", b"\0ann@c.test\0secret\0more"),
        ("SCRAM-SHA-256", b"n,,n=ann@c.test"),
        ("SCRAM-SHA-256", b"\xFF\xFF"),
        ("SCRAM-SHA-256", b""),
        ("SCRAM-SHA-256", b"n,"),
        ("SCRAM-SHA-256", b"n,,"),
        ("SCRAM-SHA-256", b"n,a,n=ann@c.test,r=nonce"),
        ("SCRAM-SHA-256", b"n,,n,r=nonce"),
        ("SCRAM-SHA-256", b"n,,n=ann@c.test,r"),
    ] {
        let mut exchange = Exchange::begin(Arc::clone(&USERS), None, mechanism, None).unwrap();
        assert_eq!(
            exchange.step(Some(said)),
            Turn::Refused,
            "{mechanism} {said:?}"
        );
    }
    assert!(Exchange::begin(Arc::clone(&USERS), None, "CRAM-MD5", None).is_none());
    assert!(Exchange::begin(Arc::clone(&USERS), None, "SCRAM-SHA-1", None).is_none());
}

fn credentials(password: &str) -> Credentials {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("hub.toml");
    let text = format!("user = \"ann@c.test\"\npassword = \"{password}\"\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    Credentials::read(&path).unwrap()
}

fn offered(names: &str) -> Mechanisms {
    let mut extensions = Extensions::default();
    extensions.note(&format!("AUTH {names}"));
    extensions.auth
}

/// We at a server of ours; the mechanism, and whether each is content with the other.
fn visit(names: &str, password: &str, bindings: [Option<Binding>; 2]) -> (Mechanism, bool) {
    let [ours, theirs] = bindings;
    let credentials = credentials(password);
    let (mut attempt, mechanism, mut said) =
        Attempt::begin(&credentials, offered(names), ours).unwrap();
    let mut server = Exchange::begin(Arc::clone(&USERS), None, mechanism.name(), theirs).unwrap();
    loop {
        let challenge = match server.step(said.octets.as_deref()) {
            Turn::Challenge(challenge) => challenge,
            Turn::Check { password, hash, .. } => {
                return (mechanism, said.may_end && verify(&password, &hash));
            }
            Turn::Proved(_, last) => {
                assert!(!said.may_end, "it has not proved itself yet");
                let said = attempt.answer(&last.unwrap()).unwrap();
                return (mechanism, said.may_end);
            }
            Turn::Denied(..) | Turn::Refused => return (mechanism, false),
        };
        said = attempt.answer(&challenge).unwrap();
    }
}

#[test]
fn strongest_mechanism_is_used_and_lets_us_in() {
    let both = [Some(HERE), Some(HERE)];
    for (names, bindings, wanted) in [
        (
            "LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS",
            both,
            Mechanism::ScramSha256Plus,
        ),
        (
            "LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS",
            [None, None],
            Mechanism::ScramSha256,
        ),
        ("LOGIN PLAIN", both, Mechanism::Plain),
        ("LOGIN", both, Mechanism::Login),
    ] {
        assert_eq!(visit(names, "secret", bindings), (wanted, true), "{names}");
        assert_eq!(visit(names, "wrong", bindings), (wanted, false), "{names}");
    }
    // Somebody between us took -PLUS out.
    let (mechanism, is_in) = visit("SCRAM-SHA-256", "secret", both);
    assert_eq!((mechanism, is_in), (Mechanism::ScramSha256, false));
    let plus_in_plain = Attempt::begin(&credentials("x"), offered("SCRAM-SHA-256-PLUS"), None);
    assert!(plus_in_plain.is_err());
}

#[test]
fn server_wants_us_to_count_for_ever() {
    let begin = || Attempt::begin(&credentials("secret"), offered("SCRAM-SHA-256"), None).unwrap();
    for iterations in [0, 200_001, u32::MAX] {
        let (mut attempt, _, said) = begin();
        let said = String::from_utf8(said.octets.unwrap()).unwrap();
        let nonce = said.split_once("r=").unwrap().1;
        let challenge = format!("r={nonce}more,s=c2FsdA==,i={iterations}");
        assert!(
            attempt.answer(challenge.as_bytes()).is_err(),
            "{iterations}"
        );
    }
}

proptest! {
    #[test]
    fn server_says_anything_and_has_proved_nothing(
        first in "(r=)?[a-z]{0,3},?s?=?[A-Za-z0-9=]{0,4},?i?=?[0-9]{0,3},{0,2}",
        then in "[ve]?=?[A-Za-z0-9=]{0,4},{0,2}",
        has_nonce in any::<bool>(),
    ) {
        let begun = Attempt::begin(&credentials("secret"), offered("SCRAM-SHA-256"), None);
        let (mut attempt, _, said) = begun.unwrap();
        let said = String::from_utf8(said.octets.unwrap()).unwrap();
        let nonce = said.split_once("r=").unwrap().1;
        let first = if has_nonce { format!("r={nonce}{first}") } else { first };
        for words in [first, then] {
            match attempt.answer(words.as_bytes()) {
                Ok(said) => prop_assert!(!said.may_end),
                Err(_) => break,
            }
        }
    }
}

#[test]
fn credentials_are_not_for_everybody_to_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("hub.toml");
    let read = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Credentials::read(&path).map_err(|why| {
            assert!(!why.contains("s3cret"), "{why}");
            why
        })
    };
    let good = "user = \"ann\"\npassword = \"s3cret\"\n";
    let ann = read(good, 0o600).unwrap();
    assert!(!format!("{ann:?}").contains("s3cret"));
    assert!(read(good, 0o644).unwrap_err().contains("chmod"));
    for bad in [
        "",
        "user = \"ann\"",
        "password = \"s3cret\"",
        "user = \"\"\npassword = \"s3cret\"",
        "user = \"ann\"\npassword = s3cret",
        "user = \"ann\"\npassword = \"s3cret\"\nport = 25",
    ] {
        assert!(
            read(bad, 0o600).unwrap_err().contains("hub.toml: "),
            "{bad}"
        );
    }
    assert!(Credentials::read(&home.path().join("none")).is_err());
}

const HERE: Binding = Binding([7; 32]);
const ELSEWHERE: Binding = Binding([8; 32]);

/// What a client at the other end of a channel makes of SCRAM-SHA-256-PLUS; true when it is in.
fn is_bound(at_client: Binding, at_server: Binding) -> bool {
    // Offered more, rsasl's client prefers the plain one.
    static PLUS: [Spoken; 1] = [SCRAM_SHA256_PLUS];
    struct Ann(Binding);
    impl SessionCallback for Ann {
        fn callback(
            &self,
            _: &SessionData,
            _: &Context<'_>,
            request: &mut Request<'_>,
        ) -> Result<(), SessionError> {
            request.satisfy::<AuthId>("ann@c.test")?;
            request.satisfy::<Password>(b"secret")?;
            request.satisfy::<ChannelBindings>(&self.0.0)?;
            Ok(())
        }

        fn enable_channel_binding(&self) -> bool {
            true
        }
    }
    let config = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(&PLUS))
        .with_callback(Ann(at_client))
        .unwrap();
    let name = Mechname::parse(b"SCRAM-SHA-256-PLUS").unwrap();
    let mut client = SASLClient::new(config).start_suggested(&[name]).unwrap();
    let mut server = Exchange::begin(
        Arc::clone(&USERS),
        None,
        "SCRAM-SHA-256-PLUS",
        Some(at_server),
    )
    .unwrap();
    let mut said = Vec::new();
    client.step(None, &mut said).unwrap();
    loop {
        match server.step(Some(&said)) {
            Turn::Challenge(challenge) => {
                said.clear();
                client.step(Some(&challenge), &mut said).unwrap();
            }
            Turn::Proved(user, Some(last)) => {
                assert_eq!(user, "ann@c.test");
                client.step(Some(&last), &mut Vec::new()).unwrap();
                return true;
            }
            Turn::Refused => return false,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn somebody_between_client_and_server_has_another_channel() {
    assert!(is_bound(HERE, HERE));
    assert!(!is_bound(HERE, ELSEWHERE));
}

#[test]
fn somebody_took_channel_binding_out_of_what_was_offered() {
    let begins = |mechanism: &str, binding, said: &str| {
        let mut exchange = Exchange::begin(Arc::clone(&USERS), None, mechanism, binding).unwrap();
        let said = format!("{said},,n=ann@c.test,r=nonce");
        matches!(exchange.step(Some(said.as_bytes())), Turn::Challenge(_))
    };
    // "y": I could, and you cannot.
    assert!(!begins("SCRAM-SHA-256", Some(HERE), "y"));
    assert!(begins("SCRAM-SHA-256", Some(HERE), "n"));
    assert!(begins("SCRAM-SHA-256", None, "y"));
    assert!(begins("SCRAM-SHA-256", None, "n"));
    assert!(begins("SCRAM-SHA-256-PLUS", Some(HERE), "p=tls-exporter"));
    for other in ["p=tls-unique", "n", "y"] {
        assert!(!begins("SCRAM-SHA-256-PLUS", Some(HERE), other), "{other}");
    }
    assert!(Exchange::begin(Arc::clone(&USERS), None, "SCRAM-SHA-256-PLUS", None).is_none());
}

proptest! {
    #[test]
    fn client_says_anything_and_is_refused(
        first in "[nyp]?=?[a-z-]{0,3},?(a=?)?,?n?=?[a-z]{0,2},?r?=?[a-z]{0,2},{0,2}",
        then in "c?=?[a-zA-Z=]{0,4},?r?=?[a-z]{0,2},?(p=?)?[A-Za-z0-9=]{0,3},{0,2}",
        bound in any::<bool>(),
    ) {
        let binding = bound.then_some(HERE);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"].iter().take(1 + usize::from(bound)) {
            let mut exchange = Exchange::begin(Arc::clone(&USERS), None, mechanism, binding).unwrap();
            let mut turn = exchange.step(Some(first.as_bytes()));
            if let Turn::Challenge(_) = turn {
                turn = exchange.step(Some(then.as_bytes()));
            }
            let is_in = matches!(turn, Turn::Proved(..)) || matches!(turn, Turn::Challenge(_));
            prop_assert!(!is_in, "{mechanism}: {turn:?}");
        }
    }
}

#[test]
fn strangers_are_asked_the_same_questions_again_and_again() {
    let first = |name: &str| {
        let mut exchange =
            Exchange::begin(Arc::clone(&USERS), None, "SCRAM-SHA-256", None).unwrap();
        let Turn::Challenge(challenge) =
            exchange.step(Some(format!("n,,n={name},r=nonce").as_bytes()))
        else {
            panic!("no challenge");
        };
        let text = String::from_utf8(challenge).unwrap();
        text.split_once(",s=").unwrap().1.to_owned()
    };
    assert_eq!(first("bob@c.test"), first("bob@c.test"));
    assert_ne!(first("bob@c.test"), first("eve@c.test"));
    assert_eq!(first("ann@c.test"), first("ann@c.test"));
    assert_eq!(first("ann@c.test").len(), first("bob@c.test").len());
}

#[test]
fn users_are_kept_in_a_file_that_others_cannot_read() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("users.toml");
    assert!(Users::read(&path).unwrap().is_empty());
    let mut users = Users::clone(&USERS);
    users.write(&path).unwrap();
    assert_eq!(Users::read(&path).unwrap(), users);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!fs::read_to_string(&path).unwrap().contains("secret"));
    assert!(!users.add("ann@c.test", users.find("ann@c.test").unwrap().1.clone()));
    assert!(users.set_password("ANN@c.test", "other").unwrap());
    let (_, ann) = users.find("ann@c.test").unwrap();
    assert!(verify(b"other", &ann.password) && !verify(b"secret", &ann.password));
    assert_eq!(ann.senders, ["*@d.test"]);
    assert!(users.remove("ann@c.test") && !users.remove("ann@c.test"));
    fs::write(&path, "user = 7").unwrap();
    assert!(Users::read(&path).unwrap_err().contains("users.toml: "));
}

#[test]
fn senders_are_the_users_own_and_those_it_was_given() {
    let (name, ann) = USERS.find("ann@c.test").unwrap();
    for (sender, is_allowed) in [
        ("ann@c.test", true),
        ("Ann@C.TEST", true),
        ("bob@c.test", false),
        ("anybody@d.test", true),
        ("anybody@x.d.test", false),
        ("d.test", false),
    ] {
        assert_eq!(ann.may_send_from(name, sender), is_allowed, "{sender}");
    }
}

/// The example of RFC 1939 §7.
#[test]
fn apop_is_what_the_rfc_computes() {
    let stamp = "<1896.697170952@dbc.mtview.ca.us>";
    let shown = 0xc4c9_334b_ac56_0ecc_979e_5800_1b3e_22fb_u128.to_be_bytes();
    let mut users = Users::default();
    users.add(
        "mrose@c.test",
        User::new("tanstaaf", Vec::new())
            .unwrap()
            .with_apop("tanstaaf"),
    );
    users.add("ann@c.test", User::new("tanstaaf", Vec::new()).unwrap());
    assert_eq!(
        check_apop(&users, "MRose@c.test", stamp, shown),
        Some("mrose@c.test")
    );
    assert_eq!(
        check_apop(&users, "mrose@c.test", "<2@c.test>", shown),
        None
    );
    assert_eq!(
        check_apop(&users, "ann@c.test", stamp, shown),
        None,
        "nobody asked for it"
    );
    assert_eq!(check_apop(&users, "eve@c.test", stamp, shown), None);
    assert_eq!(users.set_password("mrose@c.test", "other"), Ok(true));
    assert_eq!(check_apop(&users, "mrose@c.test", stamp, shown), None);
    let (_, user) = users.find("mrose@c.test").unwrap();
    assert_eq!(user.apop.as_deref(), Some("other"), "it stays asked for");
}

/// The digest of the empty password is known to everybody.
#[test]
fn apop_without_a_password_opens_nothing() {
    let mut users = Users::default();
    users.add("ann@c.test", User::new("secret", Vec::new()).unwrap());
    let digest = Md5::digest(b"<1@c.test>");
    for name in ["ann@c.test", "eve@c.test"] {
        assert_eq!(check_apop(&users, name, "<1@c.test>", digest.into()), None);
    }
}
