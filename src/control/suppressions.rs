//! Who gets no mail: looked at, added to, taken from.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Json;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::{By, Deed};
use super::listen::Peer;
use super::{Failure, Plane};
use crate::suppress::{Entry, Page, Trouble};
use crate::time::Wall;
use crate::wire::path::Mailbox;

/// Which of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// This one.
    address: Option<String>,
    /// Those that are there for this reason.
    why: Option<String>,
    /// What the page before said under `next`.
    after: Option<u64>,
    /// So many at most.
    limit: Option<usize>,
}

/// Addresses to be put on the list, or taken off it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Addresses {
    /// The addresses.
    pub addresses: Vec<String>,
    /// Why, of those that are added: a word; `manual` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// For how many seconds; without a number for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SuppressionsChanged")]
pub struct Changed {
    /// Addresses added, or taken off the list.
    pub addresses: usize,
}

/// `GET /api/v1/suppressions`: the oldest first.
pub(super) async fn list(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page>, Failure> {
    let Query(wanted) = wanted?;
    let suppressions = &plane.suppressions;
    if let Some(address) = wanted.address {
        let found = suppressions.find(address, now()).await?;
        let entries: Vec<Entry> = found.into_iter().collect();
        return Ok(Json(Page {
            total: entries.len(),
            entries,
            next: None,
        }));
    }
    let limit = wanted.limit.unwrap_or(PAGE_USUAL).clamp(1, PAGE_MAX);
    let after = wanted.after.unwrap_or_default();
    Ok(Json(
        suppressions.page(after, limit, wanted.why, now()).await?,
    ))
}

/// `POST /api/v1/suppressions`
pub(super) async fn add(
    State(plane): State<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Json<Addresses>, JsonRejection>,
) -> Result<Json<Changed>, Failure> {
    let Json(body) = body?;
    let addresses = judge(&body)?;
    let why = body.why.unwrap_or_else(|| MANUAL.to_owned());
    let is_word = |octet: u8| octet.is_ascii_lowercase() || octet == b'_';
    if why.is_empty() || why.len() > WHY_OCTETS_MAX || !why.bytes().all(is_word) {
        let words = format!("why: a word of small letters, {WHY_OCTETS_MAX} at most");
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    }
    let deed = Deed::about_many("suppress", &addresses, By::of(peer, &headers));
    let at = now().seconds();
    let entries = addresses.into_iter().map(|address| Entry {
        address,
        why: why.clone(),
        at,
        until: body.seconds.map(|seconds| at + i64::from(seconds)),
        text: body.text.clone(),
    });
    let entries = entries.collect();
    let list = plane.suppressions.clone();
    let addresses = recorded(plane, deed, async move { list.add(entries).await }).await?;
    Ok(Json(Changed { addresses }))
}

/// `POST /api/v1/suppressions/remove`
pub(super) async fn remove(
    State(plane): State<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Json<Addresses>, JsonRejection>,
) -> Result<Json<Changed>, Failure> {
    let Json(body) = body?;
    let addresses = judge(&body)?;
    let deed = Deed::about_many("unsuppress", &addresses, By::of(peer, &headers));
    let list = plane.suppressions.clone();
    let removing = async move { list.remove(addresses, now()).await };
    let addresses = recorded(plane, deed, removing).await?;
    Ok(Json(Changed { addresses }))
}

/// Carries out a change, which is written down before and behind, also when nobody waits for the answer
/// any more.
async fn recorded(
    plane: Plane,
    deed: Deed,
    change: impl Future<Output = Result<usize, Trouble>> + Send + 'static,
) -> Result<usize, Failure> {
    let done = tokio::spawn(async move {
        if let Some(audit) = &plane.audit {
            audit.begin(&deed).await;
        }
        let done = change.await.map_err(Failure::from);
        if let Some(audit) = &plane.audit {
            let outcome = done.as_ref().map_err(|failure| &*failure.words);
            audit.end(&deed, outcome).await;
        }
        done
    });
    let interrupted = |_| {
        let words = "a defect interrupted it: see the log";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, words)
    };
    done.await.map_err(interrupted).flatten()
}

/// The addresses as mail has them.
fn judge(body: &Addresses) -> Result<Vec<String>, Failure> {
    let refuse = |words: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words);
    if body.addresses.is_empty() {
        return Err(refuse("say which addresses".to_owned()));
    }
    let addresses = body.addresses.iter().map(|address| {
        let bare = address.trim().trim_start_matches('<').trim_end_matches('>');
        let mailbox = Mailbox::parse(bare.as_bytes(), true);
        let mailbox = mailbox.map_err(|_| refuse(format!("{address} is no address")))?;
        Ok(mailbox.as_str().to_owned())
    });
    addresses.collect()
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the suppression list is busy: try again",
            ),
            Trouble::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the suppression list is full: [suppression] max",
            ),
            Trouble::Disk(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, why),
        }
    }
}

fn now() -> Wall {
    Wall(Timestamp::now().as_microsecond())
}

/// Why an operator's entries are there.
const MANUAL: &str = "manual";
const WHY_OCTETS_MAX: usize = 32;
const PAGE_USUAL: usize = 1_000;
/// A page is read from the disk while others wait for their changes.
const PAGE_MAX: usize = 10_000;
