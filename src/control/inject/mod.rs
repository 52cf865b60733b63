//! Messages over HTTP: JSON or as they are, one or several. They are answered when they are on disk.

pub mod keys;
mod letter;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{
    ConnectInfo, DefaultBodyLimit, FromRequest as _, Query, Request, State as Shared,
};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::post;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::listen::Peer;
use super::problem::media_type;
use super::{Failure, Plane};
use crate::observe::ask::{Ask, Tell};
use crate::observe::inject::{Injected, Injection, NotTaken, Rejected};
use keys::{Begun, Keys, fingerprint};
pub(super) use letter::Letter;
use letter::{Envelope, as_it_is};

/// What taking messages needs.
#[derive(Clone)]
pub(super) struct Intake {
    keys: Option<Keys>,
    /// Octets that requests may hold while they are worked on.
    room: Arc<Semaphore>,
}

impl Intake {
    pub(super) fn new(keys: Option<Keys>) -> Self {
        Self {
            keys,
            room: Arc::new(Semaphore::new(ROOM_OCTETS)),
        }
    }
}

/// The routes. What a request may have is asked of the configuration when it comes.
pub(super) fn routes() -> Router<Plane> {
    Router::new()
        .route("/api/v1/messages", post(inject))
        .route("/api/v1/messages/batch", post(inject_batch))
        .layer(DefaultBodyLimit::max(ROOM_OCTETS))
}

/// `POST /api/v1/messages`
async fn inject(
    Shared(plane): Shared<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
) -> Result<Response, Failure> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let headers = request.headers().clone();
    let is_json = is_json(&headers)?;
    let (_room, body) = body(&plane, request).await?;
    let request = fingerprint(&[b"messages", query.as_bytes(), &body]);
    let client = peer.ip();
    once(&plane.clone(), &headers, &request, async move {
        let injection = match is_json {
            true => read::<Letter>(&body)?.compose(client, &plane.hostname())?,
            false => as_it_is(&body, envelope(&query)?, client)?,
        };
        drop(body);
        let injected = hand_over(&plane, injection).await?;
        value(StatusCode::OK, &injected)
    })
    .await
}

/// Several messages.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    #[schemars(length(min = 1, max = 1000))]
    messages: Vec<Letter>,
}

/// What became of several messages, in their order.
#[derive(Serialize, JsonSchema)]
pub(super) struct Answered {
    results: Vec<One>,
}

/// What became of one of several messages.
#[derive(Serialize, JsonSchema)]
struct One {
    /// As if it had come alone.
    status: u16,
    /// As for a message that comes alone.
    #[serde(flatten)]
    outcome: Value,
}

/// `POST /api/v1/messages/batch`
async fn inject_batch(
    Shared(plane): Shared<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
) -> Result<Response, Failure> {
    let headers = request.headers().clone();
    if !is_json(&headers)? {
        return Err(unsupported());
    }
    let (_room, body) = body(&plane, request).await?;
    let request = fingerprint(&[b"batch", &body]);
    once(&plane.clone(), &headers, &request, async move {
        let Batch { messages } = read(&body)?;
        drop(body);
        if messages.is_empty() || messages.len() > BATCH_MAX {
            let words = format!("messages: from 1 to {BATCH_MAX}");
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
        }
        // Side by side, so that they share commits.
        let each = stream::iter(messages).map(|message| one_of_many(&plane, message, peer.ip()));
        let results: Vec<One> = each.buffered(SIDE_BY_SIDE).collect().await;
        value(StatusCode::OK, &Answered { results })
    })
    .await
}

async fn one_of_many(plane: &Plane, letter: Letter, client: IpAddr) -> One {
    let taken = async {
        let injection = letter.compose(client, &plane.hostname())?;
        let injected = hand_over(plane, injection).await?;
        value(StatusCode::OK, &injected)
    };
    match taken.await {
        Ok((status, outcome)) => One { status, outcome },
        Err(failure) => One {
            status: failure.status.as_u16(),
            outcome: failure.problem(),
        },
    }
}

/// Carries a request out, under its key where it has one: to its end, also when nobody waits for the
/// answer any more.
async fn once(
    plane: &Plane,
    headers: &HeaderMap,
    request: &str,
    work: impl Future<Output = Result<(u16, Value), Failure>> + Send + 'static,
) -> Result<Response, Failure> {
    let key = key(headers)?;
    let keys = plane.intake.keys.clone().zip(key);
    if let Some((keys, key)) = &keys {
        let begun = keys.begin(key, request).await.ok_or_else(no_keys)?;
        match begun {
            Begun::New => {}
            Begun::Before(status, answer) => return Ok(respond(status, answer, true)),
            Begun::UnderWay => {
                let words = "the request with this Idempotency-Key is under way";
                return Err(Failure::new(StatusCode::CONFLICT, words));
            }
            Begun::Other => {
                let words = "this Idempotency-Key was given with another request";
                return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
            }
        }
    }
    let working = tokio::spawn(async move {
        // A key whose request panicked is free again: it would be under way for ever.
        let done = AssertUnwindSafe(work).catch_unwind().await;
        let done = done.unwrap_or_else(|_| {
            let words = "a defect ended the request; the log says which";
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, words))
        });
        if let Some((keys, key)) = keys {
            let answer = done.as_ref().ok().cloned();
            // The messages are on disk: that their key is not is no reason to say otherwise.
            let _ = keys.end(&key, answer).await;
        }
        done
    });
    let done = working.await.map_err(|_| {
        let words = "the relay ends";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, words)
    });
    let (status, answer) = done??;
    Ok(respond(status, answer, false))
}

fn respond(status: u16, answer: Value, is_repeated: bool) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = (status, Json(answer)).into_response();
    if is_repeated {
        let told = header::HeaderValue::from_static("true");
        response.headers_mut().insert(REPEATED, told);
    }
    response
}

/// Has a shard take it.
async fn hand_over(plane: &Plane, injection: Injection) -> Result<Injected, Failure> {
    let told = plane.shards.ask_one(Ask::Inject(Arc::new(injection))).await;
    match told {
        Some(Tell::Injected(Ok(injected))) => Ok(injected),
        Some(Tell::Injected(Err(NotTaken::Refused(why)))) => Err(refused(&why)),
        Some(Tell::Injected(Err(NotTaken::Nobody(rejected)))) => Err(nobody(&rejected)),
        _ => {
            let words = "the shard did not answer in time: the message may have been taken";
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, words))
        }
    }
}

fn refused(why: &Rejected) -> Failure {
    let status = match why.code {
        400..500 => StatusCode::SERVICE_UNAVAILABLE,
        552 => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let words = format!("{} {} {}", why.code, why.status, why.reason);
    Failure::new(status, words)
}

fn nobody(rejected: &[Rejected]) -> Failure {
    let later = rejected.iter().all(|one| one.code < 500);
    let status = match later {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let words = "no recipient is accepted";
    Failure::new(status, words).with("rejected", json!(rejected))
}

fn value(status: StatusCode, of: &impl Serialize) -> Result<(u16, Value), Failure> {
    let value = serde_json::to_value(of);
    let value = value
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok((status.as_u16(), value))
}

/// Whether the body is JSON, or else a message as it is.
fn is_json(headers: &HeaderMap) -> Result<bool, Failure> {
    let kind = media_type(headers);
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(true)
    } else if kind.eq_ignore_ascii_case("message/rfc822") {
        Ok(false)
    } else {
        Err(unsupported())
    }
}

fn unsupported() -> Failure {
    let words = "a message is application/json, or message/rfc822 where it comes alone";
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words)
}

impl Plane {
    fn hostname(&self) -> String {
        self.config.load().hostname()
    }

    /// Octets that a request may have: a message with attachments in base64 is larger than what it becomes.
    fn request_octets_max(&self) -> u64 {
        let message = self.config.load().smtp.max_message_size;
        (message.saturating_mul(3) / 2 + JSON_OCTETS).min(ROOM_OCTETS as u64)
    }
}

/// Memory for a request. Of many large ones at once some have to come again.
fn room(plane: &Plane, headers: &HeaderMap) -> Result<impl Sized + use<>, Failure> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length =
        length.ok_or_else(|| Failure::new(StatusCode::LENGTH_REQUIRED, "say Content-Length"))?;
    let most = plane.request_octets_max();
    if length > most {
        let words =
            format!("a request has {most} octets at most: see max_message_size under [smtp]");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, words));
    }
    let octets = u32::try_from(length).unwrap_or(u32::MAX);
    let room = Arc::clone(&plane.intake.room).try_acquire_many_owned(octets);
    room.map_err(|_| {
        let words = "too many large requests at once: try again in a moment";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, words)
    })
}

/// What a request says, and the memory that it may have.
async fn body(plane: &Plane, request: Request) -> Result<(impl Sized + use<>, Bytes), Failure> {
    let room = match room(plane, request.headers()) {
        Ok(room) => room,
        Err(failure) => {
            hear_out(request).await;
            return Err(failure);
        }
    };
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection: BytesRejection| {
        Failure::new(rejection.status(), rejection.body_text())
    })?;
    Ok((room, body))
}

/// Reads what a client goes on to say that gets no hearing, and drops it. A connection that is closed
/// with octets unread is reset, and whoever still writes then never reads why.
async fn hear_out(request: Request) {
    let mut heard = 0;
    let mut rest = request.into_body().into_data_stream();
    let all = async {
        while let Some(Ok(octets)) = rest.next().await
            && heard < HEARD_OCTETS_MAX
        {
            heard += octets.len();
        }
    };
    // Whoever is slower than that, or has more to say, may find out otherwise.
    let _ = tokio::time::timeout(HEARD_WAIT, all).await;
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    let Json(value) =
        Json::from_bytes(body).map_err(|rejection: JsonRejection| Failure::from(rejection))?;
    Ok(value)
}

/// `?from=a@c.test&to=b@d.test&to=...`
fn envelope(query: &str) -> Result<Envelope, Failure> {
    let uri = axum::http::Uri::builder()
        .path_and_query(format!("/?{query}"))
        .build();
    let bad = |words: String| Failure::new(StatusCode::BAD_REQUEST, words);
    let uri = uri.map_err(|error| bad(error.to_string()))?;
    let pairs: Result<Query<Vec<(String, String)>>, QueryRejection> = Query::try_from_uri(&uri);
    let Query(pairs) = pairs?;
    let mut envelope = Envelope::default();
    for (name, value) in pairs {
        match &*name {
            "from" => envelope.from = Some(value),
            "to" => envelope.to.push(value),
            other => {
                return Err(bad(format!(
                    "there is no parameter {other}: from, and to as often as needed"
                )));
            }
        }
    }
    Ok(envelope)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    let is_plain = key.bytes().all(|octet| octet.is_ascii_graphic());
    if key.is_empty() || key.len() > KEY_OCTETS_MAX || !is_plain {
        let words =
            format!("Idempotency-Key: 1 to {KEY_OCTETS_MAX} printable characters, no blanks");
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    }
    Ok(Some(key.to_owned()))
}

fn no_keys() -> Failure {
    let words = "idempotency keys cannot be kept now";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, words)
}

/// Says that an answer was given before.
const REPEATED: &str = "idempotency-replayed";
/// What requests with messages hold together, on their way through.
const ROOM_OCTETS: usize = 256 * 1024 * 1024;
/// What of a request is read that gets no hearing, and for how long.
const HEARD_OCTETS_MAX: usize = 256 * 1024 * 1024;
const HEARD_WAIT: Duration = Duration::from_secs(5);
/// What JSON has around a message.
const JSON_OCTETS: u64 = 64 * 1024;
/// Messages in one request.
const BATCH_MAX: usize = 1_000;
/// Of them, those that are on their way to the disk at the same time.
const SIDE_BY_SIDE: usize = 64;
const KEY_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests;
