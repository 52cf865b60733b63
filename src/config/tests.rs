use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    read::read(Path::new("r.toml"), text, Named::Read)
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
        pin = "always"
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
        tls = "verify"
        [[route]]
        domain = "e.test"
        tls = "required"
        [[route]]
        domain = "*"
        to = "reject"
        [dns]
        servers = ["127.0.0.1:5353"]
        dnssec = "trust_ad"
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
    let tls: Vec<Option<TlsPolicy>> = config.route.iter().map(|route| route.tls).collect();
    assert_eq!(
        tls,
        [Some(TlsPolicy::Verify), Some(TlsPolicy::Required), None]
    );
    assert_eq!(config.route[1].to, "mx");
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
fn a_wrong_value_is_told_what_would_be_right() {
    for (text, place, words) in [
        ("hostname = 3", "1:12", "must be a string, not 3"),
        ("data_dir = \"\"", "1:12", "must not be empty"),
        ("runtime.cores = 0", "1:17", "from 1 to 1024, not 0"),
        ("runtime.cores = [0, -1]", "1:21", "from 0 to 1023, not -1"),
        ("runtime.cores = []", "1:17", "\"all\", a count"),
        ("runtime.memory = \"1MiB\"", "1:18", "from \"16MiB\""),
        ("runtime.spin = \"1\"", "1:16", "a duration such as \"5m\""),
        (
            "smtp.max_message_size = 5000",
            "1:25",
            "a size such as \"50MiB\"",
        ),
        (
            "smtp.command_timeout = \"0s\"",
            "1:24",
            "must be more than zero",
        ),
        ("queue.expire = \"9999d\"", "1:16", "at most \"1000d\""),
        (
            "queue.retry = [\"1m\",\n\"0s\"]",
            "2:1",
            "must be more than zero",
        ),
        (
            "smtp.trusted_networks = [\"::1\"]",
            "1:26",
            "a network such as",
        ),
        ("delivery.port = 65536", "1:17", "from 1 to 65535"),
        ("delivery.source = \"::1\"", "1:19", "a list: [...]"),
        ("delivery.tls = true", "1:16", "\"opportunistic\""),
        (
            "[[route]]\ndomain = \"d.test\"\ntls = \"verified\"",
            "3:7",
            "\"verify\", not \"verified\"",
        ),
        ("dns.servers = [\"::1\"]", "1:16", "an address with a port"),
        (
            "dns.dnssec = \"validate\"",
            "1:14",
            "one of \"trust_ad\", \"off\"",
        ),
        (
            "[dns]\nservers = [\"127.0.0.1:53\", \"192.0.2.53:53\"]\ndnssec = \"trust_ad\"",
            "3:10",
            "192.0.2.53:53 is none",
        ),
        (
            "[[listener]]\nbind = [\"[::1]:25\"]\nproxy_protocol = 1",
            "3:18",
            "true or false, not 1",
        ),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(
            faults[0].starts_with(&format!("r.toml:{place}: ")) && faults[0].contains(words),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn a_warm_up_is_read_rendered_and_told_what_would_be_right() {
    let source = "[[source]]\nname = \"a\"\naddress = [\"::1\"]\n";
    let text = format!(
        "{source}warmup = \"p\"\nwarmup_from = 2026-11-26\n\
         [[pool]]\nname = \"bulk\"\nsources = [\"a\"]\n\
         [[warmup]]\nname = \"p\"\ndays = [50, 100]\n\
         [[warmup]]\nname = \"p\"\nmx = \"*.d.test\"\nstart = 10\ngrowth = 1.5\nend = 30\n"
    );
    let config = parse(&text).unwrap();
    assert_eq!(parse(&render(&config)).unwrap(), config);
    let pools = config.pools();
    let plan = pools.warmup("a").unwrap();
    let first = plan.first;
    assert_eq!(first.to_string(), "2026-11-26");
    let limits = |day| plan.lines.iter().map(move |line| plan.limit(line, day));
    assert!(limits(first).eq([Some(50), Some(10)]));
    assert!(limits(first.next()).eq([Some(100), Some(15)]));
    assert!(limits(first.next().next()).eq([None, Some(22)]));
}

#[test]
fn a_warm_up_that_cannot_be_is_told_of_where_it_stands() {
    for (text, place, words) in [
        ("[[warmup]]\ndays = [1]", "1:1", "needs name"),
        ("[[warmup]]\nname = \"p\"", "1:1", "needs days"),
        (
            "[[warmup]]\nname = \"p\"\nstart = 5\nend = 9",
            "1:1",
            "start, growth and end",
        ),
        (
            "[[warmup]]\nname = \"p\"\nstart = 5\ngrowth = 1\nend = 9",
            "4:10",
            "growth: must be a number from 1.01 to 100",
        ),
        (
            "[[warmup]]\nname = \"p\"\nstart = 9\ngrowth = 2.5\nend = 9",
            "5:7",
            "not more than start",
        ),
        (
            "[[warmup]]\nname = \"p\"\ndays = [1, 99999999]",
            "3:12",
            "a number from 0 to 10000000",
        ),
        (
            "[[warmup]]\nname = \"p\"\ndays = [1]\nend = 7",
            "3:8",
            "but not both",
        ),
        (
            "[[warmup]]\nname = \"p\"\nmx = \"*d\"\ndays = [1]",
            "3:6",
            "mx: \"*d\" is no domain",
        ),
        (
            "[[warmup]]\nname = \"p\"\ndomain = \"*\"\nmx = \"*\"\ndays = [1]",
            "4:6",
            "make it two tables",
        ),
        (
            "[[warmup]]\nname = \"p\"\ndays = [1]\n[[warmup]]\nname = \"p\"\ndays = [2]",
            "4:1",
            "is about all too",
        ),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(
            faults[0].starts_with(&format!("r.toml:{place}: ")) && faults[0].contains(words),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn a_source_that_cannot_be_warmed_up_is_told_of_where_it_stands() {
    let source = "[[source]]\nname = \"a\"\naddress = [\"::1\"]\n";
    for (text, place, words) in [
        (
            &format!("{source}warmup = \"p\""),
            "4:10",
            "no [[warmup]] called \"p\"",
        ),
        (
            &format!("{source}warmup = \"p\"\n[[warmup]]\nname = \"p\"\ndays = [1]"),
            "1:1",
            "needs warmup_from",
        ),
        (
            &format!("{source}warmup_from = 2026-11-26"),
            "4:15",
            "by which plan?",
        ),
        (
            &format!("{source}warmup_from = \"soon\""),
            "4:15",
            "a day such as 2026-11-26",
        ),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(
            faults[0].starts_with(&format!("r.toml:{place}: ")) && faults[0].contains(words),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn a_limit_is_read_rendered_and_told_what_would_be_right() {
    let text = "[[limit]]\ndomain = \"*.d.test\"\nconnections = 2\nrecipients_per_message = 10\n\
        recipient_rate = \"20/s\"\n[[limit]]\nmx = \"*.mail.test\"\n\
        messages_per_connection = 3\nrate = \"6/h\"\n";
    let config = parse(text).unwrap();
    assert_eq!(config.limit.len(), 2);
    assert_eq!(config.limit[1].rate, "6/h".parse().ok());
    assert_eq!(parse(&render(&config)).unwrap(), config);
    for (text, place, words) in [
        (
            "[[limit]]\ndomain = \"*\"\nrate = \"500\"",
            "3:8",
            "a rate such as \"500/m\"",
        ),
        ("[[limit]]\nconnections = 1", "1:1", "needs domain"),
        ("[[limit]]\nmx = \"*.test\"", "1:1", "limits nothing"),
        (
            "[[limit]]\nmx = \"*test\"\nconnections = 2",
            "2:6",
            "mx: \"*test\" is no domain",
        ),
        (
            "[[limit]]\ndomain = \"*\"\nmx = \"*\"\nconnections = 2",
            "3:6",
            "make it two tables",
        ),
        (
            "[[limit]]\ndomain = \"*\"\nrates = \"1/s\"",
            "3:1",
            "did you mean `rate`?",
        ),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(
            faults[0].starts_with(&format!("r.toml:{place}: ")) && faults[0].contains(words),
            "{text}: {faults:?}"
        );
    }
}

#[test]
fn a_smart_host_that_cannot_be_entered_is_told_of() {
    for (more, place, words) in [
        (
            "to = \"mx\"\ncredentials = \"x\"",
            "4:15",
            "only a smart host",
        ),
        (
            "to = \"smtp://hub.test\"\ncredentials = \"none.toml\"",
            "4:15",
            "none.toml: cannot be read",
        ),
        (
            "to = \"smtps://hub.test\"\ntls = \"none\"",
            "4:7",
            "always encrypted",
        ),
    ] {
        let faults = parse(&format!("[[route]]\ndomain = \"*\"\n{more}")).unwrap_err();
        let is_told = faults[0].starts_with(&format!("r.toml:{place}: "));
        assert!(is_told && faults[0].contains(words), "{faults:?}");
    }
}

#[test]
fn every_faulty_item_of_a_list_is_named_where_it_stands() {
    let faults = parse("[delivery]\nsource = [\"::1\", \"x\",\n  \"ü\", 3]\n").unwrap_err();
    let places: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split(": ").next())
        .collect();
    assert_eq!(
        places,
        ["r.toml:2:18", "r.toml:3:3", "r.toml:3:8"],
        "{faults:?}"
    );
}

#[test]
fn a_fault_is_named_once() {
    for text in [
        "[[listener]]\nbind = [\"25\"]\n",
        "[[route]]\ndomain = \"d.test\"\nto = 3\n",
        "[[route]]\ndomain = \"d.test\"\n",
        "[control]\nbind = \"0.0.0.0:8025\"\ntoken_file = 3\n",
    ] {
        let faults = parse(text).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_stands() {
    for (text, words) in [
        ("[smtp]\nconnect_timeout = \"5s\"\n", "[delivery]"),
        ("[smtp]\nhostname = \"relay.test\"\n", "before all tables"),
        ("max_recipients = 5\n", "[smtp]"),
        ("[stmp]\n", "`smtp`"),
    ] {
        let faults = parse(text).unwrap_err();
        assert!(faults[0].contains(words), "{faults:?}");
    }
}

#[test]
fn a_long_value_is_quoted_on_one_short_line() {
    let text = format!("[spool]\ndurability = \"\"\"{}\"\"\"\n", "a\n".repeat(500));
    let faults = parse(&text).unwrap_err();
    assert!(
        faults[0].len() < 250 && !faults[0].contains('\n'),
        "{faults:?}"
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_where() {
    let faults = parse("[smtp]\nmax_recipients = = 3\n").unwrap_err();
    assert!(faults[0].starts_with("r.toml:2:"), "{faults:?}");
}

/// What nobody issued counts by its fingerprint, and by nothing that is written in it.
#[test]
fn names_of_trusted_clients_need_an_authority() {
    let listener = |guest: &str| {
        format!(
            "[[listener]]\nbind = [\"127.0.0.1:25\"]\nclient_auth = \"request\"\n\
             trusted_clients = [\"{guest}\"]\n"
        )
    };
    let print = format!("sha256:{}", "ab".repeat(32));
    assert!(parse(&listener(&print)).is_ok());
    let faults = parse(&listener("a.test")).unwrap_err();
    let words = "r.toml:4:19: trusted_clients: \"a.test\" counts in a verified certificate alone";
    assert!(faults[0].starts_with(words), "{faults:?}");
}

#[test]
fn values_that_contradict_each_other_are_faults() {
    for (text, words) in [
        (
            "[tls]\ncertificate = \"/nonexistent.pem\"\n",
            "each certificate needs its key",
        ),
        (
            "[tls]\ncertificate = \"/nonexistent.pem\"\nkey = \"/nonexistent.key\"\n",
            "/nonexistent.pem: cannot be read",
        ),
        (
            "[tls]\nclient_ca = \"/nonexistent.pem\"\n",
            "client_ca: /nonexistent.pem cannot be read",
        ),
        (
            "[[listener]]\nbind = [\"127.0.0.1:25\"]\nclient_auth = \"require\"\n",
            "needs [tls] client_ca",
        ),
        (
            "[[listener]]\nbind = [\"127.0.0.1:25\"]\ntrusted_clients = [\"a.test\"]\n",
            "nobody is asked for a certificate",
        ),
        (
            "[[listener]]\nbind = [\"127.0.0.1:25\"]\ntrusted_clients = [\"sha256:ab\"]\n",
            "is no fingerprint",
        ),
        (
            "[[route]]\ndomain = \"*\"\nto = \"smtp://hub.test\"\nclient_key = \"/nonexistent\"\n",
            "go together",
        ),
        (
            "[[route]]\ndomain = \"*\"\nto = \"discard\"\nclient_certificate = \"/nonexistent\"\nclient_key = \"/k\"\n",
            "only a smart host",
        ),
        ("[control]\nbind = \"0.0.0.0:8025\"\n", "token_file"),
        (
            "[control]\nbind = \"127.0.0.1:2525\"\n",
            "bound by a listener",
        ),
        (
            "[control]\ntoken_file = \"/nonexistent/token\"\n",
            "cannot be read",
        ),
        ("[oauth]\naudience = \"mail\"\n", "[oauth] needs keys"),
        (
            "[oauth]\nkeys = \"/dev/null\"\nissuer = \"i\"\n",
            "[oauth] needs audience",
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
fn files_with_nothing_in_them_are_faults() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    for (file, of_token, of_keys) in [
        (empty, "is empty", "has no key that counts"),
        ("/dev/null", "no regular file", "no regular file"),
        ("/nonexistent", "cannot be read", "cannot be read"),
    ] {
        let token = format!("[control]\ntoken_file = \"{file}\"\n");
        let keys = format!("[oauth]\nkeys = \"{file}\"\nissuer = \"i\"\naudience = \"a\"\n");
        for (text, words) in [(token, of_token), (keys, of_keys)] {
            let faults = parse(&text).unwrap_err();
            assert!(faults[0].contains(file), "{faults:?}");
            assert!(faults[0].contains(words), "{faults:?}");
        }
    }
}

/// `sendmail` runs as anybody, `queue` as an operator: neither need be able to read what the relay reads.
#[test]
fn files_that_are_left_alone_make_no_fault() {
    let gone = "/nonexistent";
    let files = [
        ("tls", format!("certificate = \"{gone}\"\nkey = \"{gone}\"")),
        ("tls", format!("trusted_roots = \"{gone}\"")),
        ("tls", format!("client_ca = \"{gone}\"")),
        ("control", format!("token_file = \"{gone}\"")),
        ("bounces", format!("rules = \"{gone}\"")),
        ("returns", format!("key = \"{gone}\"")),
        (
            "oauth",
            format!("keys = \"{gone}\"\nissuer = \"i\"\naudience = \"a\""),
        ),
        (
            "[dkim]",
            format!("domain = \"d.test\"\nselector = \"s\"\nkey = \"{gone}\""),
        ),
        (
            "[webhook]",
            format!("url = \"http://h.test/\"\nsecret_file = \"{gone}\""),
        ),
        (
            "[route]",
            format!("domain = \"*\"\nto = \"smtp://h.test\"\ncredentials = \"{gone}\""),
        ),
        (
            "[route]",
            format!(
                "domain = \"*\"\nto = \"smtp://h.test\"\nclient_certificate = \"{gone}\"\nclient_key = \"{gone}\""
            ),
        ),
    ];
    for (table, keys) in files {
        let text = format!("[{table}]\n{keys}\n");
        let faults = parse(&text).unwrap_err();
        assert!(faults[0].contains(gone), "{text}: {faults:?}");
        let left = read::read(Path::new("r.toml"), &text, Named::LeftAlone);
        assert!(left.is_ok(), "{text}: {left:?}");
    }
}

#[test]
fn the_file_is_found_or_the_default_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.toml");
    let faults = load(Some(&path)).unwrap_err();
    assert!(faults[0].message.contains("cannot be read"), "{faults:?}");
    std::fs::write(&path, b"hostname = \"a.test\"\n# \xfc\n").unwrap();
    let faults = load(Some(&path)).unwrap_err();
    assert_eq!((faults[0].line, faults[0].column), (2, 3), "{faults:?}");
    std::fs::write(&path, "hostname = \"a.test\"\n").unwrap();
    assert_eq!(load(Some(&path)).unwrap().hostname(), "a.test");
}

#[test]
fn the_examples_of_the_manual_are_configurations() {
    let manual = include_str!("../manual/config.rs");
    let mut examples = Vec::new();
    let mut example: Option<String> = None;
    for line in manual.lines() {
        let line = line.trim_start_matches("//!").trim_start();
        match (line, &mut example) {
            ("```toml", None) => example = Some(String::new()),
            ("```", Some(_)) => examples.extend(example.take()),
            (line, Some(text)) => *text += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(examples.len() >= 2, "{examples:?}");
    for text in examples {
        parse(&text).unwrap();
    }
}

#[test]
fn the_route_in_the_comments_is_one() {
    let rendered = render(&Config::default());
    let (_, tables) = rendered.split_once("\n# [[route]]").unwrap();
    let (route, _) = tables.split_once("\n# [[dkim]]").unwrap();
    let rendered = format!("# [[route]]{route}");
    let wanted = ["# [[route]]", "# domain", "# to"];
    let lines = rendered.lines().filter(|line| {
        let word = line.split(" =").next();
        word.is_some_and(|word| wanted.contains(&word))
    });
    let text: Vec<&str> = lines.filter_map(|line| line.strip_prefix("# ")).collect();
    assert_eq!(parse(&text.join("\n")).unwrap().route.len(), 1, "{text:?}");
}

#[test]
fn what_is_in_effect_has_every_name() {
    let mut config = Config::default().effective();
    assert_eq!(config.hostname, config.delivery.helo);
    assert_eq!(parse(&render(&config)).unwrap(), config);
    config.hostname = Some("a.test".to_owned());
    config.delivery.helo = None;
    assert_eq!(config.effective().delivery.helo.as_deref(), Some("a.test"));
}

#[test]
fn a_network_of_mapped_addresses_is_the_ipv4_network() {
    for (written, read) in [
        ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
        ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        // Wider ones are of IPv6, and so are others.
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1/128", "::1/128"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ] {
        let config = parse(&format!("smtp.trusted_networks = [\"{written}\"]")).unwrap();
        let networks: Vec<String> = config
            .smtp
            .trusted_networks
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(networks, [read], "{written}");
    }
}

#[test]
fn the_machine_is_known_by_its_full_name() {
    let hosts = "127.0.0.1 localhost\n127.0.1.1 box.example.org box # here\n";
    assert_eq!(full_name(hosts, "box").as_deref(), Some("box.example.org"));
    assert_eq!(full_name(hosts, "other"), None);
}
