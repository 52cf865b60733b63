//! How mail to one recipient would travel.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Failure, Plane};
use crate::observe::ask::{Ask, Tell};
use crate::observe::explained::Explained;
use crate::wire::path::Mailbox;

/// Whom the mail would be for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    recipient: String,
    /// Whose mail it would be.
    tenant: Option<String>,
}

/// `GET /api/v1/explain?recipient=`: the way as one shard finds it, and what each has under way.
pub(super) async fn explain(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Explained>, Failure> {
    let Query(Wanted { recipient, tenant }) = wanted?;
    let Ok(mailbox) = Mailbox::parse(recipient.as_bytes(), true) else {
        let words = format!("{recipient} is no address");
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    };
    let told = plane.gather(Ask::Explain { mailbox, tenant }, |tell| match tell {
        Tell::Explained(explained) => Some(*explained),
        _ => None,
    });
    let mut told = plane.complete(told.await)?.into_iter();
    let Some(mut first) = told.next() else {
        let words = "there is no shard to ask";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, words));
    };
    told.for_each(|other| first.merge(other));
    Ok(Json(first))
}
