//! The architecture as tests: who may import whom, what a core may not touch, how long things may
//! grow. They read our own source as text, so they see what a compiler lets pass.

use std::fs;
use std::path::{Path, PathBuf};

/// One file: its path from the root of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The module under `src/` it belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        inside.split(['/', '.']).next().unwrap_or_default()
    }

    /// The lines that are neither comments nor tests, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test_file = ["/tests.rs", "/tests/mod.rs", "src/tidy.rs"]
            .iter()
            .any(|name| self.path.ends_with(name));
        let text = &self.text;
        let end = if is_test_file {
            0
        } else {
            // `mod tests;` near the top ends nothing: the code stands behind it.
            let tests = text.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
                let declared = text[*at..].lines().nth(1).unwrap_or_default();
                declared.ends_with('{')
            });
            tests.map_or(text.len(), |(at, _)| at)
        };
        let lines = text[..end].lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file below `folder` whose name ends in `ending`.
fn sources(folder: &str, ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut |path| {
        if path.to_string_lossy().ends_with(ending)
            && let Ok(text) = fs::read_to_string(path)
        {
            let path = path
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            found.push(Source { path, text });
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(path: &Path, seen: &mut impl FnMut(&Path)) {
    if path.is_file() {
        seen(path);
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        walk(&entry.path(), seen);
    }
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// `crate::NAME` in a line, each NAME.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    line.match_indices("crate::").map(move |(at, word)| {
        let rest = &line[at + word.len()..];
        rest.split(ends).next().unwrap_or_default()
    })
}

#[test]
fn code_ends_where_tests_begin_and_not_where_they_are_declared() {
    let lines = |text: &str| {
        let path = "src/wire/a.rs".to_owned();
        let text = text.to_owned();
        let source = Source { path, text };
        source.code().map(|(at, _)| at).collect::<Vec<_>>()
    };
    let declared = "#[cfg(test)]\nmod tests;\n";
    let inside = "use a;\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(lines(&format!("{declared}{inside}")), [1, 2, 3]);
    assert_eq!(lines("// a\nuse a;\n"), [2]);
}

#[test]
fn modules_import_only_those_above_them() {
    let map = fs::read_to_string(root().join("src/lib.rs")).expect("the map of modules");
    let order: Vec<&str> = map
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let place = |name: &str| order.iter().position(|known| *known == name);
    let mut faults = Vec::new();
    for source in sources("src", ".rs") {
        let Some(own) = place(source.module()) else {
            continue;
        };
        for (at, line) in source.code() {
            for name in imports(line) {
                let stranger = STRANGERS
                    .iter()
                    .any(|group| group.contains(&source.module()) && group.contains(&name));
                let other = name != source.module();
                if other && (stranger || place(name).is_some_and(|theirs| theirs > own)) {
                    faults.push(format!(
                        "{}:{at}: {} may not know {name}",
                        source.path,
                        source.module()
                    ));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn cores_do_no_io_and_read_no_clock() {
    let mut faults = Vec::new();
    for source in sources("src", ".rs") {
        if !CORES.contains(&source.module()) && !CORE_FILES.contains(&&*source.path) {
            continue;
        }
        for (at, line) in source.code() {
            for word in FORBIDDEN_IN_CORES
                .iter()
                .filter(|word| line.contains(**word))
            {
                faults.push(format!(
                    "{}:{at}: `{word}` has no place in a core",
                    source.path
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn drivers_see_the_world_through_its_seam() {
    let mut faults = Vec::new();
    for source in sources("src", ".rs") {
        if !["shard", "spool", "mailbox"].contains(&source.module()) {
            continue;
        }
        for (at, line) in source.code() {
            for word in FORBIDDEN_IN_DRIVERS
                .iter()
                .filter(|word| line.contains(**word))
            {
                faults.push(format!(
                    "{}:{at}: `{word}` goes past World, where sim cannot follow",
                    source.path
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn glommio_stays_in_uring() {
    let mut faults = Vec::new();
    for source in sources("src", ".rs")
        .iter()
        .filter(|source| source.module() != "uring")
    {
        for (at, _) in source.code().filter(|(_, line)| line.contains("glommio::")) {
            faults.push(format!("{}:{at}: glommio is called in src/uring only, so that leaving it is a change there", source.path));
        }
    }
    assert_none(&faults);
}

#[test]
fn unsafe_code_stays_in_uring_and_says_why() {
    let mut faults = Vec::new();
    for source in sources("src", ".rs") {
        for (at, _) in source
            .code()
            .filter(|(_, line)| line.contains("unsafe {") || line.contains("unsafe fn"))
        {
            let before: Vec<&str> = source.text.lines().take(at).collect();
            let reasoned = before
                .iter()
                .rev()
                .take(6)
                .any(|line| line.contains("// SAFETY:"));
            if source.module() != "uring" || !reasoned {
                faults.push(format!(
                    "{}:{at}: unsafe belongs in src/uring, under a `// SAFETY:` line",
                    source.path
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn unsafe_blocks_are_counted() {
    let sources = sources("src", ".rs");
    let count = |path: &str| {
        let of = sources.iter().filter(|source| source.path == path);
        let lines = of.flat_map(|source| source.code());
        lines.filter(|(_, line)| line.contains("unsafe {")).count()
    };
    for (path, blocks, why) in UNSAFE {
        assert_eq!(count(path), blocks, "{path}, where {why}");
    }
    let known = UNSAFE.iter().map(|(_, blocks, _)| blocks).sum::<usize>();
    let all: usize = sources.iter().map(|source| count(&source.path)).sum();
    assert_eq!(all, known, "a new unsafe block: say in UNSAFE what for");
}

#[test]
fn the_compiler_sees_that_cores_are_safe() {
    let mods = CORES.map(|core| format!("src/{core}/mod.rs"));
    let files = CORE_FILES.iter().map(|file| (*file).to_owned());
    let mut faults = Vec::new();
    for path in mods.into_iter().chain(files) {
        let text = fs::read_to_string(root().join(&path)).expect("a core");
        if !text.contains("\n#![forbid(unsafe_code)]\n") {
            faults.push(format!("{path}: no #![forbid(unsafe_code)]"));
        }
    }
    assert_none(&faults);
}

#[test]
fn only_the_spool_can_prove_that_a_message_is_safe() {
    let mut faults = Vec::new();
    for source in sources("src", ".rs")
        .iter()
        .filter(|source| source.module() != "spool")
    {
        for (at, _) in source
            .code()
            .filter(|(_, line)| line.contains("Committed for "))
        {
            faults.push(format!(
                "{}:{at}: only spool::Receipt is a proof",
                source.path
            ));
        }
    }
    assert_none(&faults);
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder, ".rs") {
            let lines = source.text.lines().count();
            if lines > FILE_LINES_MAX {
                faults.push(format!(
                    "{}: {lines} lines; which second thing lives in it?",
                    source.path
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn functions_stay_short_enough_to_read() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder, ".rs") {
            for (name, at, lines) in functions(&source.text) {
                if lines > FUNCTION_LINES_MAX {
                    faults.push(format!("{}:{at}: {name} has {lines} lines", source.path));
                }
            }
        }
    }
    assert_none(&faults);
}

/// Name, first line and length of every function. rustfmt puts the closing brace under the `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line
            .split([' ', '(', '<'])
            .filter(|word| !word.is_empty())
            .collect();
        let Some(place) = words.iter().position(|word| *word == "fn") else {
            continue;
        };
        let is_item = words[..place].iter().all(|word| ITEM_WORDS.contains(word))
            && !line.trim_end().ends_with(';');
        if !is_item || line.trim_end().ends_with('}') {
            continue;
        }
        let depth = indent(line);
        let is_end = |other: &&str| {
            indent(other) == depth && (other.trim_start().starts_with('}') || other.ends_with(';'))
        };
        // One that ends with a semicolon is a trait's, without a body.
        let end = lines[at + 1..].iter().position(is_end);
        let end = end.filter(|end| !lines[at + 1 + end].ends_with(';'));
        if let (Some(end), Some(name)) = (end, words.get(place + 1)) {
            found.push(((*name).to_owned(), at + 1, end + 2));
        }
    }
    found
}

#[test]
fn function_lengths_are_counted_from_fn_to_brace() {
    let text = "impl A {\n    pub async fn long(\n        x: u8,\n    ) {\n        x;\n    }\n\n    fn one() {}\n}\n";
    let own = |name: &str, at, lines| (name.to_owned(), at, lines);
    assert_eq!(functions(text), [own("long", 2, 5)]);
    let text = "trait A {\n    fn bare(\n        x: u8,\n    ) -> u8;\n    fn full() {\n        b();\n    }\n}\n";
    assert_eq!(functions(text), [own("full", 5, 3)]);
    assert_eq!(functions("fn a() {\n    b();\n}\n"), [own("a", 1, 3)]);
}

#[test]
fn every_dependency_says_why_it_is_here() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut faults = Vec::new();
    let (mut inside, mut before) = (false, "");
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        }
        let dependency = inside && line.starts_with(|c: char| c.is_ascii_lowercase());
        if dependency && !before.starts_with("# ") && !line.contains(" # ") {
            faults.push(format!("Cargo.toml: no reason beside `{line}`"));
        }
        before = line;
    }
    assert_none(&faults);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let mut faults = Vec::new();
    let homes = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    for folder in [
        "src",
        "tests",
        "benches",
        "scripts",
        "tuning",
        ".ci",
        "README.md",
        "CHANGELOG.md",
        "Cargo.toml",
    ] {
        for source in sources(folder, "") {
            for (at, line) in source.text.lines().enumerate() {
                if homes.iter().any(|home| line.contains(home.as_str())) {
                    faults.push(format!("{}:{}: a path of one machine", source.path, at + 1));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_manual_and_the_readme_name_files_that_exist() {
    let mut faults = Vec::new();
    let mut texts = sources("src/manual", ".rs");
    texts.extend(sources("README.md", ".md"));
    for source in texts {
        for word in source
            .text
            .split(|c: char| c.is_whitespace() || "`()|,;".contains(c))
        {
            let named = ["src/", "tests/", "scripts/", "benches/", "tuning/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            let word = word.trim_end_matches(['.', ':', '/']);
            if named && !word.contains(['*', '{', '<']) && !root().join(word).exists() {
                faults.push(format!("{}: there is no {word}", source.path));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_manual_and_the_readme_name_modules_that_exist() {
    let mut texts = sources("src/manual", ".rs");
    texts.extend(sources("README.md", ".md"));
    let mut faults = Vec::new();
    for source in &texts {
        // Every second piece stands between backticks.
        for word in source.text.split('`').skip(1).step_by(2) {
            let is_module = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let mut steps = word.split("::").filter(|step| !step.is_empty());
            // rustdoc knows whether a link of its own leads anywhere.
            let plain = word.contains("::")
                && !word.starts_with("super::")
                && steps.all(|step| step.chars().all(is_module));
            let path = format!("src/{}", word.replace("::", "/"));
            let exists = [".rs", "/mod.rs"]
                .iter()
                .any(|end| root().join(format!("{path}{end}")).exists());
            if plain && !exists {
                faults.push(format!("{}: there is no module {word}", source.path));
            }
        }
    }
    assert_none(&faults);
}

/// Modules that see nothing but arguments.
const CORES: [&str; 8] = [
    "wire", "mail", "bounces", "imap", "pop3", "smtp", "queue", "route",
];

/// The same, in rooms that otherwise drive.
const CORE_FILES: [&str; 8] = [
    "src/spool/record.rs",
    "src/spool/sums.rs",
    "src/mailbox/flags.rs",
    "src/mailbox/name.rs",
    "src/mailbox/record.rs",
    "src/mailbox/index.rs",
    "src/mailbox/text.rs",
    "src/turns.rs",
];

/// Every unsafe block there is: the file, how many, and what they rest on (each says it under `// SAFETY:` too).
const UNSAFE: [(&str, usize, &str); 4] = [
    (
        "src/uring/disk.rs",
        1,
        "a descriptor is lent while its file is open",
    ),
    (
        "src/uring/given.rs",
        1,
        "the service manager has opened a descriptor for this process",
    ),
    (
        "src/uring/load.rs",
        2,
        "the kernel fills a struct of integers",
    ),
    (
        "src/uring/slice.rs",
        3,
        "the kernel reads and fills a struct of integers, of the size that is said",
    ),
];

/// Groups whose members never import each other, whatever their order.
const STRANGERS: [&[&str]; 2] = [
    &["smtp", "imap", "pop3", "queue", "route", "spool", "mailbox"],
    &["uring", "sim"],
];

const FORBIDDEN_IN_CORES: [&str; 12] = [
    "glommio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "async fn",
    ".await",
    "unsafe ",
    "println!",
];

/// Drivers run in the simulator too: clock, files and sockets come from `World`.
const FORBIDDEN_IN_DRIVERS: [&str; 7] = [
    "std::fs",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
];

/// Words that may stand before `fn` in an item.
const ITEM_WORDS: [&str; 8] = [
    "pub", "async", "const", "unsafe", "extern", "crate)", "super)", "\"C\"",
];

/// A file longer than this has two subjects.
const FILE_LINES_MAX: usize = 800;

/// A function longer than this does not fit a screen. Every protocol engine has one that wants
/// to grow; ours must not.
const FUNCTION_LINES_MAX: usize = 70;
