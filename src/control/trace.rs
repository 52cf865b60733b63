//! What happened to one message, and to whom mail did not come.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::queue_id;
use super::queue::find;
use super::{Failure, Plane};
use crate::observe::ask::{Ask, Failed, Tell, Trace};
use crate::observe::history::{Event, Moment};

/// `GET /api/v1/trace/{id}`
pub(super) async fn trace(
    State(plane): State<Plane>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Trace>, Failure> {
    let Path(id) = id?;
    let id = queue_id(&id)?.to_string();
    let told = plane.gather(Ask::Trace { id: id.clone() }, |tell| match tell {
        Tell::Trace(moments) => Some(moments),
        _ => None,
    });
    let told = plane.complete(told.await)?;
    let mut moments = Vec::new();
    for text in told.iter().flatten() {
        // A shard wrote it with the same type.
        if let Ok(moment) = serde_json::from_str::<Moment<'static>>(text) {
            moments.push(moment);
        }
    }
    // Within one microsecond as they were told.
    moments.sort_by_key(|moment| moment.at);
    let queued = find(&plane, &id).await?;
    if moments.is_empty() && queued.is_none() {
        let words = format!(
            "nothing is known of a message {id}: shards remember the newest, and nothing from before \
             the last start; the log has all of them"
        );
        return Err(Failure::new(StatusCode::NOT_FOUND, words));
    }
    Ok(Json(Trace {
        id,
        moments,
        queued,
    }))
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
}

/// `GET /api/v1/bounces`: the newest first.
pub(super) async fn bounces(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<Failed>>, Failure> {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.unwrap_or(BOUNCES_USUAL).min(BOUNCES_MAX);
    let told = plane.gather(Ask::Failures { limit }, |tell| match tell {
        Tell::Failures(found) => Some(found),
        _ => None,
    });
    let told = plane.complete(told.await)?;
    let mut failed: Vec<Failed> = Vec::new();
    for (id, text) in told.iter().flatten() {
        // A shard wrote it with the same type.
        if let Ok(moment) = serde_json::from_str::<Moment<'static>>(text) {
            failed.extend(fates(id, moment));
        }
    }
    failed.sort_by_key(|one| std::cmp::Reverse(one.at));
    failed.truncate(limit);
    Ok(Json(failed))
}

fn fates(id: &str, moment: Moment<'static>) -> Vec<Failed> {
    let Event::Attempt {
        relay, outcomes, ..
    } = moment.event
    else {
        return Vec::new();
    };
    let failed = outcomes.into_iter();
    let failed = failed.filter(|fate| matches!(&*fate.status, "bounced" | "expired"));
    failed
        .map(|fate| Failed {
            id: id.to_owned(),
            at: moment.at,
            to: fate.to.into_owned(),
            status: fate.status.into_owned(),
            dsn: fate.dsn.to_string(),
            relay: relay.clone().map(Into::into),
            text: fate.text.into_owned(),
        })
        .collect()
}

/// How many bounces are shown when nobody says.
const BOUNCES_USUAL: usize = 50;

/// And at the most: shards remember some thousands of messages.
const BOUNCES_MAX: usize = 1000;
