//! Dialogues while they happen, for `ringpost trace --destination` and `--client`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_channel::mpsc::{self, Receiver};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{Failure, Plane};
use crate::observe::ask::{Ask, Tell};
use crate::observe::follow::{Follow, Spoken, Whom};

/// Whose dialogues, and for how long.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    destination: Option<String>,
    client: Option<String>,
    seconds: Option<u64>,
}

/// `GET /api/v1/dialogues`: lines of JSON, of the connections that begin from now on. An empty line
/// says that nothing was said for a while.
pub(super) async fn follow(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(wanted) = wanted?;
    let seconds = wanted.seconds.unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
    let whom = whom(wanted)?;
    let (lines, heard) = mpsc::channel(LINES_WAITING_MAX);
    let told = plane.gather(Ask::Follow(Follow { whom, lines }), |tell| match tell {
        Tell::Following(follows) => Some(follows),
        _ => None,
    });
    if plane.complete(told.await)?.contains(&false) {
        let words = "others follow dialogues already: there are enough";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, words));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let lines = stream::unfold(heard, move |heard| next(heard, end));
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, body).into_response())
}

fn whom(wanted: Wanted) -> Result<Whom, Failure> {
    let refuse = |words: &str| Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    match (wanted.destination, wanted.client) {
        (Some(destination), None) => Ok(Whom::Destination(destination)),
        (None, Some(client)) => {
            let address = client.parse().map(|address: IpAddr| address.into());
            match client.parse().or(address) {
                Ok(network) => Ok(Whom::Client(network)),
                Err(_) => refuse("a client is an address or a network: 192.0.2.1, 192.0.2.0/24"),
            }
        }
        _ => refuse("say whose dialogues: destination or client"),
    }
}

/// The next line, or an empty one after a while; none at the end.
async fn next(mut heard: Receiver<Spoken>, end: Instant) -> Option<(Vec<u8>, Receiver<Spoken>)> {
    let until = end.min(Instant::now() + SILENCE);
    let mut line = match timeout_at(until, heard.next()).await {
        // Plain data can be written.
        Ok(Some(spoken)) => serde_json::to_vec(&spoken).unwrap_or_default(),
        Ok(None) => return None,
        Err(_) if Instant::now() >= end => return None,
        Err(_) => Vec::new(),
    };
    line.push(b'\n');
    Some((line, heard))
}

/// Lines that wait for whoever follows; what comes beyond is counted and lost.
const LINES_WAITING_MAX: usize = 1024;
/// Nobody follows for ever: whoever has forgotten it costs connections their time.
const SECONDS_MAX: u64 = 24 * 3600;
/// Longer silence would look like a lost connection.
const SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::Running;

    #[test]
    fn operator_follows_dialogues() {
        let plane = Running::start(None);
        let (status, text) = plane.get("/api/v1/dialogues?destination=d.test&seconds=1");
        assert_eq!(status, 200);
        let lines: Vec<Spoken> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2, "one of each shard: {text}");
        let (status, text) = plane.get("/api/v1/dialogues?client=192.0.2.7&seconds=0");
        assert_eq!(status, 200, "{text}");
        for (query, status) in [
            ("", 422),
            ("?client=example.com", 422),
            ("?client=192.0.2.0/24&destination=d.test", 422),
            ("?colour=red", 400),
        ] {
            assert_eq!(
                plane.get(&format!("/api/v1/dialogues{query}")).0,
                status,
                "{query}"
            );
        }
    }
}
