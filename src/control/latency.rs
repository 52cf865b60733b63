//! How long stages take, for people and for plotters.

use std::fmt::Write as _;
use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Failure, Plane};
use crate::observe::ask::{Latencies, Minutes, Recording};
use crate::observe::stage::{Snapshot, Stage, Thin, Window};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    stage: Option<String>,
    destination: Option<String>,
    shard: Option<usize>,
    window: Option<String>,
    format: Option<String>,
}

/// `GET /api/v1/latency`
pub(super) async fn latency(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(wanted) = wanted?;
    let stage: Option<Stage> = wanted.stage.as_deref().map(read).transpose()?;
    let window: Window = wanted
        .window
        .as_deref()
        .map(read)
        .transpose()?
        .unwrap_or_default();
    let shards = plane.shards.count();
    if let Some(shard) = wanted.shard.filter(|shard| *shard >= shards) {
        let words = format!(
            "there is no shard {shard}: they are counted from 0 to {}",
            shards - 1
        );
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    }
    let destination = wanted.destination.as_deref();
    if let (Some(_), Some(_)) = (wanted.shard, destination)
        && window != Window::Start
    {
        let words = "destinations have windows over all shards only: leave shard or window out";
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    }
    let now = plane.recorded(wanted.shard).await?;
    let recorded = plane.watch.window(window, wanted.shard, &now).await?;
    match wanted.format.as_deref() {
        None | Some("json") => {
            let mut told = told(&recorded, window, destination);
            told.stages
                .retain(|row| stage.is_none_or(|stage| row.stage == stage.name()));
            Ok(Json(told).into_response())
        }
        Some("hgrm") => Ok(hgrm(&recorded, stage, destination).into_response()),
        Some("recording") => Ok(Json(Recording {
            at: jiff::Timestamp::now().as_second(),
            histograms: Thin::of(&recorded, u8::MAX),
        })
        .into_response()),
        Some(other) => {
            let words = format!("no format {other}; there are json, hgrm and recording");
            Err(Failure::new(StatusCode::BAD_REQUEST, words))
        }
    }
}

fn told(recorded: &Snapshot, window: Window, destination: Option<&str>) -> Latencies {
    Latencies {
        window,
        stages: recorded.rows(destination),
        destinations: recorded.destinations().map(str::to_owned).collect(),
    }
}

/// The destination of `GET /api/v1/latency/windows`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Towards {
    destination: Option<String>,
}

/// `GET /api/v1/latency/windows`: all windows of one moment, for which the shards are asked once.
pub(super) async fn windows(
    State(plane): State<Plane>,
    wanted: Result<Query<Towards>, QueryRejection>,
) -> Result<Json<Vec<Latencies>>, Failure> {
    let Query(Towards { destination }) = wanted?;
    let now = plane.recorded(None).await?;
    let mut all = Vec::with_capacity(Window::ALL.len());
    for window in Window::ALL {
        let recorded = plane.watch.window(window, None, &now).await?;
        all.push(told(&recorded, window, destination.as_deref()));
    }
    Ok(Json(all))
}

/// The stage of `GET /api/v1/latency/minutes`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfStage {
    stage: String,
}

/// `GET /api/v1/latency/minutes`: for a picture of the last hour.
pub(super) async fn minutes(
    State(plane): State<Plane>,
    wanted: Result<Query<OfStage>, QueryRejection>,
) -> Result<Json<Minutes>, Failure> {
    let Query(OfStage { stage }) = wanted?;
    let stage: Stage = read(&stage)?;
    let minutes = plane.watch.minutes().await?;
    Ok(Json(Minutes {
        stage: stage.name().to_owned(),
        minutes: minutes
            .iter()
            .map(|one| one.stage(stage).to_vec())
            .collect(),
    }))
}

fn read<T: FromStr<Err = String>>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|words: String| Failure::new(StatusCode::BAD_REQUEST, words))
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
