//! The relay's own house: who may log in, whether a configuration is good, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, StringRejection};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Json;
use futures_channel::oneshot;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::{By, Deed};
use super::listen::Peer;
use super::problem::media_type;
use super::{Failure, Plane};
use crate::config::{self, units::parse_duration};
use crate::users::{self, Unchanged, Users, judge_addresses};

/// What of the process the control plane reaches.
#[derive(Clone)]
pub struct House {
    /// Looks at a configuration and at the files that it names, where those can be read.
    pub check: Arc<Check>,
    /// Lets the relay end, as SIGTERM does; transactions in progress may take so long.
    pub drain: Arc<dyn Fn(Option<Duration>) + Send + Sync>,
    /// Has the configuration read anew, as SIGHUP does.
    pub reload: Arc<dyn Fn() -> oneshot::Receiver<Reloaded> + Send + Sync>,
}

/// What came of a reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// The new configuration is in effect. If not, the old one is, for its `faults`.
    pub taken: bool,
    /// What differs from the one before.
    pub changes: Vec<config::Change>,
    /// What is wrong with the file, or with files that it names.
    pub faults: Vec<String>,
}

/// Takes the text of a configuration, and says later what is wrong with it.
pub type Check = dyn Fn(String) -> oneshot::Receiver<Vec<config::Fault>> + Send + Sync;

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
    let path = plane.config.load().users_file();
    let reading = tokio::task::spawn_blocking(move || Users::read(&path));
    let users = reading.await.map_err(|error| error.to_string()).flatten();
    let users = users.map_err(broken)?;
    let rows = users.iter().map(|(address, user)| User {
        address: address.to_owned(),
        senders: user.senders.clone(),
        apop: user.apop.is_some(),
    });
    Ok(Json(rows.collect()))
}

/// Somebody who shall log in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// The name to log in with, an address that may be sent from.
    address: String,
    /// The password. It is taken from loopback alone.
    password: String,
    /// Other addresses that may be sent from, or `*@DOMAIN`.
    #[serde(default)]
    senders: Vec<String>,
    /// Keep the password as it is, for APOP.
    #[serde(default)]
    apop: bool,
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// It is taken from loopback alone.
    password: String,
}

/// `POST /api/v1/users`
pub(super) async fn add(
    State(plane): State<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Result<(StatusCode, Json<User>), Failure> {
    let Json(new) = body?;
    admit_password(peer, &new.password)?;
    judge_addresses(&new.address, &new.senders).map_err(unfit)?;
    let deed = Deed::about("add_user", &new.address, By::of(peer, &headers));
    let added = User {
        address: new.address.to_lowercase(),
        senders: new.senders.clone(),
        apop: new.apop,
    };
    let change = move |users: &mut Users| {
        let mut user = users::User::new(&new.password, new.senders).map_err(unfit)?;
        if new.apop {
            user = user.with_apop(&new.password);
        }
        if users.add(&new.address, user) {
            return Ok(());
        }
        let words = format!("{} is there already", new.address);
        Err(Failure::new(StatusCode::CONFLICT, words))
    };
    change_users(plane, deed, change).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// `DELETE /api/v1/users/{address}`
pub(super) async fn remove(
    State(plane): State<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    address: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let Path(address) = address?;
    let deed = Deed::about("remove_user", &address, By::of(peer, &headers));
    let change = move |users: &mut Users| match users.remove(&address) {
        true => Ok(()),
        false => Err(nobody(&address)),
    };
    change_users(plane, deed, change).await?;
    Ok(Json(json!({ "status": "removed" })))
}

/// `PUT /api/v1/users/{address}/password`
pub(super) async fn set_password(
    State(plane): State<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    address: Result<Path<String>, PathRejection>,
    body: Result<Json<NewPassword>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let (Path(address), Json(NewPassword { password })) = (address?, body?);
    admit_password(peer, &password)?;
    let deed = Deed::about("set_password", &address, By::of(peer, &headers));
    let change = move |users: &mut Users| match users.set_password(&address, &password) {
        Ok(true) => Ok(()),
        Ok(false) => Err(nobody(&address)),
        Err(why) => Err(unfit(why)),
    };
    change_users(plane, deed, change).await?;
    Ok(Json(json!({ "status": "changed" })))
}

/// There is no TLS here: what comes from another machine was seen by everybody on the way.
fn admit_password(peer: SocketAddr, password: &str) -> Result<(), Failure> {
    if !peer.ip().to_canonical().is_loopback() {
        let words = "a password is taken from loopback alone, because nothing here is encrypted: use `ringpost user` on the relay's machine";
        return Err(Failure::new(StatusCode::FORBIDDEN, words));
    }
    if password.is_empty() || password.contains(['\r', '\n']) {
        return Err(unfit("a password is one line, and not empty".to_owned()));
    }
    Ok(())
}

/// Changes the file, written down before and behind, also when nobody waits for the answer any more. The
/// running relay notices within a second.
async fn change_users(
    plane: Plane,
    deed: Deed,
    change: impl FnOnce(&mut Users) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let done = tokio::spawn(async move {
        let path = plane.config.load().users_file();
        if let Some(audit) = &plane.audit {
            audit.begin(&deed).await;
        }
        // A hash that is worth something takes its time, and so may the disk.
        let changing = tokio::task::spawn_blocking(move || {
            Users::change(&path, change).map_err(|why| match why {
                Unchanged::Unreadable(why) => broken(why),
                Unchanged::Unwritable(error) => broken(format!("{}: {error}", path.display())),
                Unchanged::Refused(failure) => failure,
            })
        });
        let done = changing.await.map_err(|_| interrupted()).flatten();
        if let Some(audit) = &plane.audit {
            let outcome = done.as_ref().map(|()| &"done");
            audit
                .end(&deed, outcome.map_err(|failure| &*failure.words))
                .await;
        }
        done
    });
    done.await.map_err(|_| interrupted()).flatten()
}

fn interrupted() -> Failure {
    broken("a defect interrupted it: see the log".to_owned())
}

fn broken(why: String) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

fn unfit(why: String) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

fn nobody(address: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("there is no user {address}"))
}

/// What is wrong with a configuration.
#[derive(Serialize, JsonSchema)]
pub(super) struct Checked {
    /// Each with its place in the text. None: it is good, and so are the files that it names.
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
    State(plane): State<Plane>,
    headers: HeaderMap,
    text: Result<String, StringRejection>,
) -> Result<Json<Checked>, Failure> {
    if !["application/toml", "text/plain"].contains(&media_type(&headers)) {
        let words = "a configuration is application/toml or text/plain";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    let text = text.map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))?;
    let faults = tokio::time::timeout(CHECK_PATIENCE, (plane.house.check)(text)).await;
    let Ok(Ok(faults)) = faults else {
        let words = "nobody has time to look at it: a reload or the end of the relay is under way";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, words));
    };
    let faults = faults.into_iter().map(|fault| Fault {
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
    /// How long transactions in progress may take, as in `30s`; else what `process.drain` says.
    #[serde(default)]
    within: Option<String>,
}

/// Says that it is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    /// `true`
    reload: bool,
}

/// `POST /api/v1/reload`. A body in JSON, as for the end.
pub(super) async fn reload(
    State(plane): State<Plane>,
    body: Result<Json<Reload>, JsonRejection>,
) -> Result<Json<Reloaded>, Failure> {
    let Json(Reload { reload }) = body?;
    if !reload {
        let words = "reload: true reads the configuration anew, and nothing else is done here";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    }
    let reloaded = (plane.house.reload)();
    let reloaded = tokio::time::timeout(RELOAD_PATIENCE, reloaded).await;
    let busy = || {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the relay is ending, or still reads it",
        )
    };
    reloaded
        .ok()
        .and_then(Result::ok)
        .map(Json)
        .ok_or_else(busy)
}

/// `POST /api/v1/drain`. A body in JSON, which no web page can post here without being asked.
pub(super) async fn drain(
    State(plane): State<Plane>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Json<Drain>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let Json(Drain { drain, within }) = body?;
    if !drain {
        let words = "drain: true ends the relay, and nothing else is done here";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    }
    let within = match within.as_deref().map(parse_duration) {
        None => None,
        Some(Some(within)) => Some(within),
        Some(None) => {
            let words = "within: a duration such as 30s (us, ms, s, m, h, d)";
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
        }
    };
    if let Some(audit) = &plane.audit {
        let by = By::of(peer, &headers);
        audit.begin(&Deed::new("drain", None, by)).await;
    }
    (plane.house.drain)(within);
    Ok((StatusCode::ACCEPTED, Json(json!({ "status": "draining" }))))
}

#[cfg(test)]
mod tests;

/// How long a configuration is looked at: files may be on a slow disk.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a configuration may take to be read: users and certificates are with it.
const RELOAD_PATIENCE: Duration = Duration::from_secs(8);
