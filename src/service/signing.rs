//! DKIM signatures are made here, on threads beside the service thread: an RSA signature takes
//! half a millisecond of a core, and a shard would deliver nothing meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::dkim::{Fault, Signed, Signers};
use crate::trial;

/// Signs, asked from any thread.
#[derive(Clone)]
pub struct Signing {
    requests: mpsc::Sender<Request>,
}

struct Request {
    signers: Arc<Signers>,
    wire: Vec<u8>,
    reply: futures_channel::oneshot::Sender<Result<Signed, Fault>>,
}

impl Signing {
    /// Starts the signing on threads beside `runtime`'s, as many as there are CPUs.
    #[must_use]
    pub fn start(runtime: &Handle) -> Self {
        let (requests, mut received) = mpsc::channel::<Request>(REQUESTS_MAX);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let seats = Arc::new(Semaphore::new(cpus));
        let count = Arc::new(AtomicU64::new(0));
        runtime.spawn(async move {
            while let Some(request) = received.recv().await {
                let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
                    return;
                };
                let number = count.fetch_add(1, Ordering::Relaxed);
                tokio::task::spawn_blocking(move || {
                    trial::tempt("signing");
                    let is_proven = number.is_multiple_of(PROVE_EVERY);
                    let signed = request.signers.sign_wire(&request.wire, is_proven);
                    // The delivery may be gone.
                    let _ = request.reply.send(signed);
                    drop(seat);
                });
            }
        });
        Self { requests }
    }

    /// The signature fields for content in wire form. Waits while many are before it.
    pub async fn sign(&self, signers: Arc<Signers>, wire: Vec<u8>) -> Result<Signed, Fault> {
        let (reply, answer) = futures_channel::oneshot::channel();
        let request = Request {
            signers,
            wire,
            reply,
        };
        if self.requests.send(request).await.is_err() {
            return Err(Fault::gone());
        }
        answer.await.unwrap_or_else(|_| Err(Fault::gone()))
    }
}

/// Messages that wait to be signed; deliveries wait beyond.
const REQUESTS_MAX: usize = 256;
/// Every so manieth signature is verified here, before anybody else does.
const PROVE_EVERY: u64 = 1000;
