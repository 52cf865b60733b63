use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    read::read(Path::new("r.toml"), text)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn what_is_rendered_is_read_again() {
    let default = Config::default();
    assert_eq!(parse(&render(&default)).unwrap(), default);
    let text = r#"
        hostname = "relay.test"
        data_dir = "/var/\"x\""
        [runtime]
        cores = [4, 0, 4]
        spin = "50us"
        [[listener]]
        protocol = "lmtp"
        bind = ["[::1]:24", "127.0.0.1:24"]
        proxy_protocol = true
        [smtp]
        max_message_size = "3MiB"
        bare_line_ends = "fix"
        trusted_networks = []
        [[route]]
        domain = "*.d.test"
        to = "smtp://[::1]:26"
        [[route]]
        domain = "*"
        to = "reject"
        [dns]
        servers = ["127.0.0.1:5353"]
        [delivery]
        source = ["192.0.2.1", "2001:db8::1"]
        families = "ipv4"
        [queue]
        retry = ["300ms", "1h"]
        delay_notice = "none"
        [spool]
        durability = "none"
        [control]
        bind = "none"
        [mailboxes]
        quota = "1GiB"
        [log]
        format = "json"
        level = "debug"
    "#;
    let config = parse(text).unwrap();
    assert_eq!(config.runtime.cores, Cores::List(vec![0, 4]));
    assert_eq!(
        (config.control.bind, config.queue.delay_notice),
        (None, None)
    );
    assert_eq!(
        config.listener.len(),
        1,
        "a listener in the file replaces the default one"
    );
    assert_eq!(parse(&render(&config)).unwrap(), config);
}

#[test]
fn every_fault_is_named_with_its_place_and_what_would_be_right() {
    let text = "hostnam = \"a\"\nhostname = \"a b\"\n[smtp]\nmax_recipient = 3\n\
        max_message_size = \"many\"\nmax_recipients = 0\n[queue]\nretry = []\n\
        [spool]\ndurability = \"maybe\"\n[[route]]\ndomain = \"d.test\"\nto = \"lmtp://x\"\n";
    let faults = parse(text).unwrap_err();
    let expected = [
        ("r.toml:1:1: ", "`hostname`"),
        ("r.toml:2:12: ", "no host name"),
        ("r.toml:4:1: ", "`max_recipients`"),
        ("r.toml:5:20: ", "50MiB"),
        ("r.toml:6:18: ", "from 1 to"),
        ("r.toml:8:9: ", "at least one"),
        ("r.toml:10:14: ", "\"fsync\", \"none\""),
        ("r.toml:13:6: ", "smtp://host"),
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (place, words)) in faults.iter().zip(expected) {
        assert!(fault.starts_with(place) && fault.contains(words), "{fault}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_where() {
    let faults = parse("[smtp]\nmax_recipients = = 3\n").unwrap_err();
    assert!(faults[0].starts_with("r.toml:2:"), "{faults:?}");
}

#[test]
fn what_is_not_built_yet_is_refused_and_not_ignored() {
    for text in [
        "[[listener]]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:143\"]\n",
        "[tls]\ncertificate = \"x\"\n",
        "[delivery]\ntls = \"verify\"\n",
        "[[route]]\ndomain = \"d.test\"\nto = \"mailbox\"\n",
    ] {
        let faults = parse(text).unwrap_err();
        assert!(faults[0].contains("not in this version"), "{faults:?}");
    }
}

#[test]
fn values_that_contradict_each_other_are_faults() {
    for (text, words) in [
        ("[control]\nbind = \"0.0.0.0:8025\"\n", "token_file"),
        (
            "[control]\nbind = \"127.0.0.1:2525\"\n",
            "bound by a listener",
        ),
        (
            "[control]\ntoken_file = \"/nonexistent/token\"\n",
            "cannot be read",
        ),
        ("[[listener]]\nprotocol = \"smtp\"\n", "needs bind"),
        (
            "[[listener]]\nbind = [\"127.0.0.1:25\", \"127.0.0.1:25\"]\n",
            "bound twice",
        ),
        ("listener = 3\n", "[[listener]]"),
        ("smtp = 3\n", "[smtp]"),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(faults[0].contains(words), "{faults:?}");
    }
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let old = Config::default();
    let mut new = old.clone();
    new.smtp.max_recipients = 5;
    assert!(changes(&old, &new).is_empty());
    new.runtime.cores = Cores::Count(1);
    new.listener.clear();
    assert_eq!(changes(&old, &new), ["runtime.cores", "listener"]);
}

#[test]
fn the_machine_is_known_by_its_full_name() {
    let hosts = "127.0.0.1 localhost\n127.0.1.1 box.example.org box # here\n";
    assert_eq!(full_name(hosts, "box").as_deref(), Some("box.example.org"));
    assert_eq!(full_name(hosts, "other"), None);
}
