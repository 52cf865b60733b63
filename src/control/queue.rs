//! Looking at the queue and steering it.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;

use super::{Failure, Plane};
use crate::mail::envelope::QueueId;
use crate::observe::ask::{
    Act, Acted, Ask, LIST_USUAL, QueueEntry, QueueEntryDetail, Selector, ShapeRow, Tell,
};

/// A selector and a limit in an address.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    id: Option<String>,
    to: Option<String>,
    from: Option<String>,
    domain: Option<String>,
    older_than: Option<u64>,
    limit: Option<usize>,
}

/// `GET /api/v1/queue`: the oldest first.
pub(super) async fn list(
    State(plane): State<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<QueueEntry>>, Failure> {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.unwrap_or(LIST_USUAL);
    let selector = Selector {
        id: wanted.id,
        to: wanted.to,
        from: wanted.from,
        domain: wanted.domain,
        older_than: wanted.older_than,
        all: false,
    };
    let lists = plane.gather(Ask::List { selector, limit }, |tell| match tell {
        Tell::List(entries) => Some(entries),
        _ => None,
    });
    let lists = plane.complete(lists.await)?;
    let mut entries: Vec<QueueEntry> = lists.into_iter().flatten().collect();
    entries.sort_by(|a, b| (a.accepted, &a.id).cmp(&(b.accepted, &b.id)));
    entries.truncate(limit);
    Ok(Json(entries))
}

/// `GET /api/v1/queue/{id}`
pub(super) async fn show(
    State(plane): State<Plane>,
    Path(id): Path<String>,
) -> Result<Json<QueueEntryDetail>, Failure> {
    if id.parse::<QueueId>().is_err() {
        let words = format!("{id} is no queue id");
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    }
    match find(&plane, &id).await? {
        Some(found) => Ok(Json(found)),
        None => {
            let absent = format!("no message {id} is in the queue");
            Err(Failure::new(StatusCode::NOT_FOUND, absent))
        }
    }
}

/// The message, wherever it is. Only when every shard has looked is it known to be absent.
pub(super) async fn find(plane: &Plane, id: &str) -> Result<Option<QueueEntryDetail>, Failure> {
    let found = plane.gather(Ask::Show { id: id.to_owned() }, |tell| match tell {
        Tell::Show(found) => Some(found),
        _ => None,
    });
    let mut answers = found.await;
    if let Some(found) = answers.iter_mut().find_map(Option::take) {
        return Ok(Some(*found));
    }
    plane.complete(answers)?;
    Ok(None)
}

/// `POST /api/v1/queue/{act}`
pub(super) async fn act(
    State(plane): State<Plane>,
    Path(word): Path<String>,
    selector: Result<Json<Selector>, JsonRejection>,
) -> Result<Json<Acted>, Failure> {
    let Some(act) = Act::ALL.into_iter().find(|act| act.name() == word) else {
        let words = format!("{word} is no order");
        return Err(Failure::new(StatusCode::NOT_FOUND, words));
    };
    let Json(selector) = selector?;
    if selector.is_empty() {
        let words = "say which messages: id, to, from, domain, older_than or all";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    }
    if let Some(id) = selector
        .id
        .as_ref()
        .filter(|id| id.parse::<QueueId>().is_err())
    {
        let words = format!("{id} is no queue id");
        return Err(Failure::new(StatusCode::BAD_REQUEST, words));
    }
    let acted = plane.gather(Ask::Act { act, selector }, |tell| match tell {
        Tell::Acted(acted) => Some(acted),
        _ => None,
    });
    let mut sum = Acted::default();
    for acted in plane.complete(acted.await)? {
        sum.messages += acted.messages;
        sum.recipients += acted.recipients;
    }
    Ok(Json(sum))
}

/// `GET /api/v1/queue/shape`: the fullest destination first.
pub(super) async fn shape(State(plane): State<Plane>) -> Result<Json<Vec<ShapeRow>>, Failure> {
    let shapes = plane.gather(Ask::Shape, |tell| match tell {
        Tell::Shape(rows) => Some(rows),
        _ => None,
    });
    let mut sums: Vec<ShapeRow> = Vec::new();
    let mut rows: Vec<ShapeRow> = plane
        .complete(shapes.await)?
        .into_iter()
        .flatten()
        .collect();
    rows.sort_by(|a, b| a.destination.cmp(&b.destination));
    for row in rows {
        match sums.last_mut() {
            Some(sum) if sum.destination == row.destination => {
                for (sum, part) in sum.ages.iter_mut().zip(row.ages) {
                    *sum += part;
                }
            }
            _ => sums.push(row),
        }
    }
    sums.sort_by_key(|row| std::cmp::Reverse(row.ages.iter().sum::<u64>()));
    Ok(Json(sums))
}
