//! The service thread: one tokio runtime for what the ecosystem has written for tokio (the
//! resolver, the HTTP control plane). Shards reach it through bounded channels and are answered
//! by oneshot; nothing on it may hold a shard up.

mod asking;
pub mod events;
pub mod passwords;
pub mod policies;
pub mod reports;
pub mod resolver;
pub mod signing;
pub mod verifying;
pub mod web;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::config::Config;
use crate::observe::log::Log;

use events::Events;
use passwords::Passwords;
use policies::Policies;
use reports::TlsReports;
use resolver::Resolver;
use signing::Signing;
use verifying::Verifying;

/// What shards ask of it.
#[derive(Clone)]
pub struct Desk {
    /// Names.
    pub resolver: Resolver,
    /// Passwords.
    pub passwords: Passwords,
    /// DKIM.
    pub signing: Signing,
    /// Who incoming mail is from.
    pub verifying: Verifying,
    /// MTA-STS.
    pub policies: Policies,
    /// TLSRPT.
    pub reports: TlsReports,
    /// What other programs are told of messages.
    pub events: Events,
}

impl Desk {
    /// Starts all of it. Without servers in the configuration, names are asked of those in
    /// resolv.conf.
    pub fn start(service: &Service, config: &Config, log: Log) -> io::Result<Self> {
        let runtime = service.handle();
        let resolver = Resolver::start(runtime, &config.dns)?;
        let kept = config.data_dir.join("mta-sts");
        Ok(Self {
            events: Events::start(runtime, resolver.clone(), &config.data_dir, log.clone()),
            reports: TlsReports::start(runtime, resolver.clone(), &config.data_dir, log.clone()),
            policies: Policies::start(runtime, resolver.clone(), kept, log),
            resolver,
            passwords: Passwords::start(runtime),
            signing: Signing::start(runtime),
            verifying: Verifying::start(runtime, &config.dns)?,
        })
    }
}

/// Does something that must not end the task it is a part of. What a panic said, the process's hook
/// has told.
fn survive(step: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(step));
}

/// Seconds since 1970.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(elapsed.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// The running thread.
pub struct Service {
    handle: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("service".into())
            .spawn(move || {
                // Tasks still running when the sender is dropped or used end with the runtime.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where tasks can be started.
    #[must_use]
    pub fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
