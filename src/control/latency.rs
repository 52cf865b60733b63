//! How long stages take, for people and for plotters.

use std::fmt::Write as _;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;

use super::{Failure, Plane};
use crate::observe::ask::{Ask, Latencies, Tell};
use crate::observe::stage::{Snapshot, Stage};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    stage: Option<String>,
    destination: Option<String>,
    format: Option<String>,
}

/// `GET /api/v1/latency`
pub(super) async fn latency(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(wanted) = wanted?;
    let stage = match wanted.stage.as_deref().map(str::parse::<Stage>) {
        None => None,
        Some(Ok(stage)) => Some(stage),
        Some(Err(words)) => return Err(Failure::new(StatusCode::BAD_REQUEST, words)),
    };
    let mut sum = Snapshot::default();
    let recorded = plane.gather(Ask::Latencies, |tell| match tell {
        Tell::Latencies(snapshot) => Some(snapshot),
        _ => None,
    });
    for snapshot in plane.complete(recorded.await)? {
        sum.merge(&snapshot);
    }
    let destination = wanted.destination.as_deref();
    match wanted.format.as_deref() {
        None | Some("json") => {
            let mut stages = sum.rows(destination);
            stages.retain(|row| stage.is_none_or(|stage| row.stage == stage.name()));
            let destinations = sum.destinations().map(str::to_owned).collect();
            Ok(Json(Latencies {
                stages,
                destinations,
            })
            .into_response())
        }
        Some("hgrm") => Ok(hgrm(&sum, stage, destination).into_response()),
        Some(other) => {
            let words = format!("no format {other}; there are json and hgrm");
            Err(Failure::new(StatusCode::BAD_REQUEST, words))
        }
    }
}

/// One stage's text as plotters read it; all stages with a line of their name before each.
fn hgrm(sum: &Snapshot, stage: Option<Stage>, destination: Option<&str>) -> String {
    if let Some(stage) = stage {
        return sum.hgrm(stage, destination).unwrap_or_default();
    }
    let mut text = String::new();
    for stage in Stage::ALL {
        if let Some(one) = sum.hgrm(stage, destination) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {stage}\n{one}");
        }
    }
    text
}
