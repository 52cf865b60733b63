//! The retry curve, expiry and the moment of the delay notice.

use std::time::Duration;

use crate::mail::outcome::Diagnosis;
use crate::time::Tick;
use crate::trial::{self, Bug};
use crate::wire::status::EnhancedStatus;

/// What the queue takes from the configuration; a reload brings others.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Waits after the first, second, ... attempt; the last repeats. Empty counts as
    /// [`RETRY_FALLBACK`].
    pub retry: Vec<Duration>,
    /// Age at which what is not delivered fails (RFC 5321 §4.5.4.1 asks for 4 to 5 days).
    pub expire: Duration,
    /// Age at which the sender is told, once, that the message is still here.
    pub delay_notice: Option<Duration>,
    /// Connections one lane may use at most.
    pub lane_connections: usize,
}

impl Settings {
    /// The moment of the next attempt after `attempts` counted ones (at least one).
    pub(super) fn retry_at(&self, now: Tick, attempts: u16, random: u64) -> Tick {
        if trial::has(Bug::RetryTooSoon) {
            return now + Duration::from_secs(1);
        }
        now + jittered(self.retry_wait(u32::from(attempts)), random)
    }

    /// When what a peer found too fast is tried again: no later than after a first attempt.
    pub(super) fn after_strain(&self, now: Tick, random: u64) -> Tick {
        now + jittered(self.retry_wait(1).min(PACE_PAUSE), random)
    }

    /// When a lane that failed `failures` times in a row is tried again.
    pub(super) fn reopen_at(&self, now: Tick, failures: u32, random: u64) -> Tick {
        now + jittered(self.retry_wait(failures).min(LANE_BACKOFF_MAX), random)
    }

    fn retry_wait(&self, attempts: u32) -> Duration {
        let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.retry
            .get(step)
            .or(self.retry.last())
            .copied()
            .unwrap_or(RETRY_FALLBACK)
            .max(RETRY_MIN)
    }

    pub(super) fn expires_at(&self, accepted: Tick) -> Tick {
        match trial::has(Bug::RetryPastExpiry) {
            true => Tick::NEVER,
            false => accepted + self.expire,
        }
    }

    pub(super) fn delay_notice_at(&self, accepted: Tick) -> Tick {
        self.delay_notice.map_or(Tick::NEVER, |age| accepted + age)
    }
}

/// What a recipient fails with when its time is over: 4.4.7 (RFC 3463 §3.5), with the last words
/// of the other side where there are any.
#[must_use]
pub fn expired(last: Option<&Diagnosis>) -> Diagnosis {
    let text = match last {
        Some(last) => format!("delivery time expired; last: {}", last.text),
        None => "delivery time expired".to_owned(),
    };
    Diagnosis {
        status: EXPIRED,
        text: text.into_boxed_str(),
        reply: last.and_then(|last| last.reply.clone()),
        remote_mta: last.and_then(|last| last.remote_mta.clone()),
    }
}

/// `wait` moved by up to [`JITTER_PERCENT`] either way, so that what failed together does not come
/// back together.
fn jittered(wait: Duration, random: u64) -> Duration {
    let per_mille = 1000 - 10 * JITTER_PERCENT + random % (20 * JITTER_PERCENT + 1);
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX / 2000);
    Duration::from_micros(
        (micros / 1000).saturating_mul(per_mille) + micros % 1000 * per_mille / 1000,
    )
}

/// How far a wait may move, either way.
const JITTER_PERCENT: u64 = 10;
/// The wait when the configuration has none: RFC 5321 §4.5.4.1 advises 30 minutes.
pub const RETRY_FALLBACK: Duration = Duration::from_secs(1800);
/// No wait is shorter: a zero in the configuration must not become a busy loop against a peer.
pub const RETRY_MIN: Duration = Duration::from_millis(10);
/// A lane is never left alone for longer: with more, a host that came back would wait for its
/// mail; a probe costs one connection.
pub const LANE_BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a part rests after a failure of our own (no descriptor, no memory): long enough for
/// the pressure to ease, too short for the sender to notice.
pub const LOCAL_PAUSE: Duration = Duration::from_secs(5);
/// How long a part rests that a peer did not take because mail came too fast. What is sent until then
/// is what the slower pace lets through.
pub const PACE_PAUSE: Duration = Duration::from_secs(30);
/// How long a failure waits for its siblings so that one report tells of all, and how long a
/// report that could not be stored waits. More makes bounces late, less makes more of them.
pub const REPORT_PAUSE: Duration = Duration::from_secs(120);

const EXPIRED: EnhancedStatus = EnhancedStatus::new(4, 4, 7);

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let retry = [60, 300].map(Duration::from_secs).to_vec();
        Settings {
            retry,
            expire: Duration::from_secs(9000),
            delay_notice: None,
            lane_connections: 20,
        }
    }

    #[test]
    fn the_curve_is_followed_within_a_tenth_and_its_last_step_repeats() {
        for (attempts, seconds) in [(1, 60), (2, 300), (3, 300), (u16::MAX, 300)] {
            let waits: Vec<i64> = (0..2000)
                .map(|r| settings().retry_at(Tick(0), attempts, r).0)
                .collect();
            assert_eq!(waits.iter().min(), Some(&(seconds * 900_000)));
            assert_eq!(waits.iter().max(), Some(&(seconds * 1_100_000)));
        }
    }

    #[test]
    fn a_lane_is_probed_at_least_every_quarter_of_an_hour() {
        let slow = Settings {
            retry: vec![Duration::from_secs(86_400)],
            ..settings()
        };
        assert!(slow.reopen_at(Tick(0), 9, u64::MAX) <= Tick(0) + LANE_BACKOFF_MAX * 11 / 10);
    }

    #[test]
    fn an_empty_curve_and_a_zero_wait_do_not_spin() {
        let none = Settings {
            retry: vec![],
            ..settings()
        };
        assert!(none.retry_at(Tick(0), 1, 0) >= Tick(0) + RETRY_FALLBACK * 9 / 10);
        let zero = Settings {
            retry: vec![Duration::ZERO],
            ..settings()
        };
        assert!(zero.retry_at(Tick(0), 1, 0) > Tick(0));
    }

    #[test]
    fn expiry_keeps_the_last_reply() {
        let last = Diagnosis {
            status: EnhancedStatus::new(4, 2, 2),
            text: "host mx.test said: 452 4.2.2 full".into(),
            reply: Some("452 4.2.2 full".into()),
            remote_mta: Some("mx.test".into()),
        };
        let over = expired(Some(&last));
        assert_eq!(over.status.to_string(), "4.4.7");
        assert_eq!(
            &*over.text,
            "delivery time expired; last: host mx.test said: 452 4.2.2 full"
        );
        assert_eq!((over.reply, over.remote_mta), (last.reply, last.remote_mta));
    }
}
