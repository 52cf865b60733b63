//! What changes while clients are connected: those who are in stay in, those who come see the new.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::oauth::Issuer;
use crate::support::client::Reply;
use crate::support::{Authority, Client, Relay, Scene, Script, eventually, message};

/// What a relay goes by at one time.
struct Year {
    authority: Authority,
    issuer: Issuer,
    password: &'static str,
    home: tempfile::TempDir,
}

impl Year {
    fn new(password: &'static str) -> Self {
        let (issuer, home) = (Issuer::new(), tempfile::tempdir().unwrap());
        fs::write(home.path().join("keys"), issuer.jwks()).unwrap();
        Self {
            authority: Authority::new(),
            issuer,
            password,
            home,
        }
    }

    /// Chain and key in one file, so that both change at one moment.
    fn pair(&self) -> String {
        let (chain, key) = self.authority.issue("relay.test");
        [chain, key]
            .map(|file| fs::read_to_string(file).unwrap())
            .concat()
    }

    fn write_pair(&self, place: &Path) {
        let draft = place.with_extension("new");
        fs::write(&draft, self.pair()).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(draft, place).unwrap();
    }

    fn extra(&self, smtp: std::net::SocketAddr, audience: &str) -> String {
        let [pair, users, keys] = ["pair", "users.toml", "keys"].map(|file| self.at(file));
        self.write_pair(&pair);
        format!(
            "smtp.trusted_networks = []\nauth.allow_plaintext = \"never\"\n\
             auth.users_file = {users:?}\ntls.certificate = {pair:?}\ntls.key = {pair:?}\n\
             oauth = {{ keys = {keys:?}, issuer = \"https://id.test\", audience = {audience:?} }}\n\
             listener = [{{ protocol = \"submission\", bind = [\"{smtp}\"] }}]"
        )
    }

    fn at(&self, file: &str) -> PathBuf {
        self.home.path().join(file)
    }

    /// Adds ann with this year's password to the users that the written configuration names.
    fn add_ann(&self, relay: &Relay) {
        let input = format!("{}\n", self.password);
        let output = relay.run_with(&["user", "add", "ann@c.test"], &input);
        assert!(output.status.success(), "{output:?}");
    }

    fn connect(&self, relay: &Relay) -> Client {
        relay.client().secure(&self.authority.path())
    }

    fn log_in(&self, client: &mut Client) -> Reply {
        let said = STANDARD.encode(format!("\0ann@c.test\0{}", self.password));
        client.command(&format!("AUTH PLAIN {said}"))
    }

    fn show_token(&self, client: &mut Client, audience: &str) -> u16 {
        let said = self.issuer.says_for("ann@c.test", audience);
        client.command(&format!("AUTH OAUTHBEARER {said}")).code
    }
}

#[test]
fn operator_sends_sighup_while_clients_are_connected() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (old, new) = (Year::new("first"), Year::new("second"));
    let mut setup = scene.config("");
    setup.extra = old.extra(setup.smtp, "mail");
    let mut relay = Relay::start(setup);
    old.add_ann(&relay);
    relay.log_line(&["changed: done"]);
    let mut inside = old.connect(&relay);
    old.log_in(&mut inside).is("235 ");
    let outside = relay.client();

    relay.setup.extra = new.extra(relay.setup.smtp, "post");
    relay.write_config();
    new.add_ann(&relay);
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);

    inside
        .submit("<ann@c.test>", &["<b@d.test>"], &message("still-in"))
        .is("250 ");
    mx.wait_for(1);
    let mut outside = outside.secure(&new.authority.path());
    new.log_in(&mut outside).is("235 ");
    old.log_in(&mut new.connect(&relay)).is("535 ");
    new.log_in(&mut new.connect(&relay)).is("235 ");
    assert_eq!(new.show_token(&mut new.connect(&relay), "post"), 235);
    assert_eq!(new.show_token(&mut new.connect(&relay), "mail"), 334);
    assert_eq!(old.show_token(&mut new.connect(&relay), "post"), 334);
}

/// Half written, or moved away: that would be all defaults at once, ports included.
#[test]
fn a_configuration_that_is_empty_or_gone_is_no_new_one() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let path = relay.config_path();
    for (nth, text) in [Some(""), Some(" \n\n"), None].into_iter().enumerate() {
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        relay.signal(Signal::HUP);
        eventually("the old one stays", || {
            let stays = relay.log().matches("the old one stays").count();
            (stays == nth + 1).then_some(())
        });
        relay.client().command("NOOP").is("250 ");
    }
    fs::write(&path, "\n").unwrap();
    let checked = relay.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("is empty"));
}

#[test]
fn files_change_and_nobody_says_so() {
    let scene = Scene::new();
    let (old, new) = (Year::new("first"), Year::new("second"));
    let mut setup = scene.config("");
    setup.extra = old.extra(setup.smtp, "mail");
    let relay = Relay::start(setup);
    old.add_ann(&relay);
    relay.log_line(&["changed: done"]);
    let mut inside = old.connect(&relay);
    old.log_in(&mut inside).is("235 ");

    new.write_pair(&old.at("pair"));
    fs::copy(new.at("keys"), old.at("keys")).unwrap();
    let changed = || relay.log().matches("changed: done").count();
    eventually("the files are read", || {
        let now = fs::read_to_string(old.at("keys")).unwrap();
        (now == new.issuer.jwks() && changed() > 1).then_some(())
    });
    // Both may not have changed in one look.
    eventually("the new key counts", || {
        let mut client = new.connect(&relay);
        (new.show_token(&mut client, "mail") == 235).then_some(())
    });
    assert_eq!(old.show_token(&mut new.connect(&relay), "mail"), 334);
    inside.command("NOOP").is("250 ");

    // A pair that is none changes nothing.
    fs::write(old.at("pair"), "no certificate").unwrap();
    relay.log_line(&["the old certificates stay"]);
    old.log_in(&mut new.connect(&relay)).is("235 ");
}
