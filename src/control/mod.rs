//! The control plane: HTTP for operators, their commands and their monitoring. Runs on the
//! service thread and knows the shards only through [`Shards`].

pub mod audit;
mod explain;
mod follow;
pub mod house;
pub mod inject;
mod latency;
mod listen;
mod metrics;
mod openapi;
mod page;
mod problem;
mod queue;
mod recent;
mod shards;
pub mod suppressions;
#[cfg(test)]
pub(crate) mod tests;
mod told;
mod trace;

use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, net};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post, put};
use futures_channel::oneshot;
use serde_json::json;

use crate::config::Config;
use crate::observe::ask::{Ask, Facts, Health, Shards, Tell};
use crate::observe::events::Sums;
use crate::suppress::Suppressions;
use audit::Audit;
use house::House;
use inject::Intake;
use inject::keys::Keys;
use listen::{Bounded, Peer};
use problem::Failure;
use recent::Watch;

/// The routes. With a token, everything but the two probes and the empty dashboard wants
/// `Authorization: Bearer TOKEN`; without one, only requests to an address or to `localhost` are
/// answered.
fn router(plane: Plane, token: Option<String>) -> Router {
    let guard = Guard {
        token: token.map(Into::into),
    };
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/latency", get(latency::latency))
        .route("/api/v1/latency/minutes", get(latency::minutes))
        .route("/api/v1/latency/windows", get(latency::windows))
        .route("/api/v1/shards", get(shards::shards))
        .route("/api/v1/explain", get(explain::explain))
        .route("/api/v1/queue", get(queue::list))
        .route("/api/v1/queue/shape", get(queue::shape))
        .route(
            "/api/v1/queue/{word}",
            get(queue::show).merge(post(queue::act)),
        )
        .route("/api/v1/queue/{id}/raw", get(queue::raw))
        .route("/api/v1/trace/{id}", get(trace::trace))
        .route("/api/v1/dialogues", get(follow::follow))
        .route("/api/v1/bounces", get(trace::bounces))
        .route(
            "/api/v1/suppressions",
            get(suppressions::list).post(suppressions::add),
        )
        .route("/api/v1/suppressions/remove", post(suppressions::remove))
        .route("/api/v1/users", get(house::users).post(house::add))
        .route("/api/v1/users/{address}", delete(house::remove))
        .route("/api/v1/users/{address}/password", put(house::set_password))
        .route("/api/v1/config/check", post(house::check))
        .route("/api/v1/reload", post(house::reload))
        .route("/api/v1/drain", post(house::drain))
        .route("/api/v1/openapi.json", get(openapi::openapi))
        .merge(inject::routes())
        .route_layer(middleware::from_fn_with_state(guard, admit))
        .merge(page::routes())
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        })
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .with_state(plane)
}

/// What the control plane works with.
pub struct Means {
    /// The way to the shards.
    pub shards: Arc<dyn Shards>,
    /// What requests must show.
    pub token: Option<String>,
    /// Where changes are recorded.
    pub audit: Option<Audit>,
    /// What became of events.
    pub events: Arc<Sums>,
    /// Where idempotency keys are kept; `None`: nowhere.
    pub data_dir: Option<PathBuf>,
    /// What the relay goes by: each reload puts another one there.
    pub config: Arc<ArcSwap<Config>>,
    /// What of the process is reached.
    pub house: House,
    /// Who gets no mail.
    pub suppressions: Suppressions,
}

/// Serves on `listener` until `shutdown` resolves and the answers under way are given. To be polled
/// on the service thread.
pub async fn serve(
    listener: TcpListener,
    means: Means,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let Means {
        shards,
        token,
        audit,
        events,
        data_dir,
        config,
        house,
        suppressions,
    } = means;
    let (watch, watching) = Watch::new(Arc::clone(&shards));
    let kept = data_dir.map(|data| Keys::open(&data));
    let keys = kept.map(|(keys, keeping)| {
        tokio::spawn(keeping);
        keys
    });
    let plane = Plane {
        intake: Intake::new(keys),
        config,
        house,
        shards,
        watch,
        audit,
        events,
        suppressions,
    };
    let router = router(plane, token).into_make_service_with_connect_info::<Peer>();
    let watching = tokio::spawn(watching);
    let served = axum::serve(Bounded::new(listener), router)
        .with_graceful_shutdown(shutdown)
        .await;
    watching.abort();
    served
}

/// Collects what shards answer by oneshot: whoever has not answered when `patience` is over is
/// missing in the result. Made for implementations of [`Shards::ask`].
pub async fn collect(
    answers: impl IntoIterator<Item = oneshot::Receiver<Tell>>,
    patience: Duration,
) -> Vec<Tell> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut told = Vec::new();
    // One after the other, but the shards work side by side: when the first uses up the time, the
    // answers that have come meanwhile are still found.
    for answer in answers {
        if let Ok(Ok(tell)) = tokio::time::timeout_at(deadline, answer).await {
            told.push(tell);
        }
    }
    told
}

/// What every handler has.
#[derive(Clone)]
struct Plane {
    shards: Arc<dyn Shards>,
    watch: Watch,
    /// The record of changes.
    audit: Option<Audit>,
    events: Arc<Sums>,
    intake: Intake,
    config: Arc<ArcSwap<Config>>,
    house: House,
    suppressions: Suppressions,
}

impl Plane {
    /// What the shards told, as far as it is an answer to the question.
    async fn gather<T>(&self, ask: Ask, answer: impl Fn(Tell) -> Option<T>) -> Vec<T> {
        let told = self.shards.ask(ask).await;
        told.into_iter().filter_map(answer).collect()
    }

    /// The facts of all shards. Sums over some of them would look like counters that went
    /// backwards, so all must answer.
    async fn facts(&self) -> Result<Vec<Facts>, Failure> {
        let facts = self.gather(Ask::Facts, |tell| match tell {
            Tell::Facts(facts) => Some(*facts),
            _ => None,
        });
        self.complete(facts.await)
    }

    /// Refuses an answer that some shard had no part in.
    fn complete<T>(&self, answers: Vec<T>) -> Result<Vec<T>, Failure> {
        let shards = self.shards.count();
        if answers.len() >= shards {
            return Ok(answers);
        }
        let missing = shards - answers.len();
        let words = format!("{missing} of {shards} shards did not answer in time");
        Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, words))
    }

    async fn health(&self) -> Vec<Health> {
        self.gather(Ask::Health, |tell| match tell {
            Tell::Health(health) => Some(health),
            _ => None,
        })
        .await
    }
}

/// Who may ask.
#[derive(Clone)]
struct Guard {
    token: Option<Arc<str>>,
}

async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let refusal = match &guard.token {
        Some(token) if bears(headers, token) => None,
        Some(_) => {
            let failure = Failure::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong");
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            Some((challenge, failure).into_response())
        }
        None if names_an_address(headers) => None,
        None => {
            let words = "ask for an address or localhost, or set control.token_file";
            Some(Failure::new(StatusCode::MISDIRECTED_REQUEST, words).into_response())
        }
    };
    match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// RFC 6750 §2.1. The comparison takes as long for a nearly right token as for a wrong one.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(BEARER.len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
        .map_or(&b""[..], |(_, given)| given.trim_ascii());
    let differs = given
        .iter()
        .zip(token.as_bytes())
        .fold(0, |differs, (given, own)| differs | (given ^ own));
    given.len() == token.len() && differs == 0
}

/// A web page that had its own name point here (DNS rebinding) asks for that name: a browser on
/// this machine must not be talked into steering the queue.
fn names_an_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
        || host.parse::<SocketAddr>().is_ok()
        || host.parse::<IpAddr>().is_ok()
        || name.parse::<net::Ipv4Addr>().is_ok()
        || (host.starts_with('[') && host.ends_with(']'))
}

async fn healthz(State(plane): State<Plane>) -> Response {
    let (answering, shards) = (plane.health().await.len(), plane.shards.count());
    let (status, word) = if answering >= shards {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "shards do not answer")
    };
    let body = json!({ "status": word, "shards": shards, "answering": answering });
    (status, Json(body)).into_response()
}

async fn readyz(State(plane): State<Plane>) -> Result<Response, Failure> {
    let health = plane.complete(plane.health().await)?;
    // One shard that takes no mail is enough: the kernel spreads connections over all of them.
    let worst = health.into_iter().find(|one| *one != Health::Ready);
    let status = match worst {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({ "status": worst.unwrap_or(Health::Ready) });
    Ok((status, Json(body)).into_response())
}

/// The scheme and its space.
const BEARER: &[u8] = b"Bearer ";

/// A selector is a few hundred octets.
const BODY_OCTETS_MAX: usize = 64 * 1024;
