//! `ringpost.toml(5)`: every key of the configuration, out of the table that reads them.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::config::{Config, Entry, Section, sections};

/// The page.
pub(super) fn page() -> String {
    let mut page = Roff::new();
    let version = concat!("ringpost ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["ringpost.toml", "5", "", version]);
    page.control("SH", ["NAME"]);
    page.text([roman(
        "ringpost.toml - configuration of the mail relay ringpost",
    )]);
    page.control("SH", ["DESCRIPTION"]);
    for words in DESCRIPTION {
        page.text([roman(words)]);
        page.control("PP", []);
    }
    let mut before = "";
    for section in sections(&Config::default()) {
        // A second listener of the default has the keys of the first.
        if section.name != before || before.is_empty() {
            describe(&mut page, &section);
        }
        before = section.name;
    }
    page.control("SH", ["FILES"]);
    for (file, what) in FILES {
        item(&mut page, vec![italic(file)]);
        page.text([roman(what)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("ringpost"),
        roman("(1), "),
        bold("ringpost-config"),
        roman("(1), "),
        bold("ringpost-check"),
        roman("(1)"),
    ]);
    page.render()
}

fn describe(page: &mut Roff, section: &Section) {
    let title = match (section.name, section.is_array) {
        ("", _) => "BEFORE THE FIRST TABLE".to_owned(),
        (name, true) => format!("[[{name}]]"),
        (name, false) => format!("[{name}]"),
    };
    page.control("SH", [title.as_str()]);
    if section.is_array {
        let words = if section.is_example {
            "There may be several, and by default there is none; the values are examples."
        } else {
            "There may be several; the values are those of the one that there is by default."
        };
        page.text([roman(words)]);
    }
    for key in &section.keys {
        describe_key(page, key);
    }
}

fn describe_key(page: &mut Roff, key: &Entry) {
    let mut head = vec![bold(key.name)];
    match &key.value {
        Some(value) => head.extend([roman(" = "), roman(value)]),
        None => head.push(roman(" (unset)")),
    }
    item(page, head);
    let restart = if key.needs_restart {
        " Changes with a restart."
    } else {
        ""
    };
    page.text([roman(format!("{}{restart}", key.doc))]);
}

/// A paragraph that hangs below its head.
fn item(page: &mut Roff, head: Vec<Inline>) {
    page.control("TP", []);
    page.text(head);
}

/// What holds for all of it.
const DESCRIPTION: [&str; 4] = [
    "The file is TOML, and every key is optional: what stands beside a key below is its default. An unknown key is an \
     error that names the nearest known one. ringpost check looks at the file and at those that it names, and ringpost \
     config prints it with every key in effect.",
    "Sizes are numbers with B, KiB, MiB or GiB; durations have us, ms, s, m, h or d behind each number.",
    "Without --config the relay reads ringpost.toml in its working directory, and without that file the defaults hold: \
     SMTP on 127.0.0.1:2525 for clients of this machine alone.",
    "SIGHUP, or ringpost reload, takes over what has changed without losing a connection, and says which keys want a \
     restart. A file with faults leaves the configuration as it was.",
];

/// Where the file is, and those beside it.
const FILES: [(&str, &str); 3] = [
    (
        "/etc/ringpost/ringpost.toml",
        "where the package and scripts/install put it",
    ),
    (
        "/var/lib/ringpost",
        "data_dir of that file: spool, mailboxes, keys and users",
    ),
    (
        "/usr/share/doc/ringpost/examples/profiles",
        "configurations for a small machine, for bulk mail and for low latency",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_table_stands_in_the_page() {
        let page = page();
        for section in sections(&Config::default()) {
            assert!(
                page.contains(&format!("[{}]", section.name)) || section.name.is_empty(),
                "[{}]",
                section.name
            );
            for key in section.keys {
                // roff's hyphens are written with a backslash.
                let name = format!("\\fB{}\\fR", key.name.replace('-', "\\-"));
                assert!(page.contains(&name), "{name} of [{}]", section.name);
            }
        }
        assert!(page.starts_with(".ie"), "{}", &page[..40]);
    }

    #[test]
    fn a_default_and_what_wants_a_restart_are_told() {
        let page = page();
        assert!(page.contains("\\fBmax_recipients\\fR = 1000"), "{page}");
        assert!(page.contains("Changes with a restart."));
        assert!(page.contains(".SH [[route]]") || page.contains(".SH \"[[route]]\""));
    }
}
