//! Every command that prints data prints one JSON document with `--json`, and plain text into a pipe.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Relay, Scene, Script, message};

/// How each command is called; ID is a message that waits.
const CALLS: &[&str] = &[
    "check",
    "config",
    "queue list",
    "queue show ID",
    "queue hold ID",
    "queue release ID",
    "queue retry --to nobody@e.test --dry-run",
    "queue redirect --all --into b@e.test --dry-run",
    "queue bounce --all --dry-run",
    "queue remove ID",
    "queue undo",
    "queue shape",
    "trace ID",
    "explain b@d.test",
    "latency",
    "shards",
    "user list",
    "alias list",
    "dkim generate d.test --selector s1 --type ed25519",
    "dkim show",
    "preflight FILE",
    "bounces 550",
    "suppression add eve@e.test",
    "suppression list",
    "suppression check bob@e.test",
    "suppression import LIST",
    "suppression remove eve@e.test",
    "health",
    "reload",
    "drain",
    "spool check",
];

/// Without data (`cli::tests` holds the list), and not one command but several.
const OTHERS: &[&str] = &[
    "",
    "serve",
    "top",
    "sendmail",
    "completions",
    "man",
    "user add",
    "user remove",
    "user password",
    "alias add",
    "alias remove",
    "queue",
    "spool",
    "user",
    "alias",
    "dkim",
    "suppression",
];

fn call(words: &str, meant: &[(&str, &str)]) -> Vec<String> {
    let words = words.split(' ').map(|word| {
        let found = meant.iter().find(|(name, _)| *name == word);
        found.map_or(word, |(_, meant)| meant).to_owned()
    });
    words.collect()
}

fn run(relay: &Relay, words: &[String]) -> (Option<i32>, String) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = relay.run(&words);
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

/// Commands by their manual pages.
fn commands(relay: &Relay) -> BTreeSet<String> {
    let pages = relay.data().join("man");
    relay.ask(&["man", pages.to_str().unwrap()]);
    let names = std::fs::read_dir(pages).unwrap().flatten();
    let names = names.map(|page| page.file_name().into_string().unwrap());
    let command = |name: String| {
        // ringpost.toml(5) is no command's.
        let name = name.strip_prefix("ringpost")?.strip_suffix(".1")?;
        Some(name.trim_start_matches('-').replace('-', " "))
    };
    names.filter_map(command).collect()
}

#[test]
fn every_command_prints_one_json_document_and_no_colours_into_a_pipe() {
    let (scene, _mx) = Scene::with_mx(Script::new().says("RCPT", "451 4.3.0 busy"));
    let mut relay = scene.relay("queue.retry = [\"1h\"]");
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &message("one"));
    let write = |name: &str, text: &[u8]| {
        let file = relay.data().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let file = write("one.eml", &message("one"));
    let list = write("gone.csv", b"mallory@e.test\n");
    let meant = [("ID", &*id), ("FILE", &*file), ("LIST", &*list)];
    let mut left = commands(&relay);
    for words in CALLS {
        let mut words = call(words, &meant);
        let name = |count| words[..count].join(" ");
        left.remove(&name(2.min(words.len())));
        left.remove(&name(1));
        words.push("--json".to_owned());
        let (code, text) = run(&relay, &words);
        assert!(
            matches!(code, Some(0 | 65)),
            "{words:?} ends with {code:?}: {text}"
        );
        let read = serde_json::from_str::<Value>(&text);
        assert!(read.is_ok(), "{words:?}: {read:?} in {text}");
        words.pop();
        if words[0] != "dkim" {
            let (_, text) = run(&relay, &words);
            assert!(!text.contains('\x1b'), "{words:?}: {text:?}");
        }
        if words[0] == "drain" {
            assert_eq!(relay.wait().code(), Some(0));
        }
    }
    for words in OTHERS {
        left.remove(*words);
    }
    assert!(left.is_empty(), "not called: {left:?}");
}
