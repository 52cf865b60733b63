//! Who mail is from is found out here: it takes questions to the DNS and, for the hashes, some of a
//! core. A message waits for it, and no longer than it may.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::resolver;
use crate::config::Dns;
use crate::trial;
use crate::verify::{Content, Findings, Hashed, Inquiry, Verifier};

/// Verifies, asked from any thread.
#[derive(Clone)]
pub struct Verifying {
    requests: mpsc::Sender<Request>,
}

struct Request {
    inquiry: Inquiry,
    deadline: Instant,
    reply: futures_channel::oneshot::Sender<Findings>,
}

impl Verifying {
    /// Starts it on `runtime`.
    pub fn start(runtime: &Handle, dns: &Dns) -> io::Result<Self> {
        let _inside = runtime.enter();
        let verifier = Verifier::new(resolver::plain(dns)?);
        let (requests, mut received) = mpsc::channel::<Request>(REQUESTS_MAX);
        let seats = Arc::new(Semaphore::new(MESSAGES_MAX));
        runtime.spawn(async move {
            while let Some(request) = received.recv().await {
                let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
                    return;
                };
                let verifier = verifier.clone();
                // A task of its own: a panic over one message is the end of that answer alone.
                tokio::spawn(async move {
                    let findings = answer(&verifier, request.inquiry, request.deadline).await;
                    // The client may be gone.
                    let _ = request.reply.send(findings);
                    drop(seat);
                });
            }
        });
        Ok(Self { requests })
    }

    /// Finds out what is known of a message. Always ends: what is not known in time is a temporary
    /// error.
    pub async fn verify(&self, inquiry: Inquiry) -> Findings {
        let (reply, answer) = futures_channel::oneshot::channel();
        let authority = Arc::clone(&inquiry.authority);
        let request = Request {
            deadline: Instant::now() + inquiry.wait,
            inquiry,
            reply,
        };
        if self.requests.try_send(request).is_err() {
            return Findings::none_now(&authority);
        }
        answer
            .await
            .unwrap_or_else(|_| Findings::none_now(&authority))
    }
}

async fn answer(verifier: &Verifier, mut inquiry: Inquiry, deadline: Instant) -> Findings {
    trial::tempt("verifying");
    let content = std::mem::replace(&mut inquiry.content, Content::Whole(Vec::new()));
    let hashed = match content {
        Content::Hashed(hashed) => Ok(hashed),
        Content::Whole(wire) => tokio::task::spawn_blocking(move || Hashed::whole(&wire)).await,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    match hashed {
        // Too many were before it: what would be found out in no time is nothing.
        _ if left < inquiry.wait / 2 => Findings::none_now(&inquiry.authority),
        Ok(hashed) => verifier.verify(&inquiry, &hashed, deadline).await,
        Err(_) => Findings::none_now(&inquiry.authority),
    }
}

/// Messages that wait for their turn. Beyond, they go on without.
const REQUESTS_MAX: usize = 1024;
/// Messages of which something is being found out: the small ones are in memory meanwhile.
const MESSAGES_MAX: usize = 256;
