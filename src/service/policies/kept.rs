//! Policies on disk: a file for each domain, `DOMAIN.json`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ENTRIES_MAX, Entry};
use crate::file;
use crate::observe::log::{Level, Log};
use crate::route::sts::{Mode, Policy};

/// A policy as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of the record under which it was fetched.
    pub id: Box<str>,
    /// What it says.
    pub policy: Arc<Policy>,
    /// When it was fetched: seconds since 1970.
    pub fetched: i64,
}

impl Kept {
    /// One that was fetched now.
    #[must_use]
    pub fn new(id: Box<str>, policy: Policy, fetched: i64) -> Self {
        Self {
            id,
            policy: Arc::new(policy),
            fetched,
        }
    }

    /// Not over yet. One from the future was kept by a clock that was wrong.
    #[must_use]
    pub fn holds(&self, now: i64) -> bool {
        // One that holds for no time still serves the mail of the moment.
        let held = self.policy.max_age.max(HOLD_MIN);
        (self.fetched..self.fetched.saturating_add(seconds(held))).contains(&now)
    }

    /// Old enough to be fetched again.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        let age = (self.policy.max_age / 2).min(REFRESH_AGE);
        now >= self.fetched.saturating_add(seconds(age))
    }

    /// The file's content.
    pub fn text(&self) -> io::Result<String> {
        let written = Written {
            id: self.id.clone(),
            fetched: self.fetched,
            mode: self.policy.mode.name().to_owned(),
            max_age: self.policy.max_age.as_secs(),
            mx: self.policy.mx.clone(),
        };
        serde_json::to_string(&written).map_err(io::Error::other)
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Written {
    id: Box<str>,
    fetched: i64,
    mode: String,
    max_age: u64,
    mx: Vec<Box<str>>,
}

/// The directory with the files.
#[derive(Clone)]
pub(super) struct Store {
    place: PathBuf,
}

impl Store {
    pub(super) const fn new(place: PathBuf) -> Self {
        Self { place }
    }

    /// What is there. What cannot be read is as if it were not: it is fetched again.
    pub(super) async fn load(&self) -> HashMap<Box<str>, Entry> {
        let place = self.place.clone();
        let loading = tokio::task::spawn_blocking(move || load(&place));
        loading.await.unwrap_or_default()
    }

    /// Keeps a policy, beside the thread that asks for it.
    pub(super) fn save(&self, domain: &str, kept: Kept, log: Log) {
        let Some(path) = self.path(domain) else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&path, &kept) {
                let place = path.display();
                log.say(
                    Level::Warn,
                    format_args!("{place}: the policy is forgotten at the next start: {error}"),
                );
            }
        });
    }

    pub(super) fn remove(&self, domain: &str) {
        if let Some(path) = self.path(domain) {
            // What cannot be removed is over anyway, or is fetched again.
            tokio::task::spawn_blocking(move || drop(fs::remove_file(path)));
        }
    }

    /// `None` where the name cannot be that of a file.
    fn path(&self, domain: &str) -> Option<PathBuf> {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        let fits = domain.len() <= NAME_OCTETS_MAX && !domain.starts_with('.');
        let fits = fits && domain.bytes().all(is_plain);
        fits.then(|| self.place.join(format!("{domain}{ENDING}")))
    }
}

fn load(place: &Path) -> HashMap<Box<str>, Entry> {
    let mut entries = HashMap::new();
    for file in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = file.file_name();
        let domain = name.to_str().and_then(|name| name.strip_suffix(ENDING));
        if entries.len() >= ENTRIES_MAX {
            break;
        }
        if let (Some(domain), Some(kept)) = (domain, open(&file.path())) {
            let entry = Entry {
                kept: Some(kept),
                failed: None,
            };
            entries.insert(domain.into(), entry);
        }
    }
    entries
}

fn open(path: &Path) -> Option<Kept> {
    let mut text = String::new();
    let file = file::open(path).ok()?;
    file.take(FILE_OCTETS_MAX).read_to_string(&mut text).ok()?;
    read(&text)
}

/// Reads a file's content.
#[must_use]
pub fn read(text: &str) -> Option<Kept> {
    let written: Written = serde_json::from_str(text).ok()?;
    let policy = Policy {
        mode: Mode::parse(&written.mode)?,
        mx: written.mx,
        max_age: Duration::from_secs(written.max_age),
    };
    Some(Kept::new(written.id, policy, written.fetched))
}

/// Writes the whole file, or leaves the one that is there.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    file::replace(path, kept.text()?.as_bytes())
}

const ENDING: &str = ".json";
/// File names have 255 octets, and `.json` takes five.
const NAME_OCTETS_MAX: usize = 250;
/// A policy of 64 KiB, quoted.
const FILE_OCTETS_MAX: u64 = 256 * 1024;
/// RFC 8461 §10.2 suggests to fetch a policy again once a day.
const REFRESH_AGE: Duration = Duration::from_secs(86_400);
/// The shortest time for which a policy is used.
const HOLD_MIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        Kept::new("1".into(), Policy::parse(text).unwrap(), 1000)
    }

    const TEXT: &str = "version: STSv1\nmode: enforce\nmx: *.d.test\nmax_age: 600\n";

    #[test]
    fn what_is_written_is_read_again_and_what_is_broken_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("mta-sts"));
        let path = store.path("d.test").unwrap();
        write(&path, &kept(TEXT)).unwrap();
        fs::write(path.with_file_name("broken.test.json"), "{\"id\":").unwrap();
        fs::write(path.with_file_name("e.test.new"), "{}").unwrap();
        let entries = load(&store.place);
        assert_eq!(entries.len(), 1, "{entries:?}");
        let read = entries["d.test"].kept.as_ref().unwrap();
        assert_eq!(*read.policy, *kept(TEXT).policy);
        assert_eq!((&*read.id, read.fetched), ("1", 1000));
        for name in [".", "../x", ".hidden", "a/b", &"a".repeat(251)] {
            assert!(store.path(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_policy_holds_from_its_fetching_to_its_age() {
        let policy = kept(TEXT);
        let holds = [999, 1000, 1599, 1600].map(|now| policy.holds(now));
        assert_eq!(holds, [false, true, true, false]);
        let due = [1299, 1300].map(|now| policy.is_due(now));
        assert_eq!(due, [false, true]);
        let short = kept(&TEXT.replace("600", "0"));
        assert_eq!([1059, 1060].map(|now| short.holds(now)), [true, false]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_kept_is_read_again_and_any_text_is_one_or_none(
            id in "[a-zA-Z0-9]{1,32}", fetched: i64, max_age in 0_u64..1 << 40, mx in "[*a-z.\u{e4}\"]{0,9}", text in "[{}\\[\\]:,\"a-z0-9]{0,40}",
        ) {
            let max_age = Duration::from_secs(max_age);
            let policy = Policy { mode: Mode::Testing, mx: vec![mx.into()], max_age };
            let kept = Kept::new(id.into(), policy, fetched);
            proptest::prop_assert_eq!(read(&kept.text().unwrap()), Some(kept.clone()));
            for now in [i64::MIN, fetched, i64::MAX] {
                let _ = (kept.holds(now), kept.is_due(now));
            }
            let _ = read(&text);
        }
    }
}
