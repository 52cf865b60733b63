//! Tells one webhook, from the spool: each request until it is taken.

use std::fs;
use std::hash::Hasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Uri;
use hyper::header::CONTENT_TYPE;
use rustls::ClientConfig;
use siphasher::sip::SipHasher13;
use tokio::sync::watch;

use super::Hook;
use super::spool::{self, Cursor, Page};
use crate::file;
use crate::observe::events::Sums;
use crate::observe::log::{Level, Log};
use crate::service::now;
use crate::service::resolver::Resolver;
use crate::service::web::{Asking, HTTP, HTTPS};
use crate::world::Web;

/// One webhook's.
pub(super) struct Courier {
    pub(super) hook: Hook,
    pub(super) place: PathBuf,
    pub(super) resolver: Resolver,
    pub(super) web: Arc<ClientConfig>,
    /// The number that the next event gets.
    pub(super) head: watch::Receiver<u64>,
    /// Where one begins that has told nothing yet.
    pub(super) begins: u64,
    /// Told the clerk: the number of the first event that is needed.
    pub(super) needs: Arc<AtomicU64>,
    pub(super) sums: Arc<Sums>,
    pub(super) log: Log,
}

impl Courier {
    pub(super) async fn run(mut self) {
        let path = self.place.join(cursor_name(&self.hook.settings.url));
        let mut cursor = match file::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Cursor::at(self.begins),
        };
        keep(&path, cursor);
        loop {
            self.needs.store(cursor.next, Ordering::Relaxed);
            if *self.head.borrow_and_update() <= cursor.next && self.head.changed().await.is_err() {
                return;
            }
            let Some(page) = self.gather(cursor).await else {
                tokio::time::sleep(FIRST_WAIT).await;
                continue;
            };
            self.sums.dropped.fetch_add(page.lost, Ordering::Relaxed);
            if page.count > 0 {
                self.deliver(&page).await;
                let count = page.count as u64;
                self.sums.delivered.fetch_add(count, Ordering::Relaxed);
            }
            if cursor == page.then {
                // Somebody took files away: others follow.
                tokio::time::sleep(FIRST_WAIT).await;
            } else {
                cursor = page.then;
                keep(&path, cursor);
            }
        }
    }

    /// The next events. The first one waits for others, as long as it may.
    async fn gather(&mut self, from: Cursor) -> Option<Page> {
        let first = self.read(from).await?;
        if first.is_full || first.count == 0 {
            return Some(first);
        }
        tokio::time::sleep(self.hook.settings.batch_wait).await;
        self.read(from).await
    }

    async fn read(&mut self, from: Cursor) -> Option<Page> {
        let (place, kinds) = (self.place.clone(), self.hook.settings.events);
        let most = self.hook.settings.batch;
        let reading = tokio::task::spawn_blocking(move || spool::read(&place, from, kinds, most));
        match reading.await.map_err(io::Error::other) {
            Ok(Ok(page)) => Some(page),
            Ok(Err(error)) | Err(error) => {
                let place = self.place.display();
                self.say(Level::Warn, &format!("{place}: {error}"));
                None
            }
        }
    }

    /// Posts them until they are taken.
    async fn deliver(&mut self, page: &Page) {
        let (mut wait, mut failures) = (FIRST_WAIT, 0);
        // The same events have the same id, how often they are posted.
        let id = format!("events-{}-{}", page.then.next, page.count);
        while let Err(why) = self.post(&id, &page.body).await {
            self.sums.failures.fetch_add(1, Ordering::Relaxed);
            if failures == 0 {
                self.say(
                    Level::Warn,
                    &format!("{why}; tried again, ever more seldom"),
                );
            }
            failures += 1;
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(LAST_WAIT);
        }
        if failures > 0 {
            self.say(
                Level::Info,
                &format!("takes events again, after {failures} failures"),
            );
        }
    }

    async fn post(&mut self, id: &str, body: &[u8]) -> Result<(), String> {
        let settings = &self.hook.settings;
        let uri: Uri = settings
            .url
            .parse()
            .map_err(|_| "its url is none".to_owned())?;
        let is_plain = uri.scheme_str() == Some("http");
        let usual = if is_plain { HTTP } else { HTTPS };
        let web = Web {
            config: Arc::clone(&self.web),
            port: uri.port_u16().unwrap_or(usual),
        };
        let asking = Asking {
            resolver: &self.resolver,
            web: &web,
            host: uri.host().unwrap_or_default(),
            is_plain,
            wait: settings.timeout,
        };
        let seconds = now();
        let fields = [
            (CONTENT_TYPE.as_str(), "application/json"),
            ("webhook-id", id),
            ("webhook-timestamp", &seconds.to_string()),
            (
                "webhook-signature",
                &self.hook.secret.sign(id, seconds, body),
            ),
        ];
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let answered = asking.post(path, &fields, body.to_vec()).await;
        match answered.map_err(|fault| fault.to_string())?.status {
            200..=299 => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }

    /// The rest of the address may be a secret.
    fn say(&self, level: Level, words: &str) {
        let uri = self.hook.settings.url.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        self.log
            .say(level, format_args!("webhook at {host}: {words}"));
        self.log.flush();
    }
}

/// Forgets how far webhooks were that are no more.
pub(super) fn forget_others(place: &Path, urls: &[String]) {
    let names: Vec<String> = urls.iter().map(|url| cursor_name(url)).collect();
    let files = fs::read_dir(place).into_iter().flatten().flatten();
    for file in files {
        let name = file.file_name();
        let Some(name) = name.to_str().filter(|name| name.ends_with(ENDING)) else {
            continue;
        };
        if !names.iter().any(|own| own == name) {
            // It is forgotten at the next start then.
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Writes down how far it is. Where that fails events are told once more after a restart.
fn keep(path: &Path, cursor: Cursor) {
    let draft = path.with_extension("new");
    if let Ok(text) = serde_json::to_vec(&cursor)
        && fs::write(&draft, text).is_ok()
    {
        let _ = fs::rename(&draft, path);
    }
}

fn cursor_name(url: &str) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(url.as_bytes());
    format!("{:016x}{ENDING}", hasher.finish())
}

const ENDING: &str = ".at";
/// Until the second try.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Between two tries at the most.
const LAST_WAIT: Duration = Duration::from_mins(5);
