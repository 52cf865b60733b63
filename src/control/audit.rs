//! The record of changes: who ordered what, when, why, and what came of it. Lines of JSON that are
//! only ever added to, in files that roll.
//!
//! An order stands in it before it is carried out, so that nothing is done without a trace, and
//! once more when its outcome is known.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::observe::ask::{Act, Selector, USER_HEADER};
use crate::observe::log::{Level, Log};
use crate::rolling::{Bound, Rolling};

/// The way to the record. Cloning shares it.
#[derive(Clone)]
pub struct Audit {
    lines: mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>,
}

/// Who gives an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct By {
    /// Where the request came from.
    pub(super) peer: SocketAddr,
    /// It showed the token.
    pub(super) token: bool,
    /// Who the client says is sitting before it. Whoever may give orders may say anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}

impl Deed {
    /// Something that is about to be done.
    pub(super) fn new(act: &'static str, address: Option<&str>, by: By) -> Self {
        Self {
            change: next_change(),
            act,
            address: address.map(str::to_owned),
            addresses: None,
            by,
        }
    }

    /// The same, to addresses.
    pub(super) fn about_many(act: &'static str, addresses: &[String], by: By) -> Self {
        let first = addresses.first().map(|address| &**address);
        Self {
            addresses: Some(addresses.len()),
            ..Self::new(act, first, by)
        }
    }

    /// The same, to a user.
    pub(super) fn about(act: &'static str, address: &str, by: By) -> Self {
        Self::new(act, Some(address), by)
    }
}

impl By {
    /// Who sends a request.
    pub(super) fn of(peer: SocketAddr, headers: &HeaderMap) -> Self {
        let says = headers.get(USER_HEADER);
        let says = says.and_then(|value| value.to_str().ok());
        Self {
            peer,
            token: headers.contains_key(header::AUTHORIZATION),
            user: says.map(|name| name.chars().take(USER_CHARS_MAX).collect()),
        }
    }
}

/// An order, as the record has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// Names the order: microseconds since 1970, never twice the same.
    pub(super) change: i64,
    pub(super) act: Act,
    /// A removal that cannot be undone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) for_good: bool,
    /// Where it redirects to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) into: Option<String>,
    pub(super) selector: Selector,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) by: By,
}

/// What is done to the relay itself, as the record has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Deed {
    /// As of an order.
    pub(super) change: i64,
    pub(super) act: &'static str,
    /// Whom it is about, or the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    /// How many it is about, where that may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) addresses: Option<usize>,
    pub(super) by: By,
}

/// A line: an order, or with an outcome or an error its end.
#[derive(Serialize)]
struct Line<'a, C, O> {
    at: String,
    #[serde(flatten)]
    change: &'a C,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a O>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A name for an order: the time, or a microsecond after the last one.
pub(super) fn next_change() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = Timestamp::now().as_microsecond();
    let following = |last: i64| now.max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(following(last))
    });
    following(last.unwrap_or_else(|last| last))
}

impl Audit {
    /// Opens the record, and the task that writes it; to be polled on the service thread.
    pub fn open(
        path: &Path,
        bound: Bound,
        log: Log,
    ) -> io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let rolling = Rolling::open(path, bound)?;
        let (lines, coming) = mpsc::channel(LINES_WAITING_MAX);
        Ok((Self { lines }, write(rolling, coming, log)))
    }

    /// An order is about to be carried out.
    pub(super) async fn begin(&self, change: &impl Serialize) {
        self.put::<_, ()>(change, None, None).await;
    }

    /// What came of it.
    pub(super) async fn end(
        &self,
        change: &impl Serialize,
        outcome: Result<&impl Serialize, &str>,
    ) {
        self.put(change, outcome.ok(), outcome.err()).await;
    }

    /// Returns when the line is on stable storage. That it is not is told in the log: an operator on
    /// a full disk must be able to remove mail.
    async fn put<C: Serialize, O: Serialize>(
        &self,
        change: &C,
        outcome: Option<&O>,
        error: Option<&str>,
    ) {
        let line = Line {
            at: Timestamp::now().to_string(),
            change,
            outcome,
            error,
        };
        // Plain data can be written.
        let octets = serde_json::to_vec(&line).unwrap_or_default();
        let (tell, told) = oneshot::channel();
        if self.lines.send((octets, tell)).await.is_ok() {
            let _ = told.await;
        }
    }
}

async fn write(
    mut rolling: Rolling,
    mut coming: mpsc::Receiver<(Vec<u8>, oneshot::Sender<()>)>,
    log: Log,
) {
    while let Some((line, tell)) = coming.recv().await {
        // The disk may take its time; names are looked up on this thread.
        let written = tokio::task::spawn_blocking(move || {
            let written = rolling.append(&line).and_then(|()| rolling.sync());
            (rolling, written)
        });
        let Ok((same, written)) = written.await else {
            return;
        };
        rolling = same;
        if let Err(error) = written {
            let words = format_args!("the record of changes cannot be written: {error}");
            log.say(Level::Error, words);
            log.flush();
        }
        let _ = tell.send(());
    }
}

/// A name.
const USER_CHARS_MAX: usize = 100;

/// The record's name in the data directory.
pub const FILE: &str = "audit.jsonl";

/// Orders that wait for the disk; more wait with their connections.
const LINES_WAITING_MAX: usize = 64;
