//! Bugs that tests switch on, and what tests look for in a run.
//!
//! [`has`] stands where a bug would be: the simulator must find each of them within some runs, or
//! it proves little. [`saw`] says that something came to pass: a fault that never struck, or a state
//! that was never reached, proves nothing either. In the program itself both are nothing at all.

/// A bug, by what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// 250 before fdatasync.
    ReceiptBeforeSync,
    /// A record's checksum is not looked at.
    ChecksumIgnored,
    /// A record that ends where its segment ends is not read.
    TailOffByOne,
    /// A segment goes while one message in it waits.
    SegmentFreedEarly,
    /// The name of a new segment is not synced.
    SegmentNameNotSynced,
    /// The content of a large message is not synced.
    ExtentNotSynced,
    /// A message that is moved takes along for waiting who is settled.
    SettledForgottenInMove,
    /// What a take-over left half done is taken over once more.
    AdoptedTwice,
    /// `<>` is kept as somebody.
    NullSenderKeptWrong,
    /// Hiding dots are not put before lines that need them.
    DotNotHidden,
    /// Mail is retried for ever.
    RetryPastExpiry,
    /// Waiting mail has no timer.
    TimerLost,
    /// A nearer moment does not wake who watches the clock.
    BellNotHeard,
    /// A lane in back-off is never tried again.
    LaneNeverReopens,
    /// The wait before the next attempt is none.
    RetryTooSoon,
    /// A recipient that has to wait is forgotten.
    RecipientDropped,
    /// An outcome is taken for the next recipient.
    OutcomeSwapped,
    /// 4xx ends the matter.
    TemporaryIsPermanent,
    /// 5xx is tried again.
    PermanentIsTemporary,
    /// A connection that breaks after the dot counts as 250.
    LostIsDelivered,
    /// A delivery is not written down.
    SettleForgotten,
    /// A failure is settled, and nobody told.
    ReportLost,
    /// A report has a sender, to whom its own failure is reported.
    ReportForReport,
    /// Who wanted no report gets one.
    NotifyIgnored,
    /// A restart forgets that a delay was told.
    DelayForgotten,
    /// A restart forgets how often it was tried.
    AttemptsForgotten,
    /// A restart forgets that it is held.
    HoldForgotten,
    /// A restart makes it young again.
    AgeForgotten,
    /// A connection's permit is never given back.
    PermitLeaked,
    /// It is given back twice.
    PermitReturnedTwice,
    /// Memory is never given back.
    BudgetKept,
    /// A restart forgets what a source on its warm-up has sent today.
    WarmupForgotten,
    /// What a source may send is told before the disk knows it.
    WarmupNotSynced,
    /// An address is said to be on the suppression list before fdatasync.
    SuppressionBeforeSync,
    /// The list is written anew, and has its name before its content is synced.
    SuppressionsRewrittenUnsynced,
    /// What is added after that goes to the old file, where the name could not be synced.
    SuppressionsKeptInOldFile,
    /// A refusal is settled before the list has it.
    RefusalNotAwaited,
    /// A report is settled before the list has what follows from it.
    ReportNotAwaited,
    /// A report that is read once more counts once more.
    ReportCountedTwice,
    /// Who is taken off the list is forgotten, with the reports that were heard for him.
    RemovalForgetsReports,
}

#[cfg(any(test, feature = "sim"))]
impl Bug {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::ReceiptBeforeSync,
        Self::ChecksumIgnored,
        Self::TailOffByOne,
        Self::SegmentFreedEarly,
        Self::SegmentNameNotSynced,
        Self::ExtentNotSynced,
        Self::SettledForgottenInMove,
        Self::AdoptedTwice,
        Self::NullSenderKeptWrong,
        Self::DotNotHidden,
        Self::RetryPastExpiry,
        Self::TimerLost,
        Self::BellNotHeard,
        Self::LaneNeverReopens,
        Self::RetryTooSoon,
        Self::RecipientDropped,
        Self::OutcomeSwapped,
        Self::TemporaryIsPermanent,
        Self::PermanentIsTemporary,
        Self::LostIsDelivered,
        Self::SettleForgotten,
        Self::ReportLost,
        Self::ReportForReport,
        Self::NotifyIgnored,
        Self::DelayForgotten,
        Self::AttemptsForgotten,
        Self::HoldForgotten,
        Self::AgeForgotten,
        Self::PermitLeaked,
        Self::PermitReturnedTwice,
        Self::BudgetKept,
        Self::WarmupForgotten,
        Self::WarmupNotSynced,
        Self::SuppressionBeforeSync,
        Self::SuppressionsRewrittenUnsynced,
        Self::SuppressionsKeptInOldFile,
        Self::RefusalNotAwaited,
        Self::ReportNotAwaited,
        Self::ReportCountedTwice,
        Self::RemovalForgetsReports,
    ];
}

#[cfg(any(test, feature = "sim"))]
pub use on::{has, look, saw, seen, with};

/// True when a test has switched `bug` on. Never in the program.
#[cfg(not(any(test, feature = "sim")))]
#[must_use]
pub const fn has(_bug: Bug) -> bool {
    false
}

/// Something came to pass. Nobody counts it in the program.
#[cfg(not(any(test, feature = "sim")))]
pub const fn saw(_kind: &'static str, _what: &'static str) {}

/// A task of this kind does something: it may panic here, where a test of the program has asked for
/// that.
#[cfg(not(feature = "sim"))]
pub const fn tempt(_kind: &'static str) {}

/// A task of this kind does something: it panics each so manieth time, where `RINGPOST_PANIC` says
/// `KIND:TIMES`.
#[cfg(feature = "sim")]
#[allow(clippy::panic, reason = "that is what it is for")]
pub fn tempt(kind: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static DONE: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let said = std::env::var("RINGPOST_PANIC").ok()?;
        let (kind, times) = said.split_once(':')?;
        Some((kind.to_owned(), times.parse().ok()?))
    });
    // Never in what a panic drops.
    if let Some((planned, times)) = plan
        && planned == kind
        && !std::thread::panicking()
        && (DONE.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(*times)
    {
        panic!("the plan says that this task panics");
    }
}

#[cfg(any(test, feature = "sim"))]
mod on {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::Bug;

    thread_local! {
        static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
        static SEEN: RefCell<Seen> = const { RefCell::new(Seen::new()) };
    }

    /// How often what was seen, by kind and name.
    type Seen = BTreeMap<(&'static str, &'static str), u64>;

    /// Runs `trial` on this thread with `bug`, or without any.
    pub fn with<T>(bug: Option<Bug>, trial: impl FnOnce() -> T) -> T {
        let before = BUG.replace(bug);
        let result = trial();
        BUG.set(before);
        result
    }

    /// True when a test has switched `bug` on for this thread.
    #[must_use]
    pub fn has(bug: Bug) -> bool {
        BUG.get() == Some(bug)
    }

    /// Looks after the state of something, unless something is known to be wrong: a second panic would
    /// hide the first.
    pub fn look(audit: impl FnOnce()) {
        if !std::thread::panicking() {
            audit();
        }
    }

    /// Counts something that came to pass on this thread.
    pub fn saw(kind: &'static str, what: &'static str) {
        SEEN.with_borrow_mut(|seen| *seen.entry((kind, what)).or_default() += 1);
    }

    /// What came to pass on this thread since the last call.
    #[must_use]
    pub fn seen() -> Seen {
        SEEN.take()
    }
}
