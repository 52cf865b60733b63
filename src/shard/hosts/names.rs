//! This shard's cache of DNS answers: what a busy destination asks again and again does not
//! leave the core, and equal questions at one time are asked once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use crate::route::dns::{Answer, Question, Response};
use crate::world::{Tick, World};

/// The cache. Lives on its shard.
#[derive(Default)]
pub(in crate::shard) struct Names {
    known: RefCell<HashMap<Question, (Rc<Response>, Tick)>>,
    asked: RefCell<HashMap<Question, Vec<oneshot::Sender<Rc<Response>>>>>,
}

impl Names {
    /// The answer to a question, from the cache while it holds.
    pub(in crate::shard) async fn lookup<W: World>(
        &self,
        world: &W,
        question: Question,
    ) -> Rc<Response> {
        if let Some(response) = self.known(world.now(), &question) {
            return response;
        }
        let waiting = self.asked.borrow_mut().get_mut(&question).map(|waiters| {
            let (tell, told) = oneshot::channel();
            waiters.push(tell);
            told
        });
        if let Some(told) = waiting
            && let Ok(response) = told.await
        {
            return response;
        }
        self.ask(world, question).await
    }

    /// The answer to a question, where it is in the cache and holds.
    pub(in crate::shard) fn known(&self, now: Tick, question: &Question) -> Option<Rc<Response>> {
        let known = self.known.borrow();
        let (response, until) = known.get(question)?;
        (now < *until).then(|| Rc::clone(response))
    }

    async fn ask<W: World>(&self, world: &W, question: Question) -> Rc<Response> {
        self.asked.borrow_mut().insert(question.clone(), Vec::new());
        let asking = Asking {
            names: self,
            question: &question,
        };
        let response = Rc::new(world.lookup(question.clone()).await);
        let until = world.now() + holds(&response.answer);
        self.remember(world.now(), question.clone(), Rc::clone(&response), until);
        for waiter in asking.waiters() {
            let _ = waiter.send(Rc::clone(&response));
        }
        response
    }

    fn remember(&self, now: Tick, question: Question, response: Rc<Response>, until: Tick) {
        let mut known = self.known.borrow_mut();
        if known.len() >= ANSWERS_MAX {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() >= ANSWERS_MAX {
            // All of them hold: start anew. The service thread's larger cache answers again.
            known.clear();
        }
        known.insert(question, (response, until));
    }
}

/// A question under way. Dropped early (its task ended), it takes the waiters with it, and they
/// ask for themselves.
struct Asking<'a> {
    names: &'a Names,
    question: &'a Question,
}

impl Asking<'_> {
    fn waiters(&self) -> Vec<oneshot::Sender<Rc<Response>>> {
        self.names
            .asked
            .borrow_mut()
            .remove(self.question)
            .unwrap_or_default()
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        drop(self.waiters());
    }
}

/// How long an answer is used.
fn holds(answer: &Answer) -> Duration {
    match answer {
        Answer::Records(_, ttl) | Answer::NoData(ttl) | Answer::NoName(ttl) => {
            (*ttl).clamp(HOLD_MIN, HOLD_MAX)
        }
        Answer::Failure(_) => FAILURE_HOLD,
        Answer::Broken(_) => HOLD_MIN,
    }
}

/// Answers kept; about 200 octets each.
const ANSWERS_MAX: usize = 16 * 1024;
/// A TTL of zero still serves the deliveries of the same moment.
const HOLD_MIN: Duration = Duration::from_secs(1);
/// A changed MX is noticed within the hour even where the TTL is a week.
const HOLD_MAX: Duration = Duration::from_secs(3600);
/// A resolver in trouble is not asked again by every message of the moment.
const FAILURE_HOLD: Duration = Duration::from_secs(2);
