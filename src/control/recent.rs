//! The last minute and the last hour: somebody has to look at the shards' histograms now and then.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures_channel::oneshot;
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use super::{Failure, Plane};
use crate::observe::ask::{Ask, Shards, Tell};
use crate::observe::stage::{LOOK_SECONDS, Recent, Snapshot, Thin, Window};

/// The way to the one who looks.
#[derive(Clone)]
pub(super) struct Watch {
    questions: mpsc::Sender<Question>,
}

/// What the last minute or hour holds, up to a snapshot of now.
type Held = fn(&Recent, &Snapshot) -> Thin;

enum Question {
    /// What a window holds: of one shard, or of all.
    Window {
        held: Held,
        shard: Option<usize>,
        /// What was recorded since the start, as of now.
        now: Arc<Snapshot>,
        reply: oneshot::Sender<Thin>,
    },
    /// Each whole minute of the last hour.
    Minutes { reply: oneshot::Sender<Vec<Thin>> },
}

impl Watch {
    /// The way, and who must run at its end: until nobody can ask any more.
    pub(super) fn new(shards: Arc<dyn Shards>) -> (Self, impl Future<Output = ()> + Send) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        (Self { questions }, watch(shards, asked))
    }

    /// What was recorded in `window`, given what was recorded since the start.
    pub(super) async fn window(
        &self,
        window: Window,
        shard: Option<usize>,
        now: &Arc<Snapshot>,
    ) -> Result<Arc<Snapshot>, Failure> {
        let now = Arc::clone(now);
        let held = match window {
            Window::Start => return Ok(now),
            Window::Minute => Recent::minute,
            Window::Hour => Recent::hour,
        };
        let thin = self.ask(|reply| Question::Window {
            held,
            shard,
            now,
            reply,
        });
        Ok(Arc::new(thin.await?.spread()))
    }

    /// Each whole minute of the last hour, the oldest first.
    pub(super) async fn minutes(&self) -> Result<Vec<Thin>, Failure> {
        self.ask(|reply| Question::Minutes { reply }).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Failure> {
        let busy = |_| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once");
        let (reply, answer) = oneshot::channel();
        self.questions.try_send(question(reply)).map_err(busy)?;
        let gone = |_| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "nobody looks any more");
        answer.await.map_err(gone)
    }
}

async fn watch(shards: Arc<dyn Shards>, mut asked: mpsc::Receiver<Question>) {
    let mut all = Recent::with_destinations();
    let mut each: Vec<Recent> = Vec::new();
    each.resize_with(shards.count(), Recent::default);
    let mut looks = time::interval(Duration::from_secs(LOOK_SECONDS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => look(&*shards, &mut all, &mut each).await,
            question = asked.recv() => match question {
                None => return,
                Some(question) => answer(question, &all, &each),
            },
        }
    }
}

/// One look at every shard. When one does not answer, all of it waits for the next look: what is
/// missed now is in the next piece.
async fn look(shards: &dyn Shards, all: &mut Recent, each: &mut [Recent]) {
    let told = shards.ask(Ask::Latencies).await;
    if told.len() < shards.count() {
        return;
    }
    let mut sum = Snapshot::default();
    for tell in told {
        if let Tell::Latencies { shard, snapshot } = tell {
            sum.merge(&snapshot);
            if let Some(one) = each.get_mut(shard) {
                one.look(&snapshot);
            }
        }
    }
    all.look(&sum);
}

/// Nobody may wait for an answer any more: nothing is lost then.
fn answer(question: Question, all: &Recent, each: &[Recent]) {
    match question {
        Question::Window {
            held,
            shard,
            now,
            reply,
        } => {
            let recent = shard.map_or(Some(all), |shard| each.get(shard));
            let thin = recent.map(|recent| held(recent, &now));
            let _ = reply.send(thin.unwrap_or_default());
        }
        Question::Minutes { reply } => {
            let _ = reply.send(all.minutes().cloned().collect());
        }
    }
}

impl Plane {
    /// What one shard, or all of them, recorded since the start.
    pub(super) async fn recorded(&self, shard: Option<usize>) -> Result<Arc<Snapshot>, Failure> {
        let recorded = self.gather(Ask::Latencies, |tell| match tell {
            Tell::Latencies { shard, snapshot } => Some((shard, snapshot)),
            _ => None,
        });
        let mut sum = Snapshot::default();
        for (from, snapshot) in self.complete(recorded.await)? {
            if shard.is_none_or(|shard| shard == from) {
                sum.merge(&snapshot);
            }
        }
        Ok(Arc::new(sum))
    }
}

/// Requests under way are bounded already; these wait for the one who looks.
const QUESTIONS_MAX: usize = 64;
