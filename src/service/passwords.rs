//! Passwords are compared with their hashes here: it takes tens of milliseconds of a core, by
//! design, and a shard would stand still meanwhile.

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::trial;
use crate::users;

/// Compares passwords, asked from any thread.
#[derive(Clone)]
pub struct Passwords {
    requests: mpsc::Sender<Request>,
}

struct Request {
    password: Vec<u8>,
    hash: String,
    reply: futures_channel::oneshot::Sender<bool>,
}

impl Passwords {
    /// Starts the comparing on threads beside `runtime`'s.
    #[must_use]
    pub fn start(runtime: &Handle) -> Self {
        let (requests, mut received) = mpsc::channel::<Request>(REQUESTS_MAX);
        runtime.spawn(async move {
            // One at a time: whoever guesses gets no more of the machine than one core.
            while let Some(request) = received.recv().await {
                let Request {
                    password,
                    hash,
                    reply,
                } = request;
                let comparing = tokio::task::spawn_blocking(move || {
                    trial::tempt("password");
                    users::verify(&password, &hash)
                });
                // One that panicked has found nothing out, and nobody has given a wrong password.
                if let Ok(is_right) = comparing.await {
                    // The session may be gone.
                    let _ = reply.send(is_right);
                }
            }
        });
        Self { requests }
    }

    /// Compares; `None` when too many are waiting, or nothing was found out.
    pub async fn check(&self, password: Vec<u8>, hash: String) -> Option<bool> {
        let (reply, answer) = futures_channel::oneshot::channel();
        let request = Request {
            password,
            hash,
            reply,
        };
        self.requests.try_send(request).ok()?;
        answer.await.ok()
    }
}

/// Comparisons that wait: some seconds' worth. Beyond, clients are told to come back.
const REQUESTS_MAX: usize = 256;
