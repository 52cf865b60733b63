//! The relay's own house: who may log in, whether a configuration is good, and its end.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::{JsonRejection, StringRejection};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::problem::media_type;
use super::{Failure, Plane};
use crate::config;
use crate::users::Users;

/// What of the process the control plane reaches.
#[derive(Clone)]
pub struct House {
    /// Who may log in.
    pub users_file: PathBuf,
    /// Lets the relay end, as SIGTERM does.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}

/// Somebody who may log in.
#[derive(Serialize, JsonSchema)]
pub(super) struct User {
    /// The name to log in with.
    address: String,
    /// Other addresses that may be sent from.
    senders: Vec<String>,
    /// Their password is kept as it is, for APOP.
    apop: bool,
}

/// `GET /api/v1/users`
pub(super) async fn users(State(plane): State<Plane>) -> Result<Json<Vec<User>>, Failure> {
    let path = plane.house.users_file.clone();
    let reading = tokio::task::spawn_blocking(move || Users::read(&path));
    let users = reading.await.map_err(|error| error.to_string()).flatten();
    let users = users.map_err(|why| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why))?;
    let rows = users.iter().map(|(address, user)| User {
        address: address.to_owned(),
        senders: user.senders.clone(),
        apop: user.apop.is_some(),
    });
    Ok(Json(rows.collect()))
}

/// What is wrong with a configuration.
#[derive(Serialize, JsonSchema)]
pub(super) struct Checked {
    /// Each with its place in the text. None: it is good. Files that it names are not looked at.
    faults: Vec<Fault>,
}

/// Something wrong in a text.
#[derive(Serialize, JsonSchema)]
struct Fault {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    /// What is wrong, and what would be right.
    message: String,
}

/// `POST /api/v1/config/check`
pub(super) async fn check(
    headers: HeaderMap,
    text: Result<String, StringRejection>,
) -> Result<Json<Checked>, Failure> {
    if !["application/toml", "text/plain"].contains(&media_type(&headers)) {
        let words = "a configuration is application/toml or text/plain";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    let text = text.map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))?;
    let faults = config::judge(&text).into_iter().map(|fault| Fault {
        line: fault.line,
        column: fault.column,
        message: fault.message,
    });
    Ok(Json(Checked {
        faults: faults.collect(),
    }))
}

/// Says that the end is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    /// `true`
    drain: bool,
}

/// `POST /api/v1/drain`. A body in JSON, which no web page can post here without being asked.
pub(super) async fn drain(
    State(plane): State<Plane>,
    body: Result<Json<Drain>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let Json(Drain { drain }) = body?;
    if !drain {
        let words = "drain: true ends the relay, and nothing else is done here";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    }
    let ending = Arc::clone(&plane.house.drain);
    tokio::task::spawn_blocking(move || ending());
    Ok((StatusCode::ACCEPTED, Json(json!({ "status": "draining" }))))
}
