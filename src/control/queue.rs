//! Looking at the queue and steering it.

use std::io;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;

use super::audit::{By, Change, next_change};
use super::listen::Peer;
use super::problem::queue_id;
use super::{Failure, Plane};
use crate::observe::ask::{
    Act, Acted, Ask, LIST_USUAL, Order, OrderBody, Piece, QueueEntry, QueueEntryDetail, Selector,
    ShapeRow, Tell, UNDO_PERIOD,
};
use crate::queue::State;
use crate::wire::path::Mailbox;

/// A selector and a limit in an address.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    id: Option<String>,
    to: Option<String>,
    from: Option<String>,
    domain: Option<String>,
    destination: Option<String>,
    tenant: Option<String>,
    tag: Option<String>,
    state: Option<State>,
    reply: Option<String>,
    older_than: Option<u64>,
    newer_than: Option<u64>,
    larger_than: Option<u64>,
    smaller_than: Option<u64>,
    change: Option<i64>,
    limit: Option<usize>,
}

impl Wanted {
    fn selector(self) -> Selector {
        Selector {
            id: self.id,
            to: self.to,
            from: self.from,
            domain: self.domain,
            destination: self.destination,
            tenant: self.tenant,
            tag: self.tag,
            state: self.state,
            reply: self.reply,
            older_than: self.older_than,
            newer_than: self.newer_than,
            larger_than: self.larger_than,
            smaller_than: self.smaller_than,
            change: self.change,
            all: false,
        }
    }
}

/// `GET /api/v1/queue`: the oldest first.
pub(super) async fn list(
    Shared(plane): Shared<Plane>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<QueueEntry>>, Failure> {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.unwrap_or(LIST_USUAL);
    let selector = wanted.selector();
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
    Shared(plane): Shared<Plane>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<QueueEntryDetail>, Failure> {
    let Path(id) = id?;
    queue_id(&id)?;
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

/// `GET /api/v1/queue/{id}/raw`: the message itself, piece by piece.
pub(super) async fn raw(
    Shared(plane): Shared<Plane>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id?;
    let Some(first) = piece(&plane, &id, 0).await else {
        let absent = format!("no message {id} is in the queue, or it cannot be read");
        return Err(Failure::new(StatusCode::NOT_FOUND, absent));
    };
    let rest = stream::unfold((plane, id, first.next), async |(plane, id, next)| {
        let position = next?;
        match piece(&plane, &id, position).await {
            Some(Piece { octets, next }) => Some((Ok(octets), (plane, id, next))),
            // It is gone; whoever reads must not take what came for all of it.
            None => Some((
                Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                (plane, id, None),
            )),
        }
    });
    let body = Body::from_stream(stream::iter([Ok(first.octets)]).chain(rest));
    Ok(([(header::CONTENT_TYPE, "message/rfc822")], body).into_response())
}

async fn piece(plane: &Plane, id: &str, position: u64) -> Option<Piece> {
    let id = id.to_owned();
    let told = plane.gather(Ask::Raw { id, position }, |tell| match tell {
        Tell::Raw(piece) => piece,
        _ => None,
    });
    told.await.into_iter().next()
}

/// `POST /api/v1/queue/{act}`
pub(super) async fn act(
    Shared(plane): Shared<Plane>,
    word: Result<Path<String>, PathRejection>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Json<OrderBody>, JsonRejection>,
) -> Result<Json<Acted>, Failure> {
    let Path(word) = word?;
    let Some(act) = Act::ALL.into_iter().find(|act| act.name() == word) else {
        let words = format!("{word} is no order");
        return Err(Failure::new(StatusCode::NOT_FOUND, words));
    };
    let Json(mut body) = body?;
    let into = address(act, body.into.as_deref())?;
    if act == Act::Undo && body.selector.is_empty() {
        body.selector.change = newest_removal(&plane).await?;
    }
    judge(act, &body)?;
    let OrderBody {
        selector,
        dry_run,
        reason,
        for_good,
        ..
    } = body;
    let order = Order {
        act,
        selector,
        dry_run,
        for_good,
        into,
        change: next_change(),
    };
    if dry_run {
        return Ok(Json(carry_out(&plane, order).await?));
    }
    let change = Change {
        change: order.change,
        act,
        for_good,
        into: order.into.as_ref().map(ToString::to_string),
        selector: order.selector.clone(),
        reason,
        by: By::of(peer, &headers),
    };
    // Carried out to its end, and written down, also when nobody waits for the answer any more.
    let done = tokio::spawn(async move {
        if let Some(audit) = &plane.audit {
            audit.begin(&change).await;
        }
        let done = carry_out(&plane, order).await;
        if let Some(audit) = &plane.audit {
            let outcome = done.as_ref().map_err(|failure| &*failure.words);
            audit.end(&change, outcome).await;
        }
        done
    });
    let ended = done.await.unwrap_or_else(|_| {
        let words = "the order ended unfinished: see the log";
        Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, words))
    });
    Ok(Json(ended?))
}

/// Where an order redirects to.
fn address(act: Act, into: Option<&str>) -> Result<Option<Mailbox>, Failure> {
    let refuse = |words: String| Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    match (act, into) {
        (Act::Redirect, None) => refuse("say where: into, an address".to_owned()),
        (Act::Redirect, Some(into)) => match Mailbox::parse(into.as_bytes(), true) {
            Ok(mailbox) => Ok(Some(mailbox)),
            Err(_) => refuse(format!("{into} is no address")),
        },
        (_, Some(_)) => refuse("only redirect goes `into` an address".to_owned()),
        (_, None) => Ok(None),
    }
}

/// Refuses an order that says too little, or what is no part of one.
fn judge(act: Act, body: &OrderBody) -> Result<(), Failure> {
    let refuse = |words: String| Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words));
    if let Some(key) = body.unknown.keys().next() {
        return refuse(format!("unknown field `{key}`"));
    }
    if body.for_good && act != Act::Remove {
        return refuse("only a removal is `for_good`".to_owned());
    }
    if body.selector.is_empty() && act == Act::Undo {
        let words = "nothing was removed in the last ten minutes";
        return Err(Failure::new(StatusCode::NOT_FOUND, words));
    }
    if body.selector.is_empty() {
        return refuse("say which messages: id, to, from, domain, destination, tenant, tag, state, reply, older_than, newer_than, larger_than, smaller_than or all".to_owned());
    }
    let reason = body.reason.as_deref().unwrap_or_default();
    if reason.chars().count() > REASON_CHARS_MAX {
        return refuse(format!(
            "a reason has {REASON_CHARS_MAX} characters at most"
        ));
    }
    body.selector.id.as_deref().map(queue_id).transpose()?;
    Ok(())
}

/// The name of the newest removal that can be undone.
async fn newest_removal(plane: &Plane) -> Result<Option<i64>, Failure> {
    let told = plane.gather(Ask::Removal, |tell| match tell {
        Tell::Removal(until) => Some(until),
        _ => None,
    });
    let newest = plane.complete(told.await)?.into_iter().flatten().max();
    let period = i64::try_from(UNDO_PERIOD.as_micros()).unwrap_or(i64::MAX);
    Ok(newest.map(|until| until - period))
}

/// Has every shard do it.
async fn carry_out(plane: &Plane, order: Order) -> Result<Acted, Failure> {
    let acted = plane.gather(Ask::Act(order), |tell| match tell {
        Tell::Acted(acted) => Some(acted),
        _ => None,
    });
    let mut sum = Acted::default();
    for acted in plane.complete(acted.await)? {
        sum.add(acted);
    }
    Ok(sum)
}

/// `GET /api/v1/queue/shape`: the fullest destination first.
pub(super) async fn shape(Shared(plane): Shared<Plane>) -> Result<Json<Vec<ShapeRow>>, Failure> {
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
                let ages = sum.ages.iter_mut().zip(row.ages);
                let states = sum.states.iter_mut().zip(row.states);
                for (sum, part) in ages.chain(states) {
                    *sum += part;
                }
                sum.learned = sum.learned.take().or(row.learned);
                sum.waits_for_tomorrow |= row.waits_for_tomorrow;
            }
            _ => sums.push(row),
        }
    }
    // Of who has complained and gets nothing now there is a row too.
    sums.retain(|row| row.learned.is_none() || row.states.iter().any(|&count| count > 0));
    sums.sort_by_key(|row| std::cmp::Reverse(row.ages.iter().sum::<u64>()));
    Ok(Json(sums))
}

/// A reason is a remark, not a report.
const REASON_CHARS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
