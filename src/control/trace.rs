//! What happened to one message.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;

use super::queue::find;
use super::{Failure, Plane};
use crate::mail::envelope::QueueId;
use crate::observe::ask::{Ask, Tell, Trace};
use crate::observe::history::Moment;

/// `GET /api/v1/trace/{id}`
pub(super) async fn trace(
    State(plane): State<Plane>,
    Path(id): Path<String>,
) -> Result<Json<Trace>, Failure> {
    let Ok(id) = id.parse::<QueueId>() else {
        let words = format!("{id} is no queue id");
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    };
    let id = id.to_string();
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
