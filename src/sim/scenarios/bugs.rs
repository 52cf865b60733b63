//! The proof that these plays can fail: with a bug switched on, one of them does not end well.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{hardships, suppressing, waiting, warming};
use crate::trial::{self, Bug};

/// The play that shows a bug.
const fn play_for(bug: Bug) -> (&'static str, fn(u64)) {
    match bug {
        Bug::ReceiptBeforeSync | Bug::SegmentNameNotSynced => ("power cuts", super::power_cuts),
        Bug::ExtentNotSynced => ("large messages", super::large_messages),
        Bug::ChecksumIgnored => ("power cut in a write", super::power_cut_in_a_write),
        Bug::TailOffByOne | Bug::SegmentFreedEarly => ("sweeping", hardships::sweeping),
        Bug::SettledForgottenInMove => ("power cut in sweeping", hardships::power_cut_in_sweeping),
        Bug::AdoptedTwice => ("power cut in take-over", hardships::power_cut_in_take_over),
        Bug::SettleForgotten => ("power cuts", super::power_cuts),
        Bug::LostIsDelivered
        | Bug::ReportLost
        | Bug::ReportForReport
        | Bug::NotifyIgnored
        | Bug::OutcomeSwapped
        | Bug::TemporaryIsPermanent
        | Bug::PermanentIsTemporary
        | Bug::RecipientDropped
        | Bug::TimerLost
        | Bug::PermitLeaked
        | Bug::PermitReturnedTwice => ("moody hosts", super::moody_hosts),
        Bug::DotNotHidden | Bug::BudgetKept => ("good weather", super::good_weather),
        Bug::BellNotHeard => ("in time", waiting::in_time),
        Bug::LaneNeverReopens => ("expiry", hardships::expiry),
        Bug::RetryPastExpiry | Bug::RetryTooSoon | Bug::DelayForgotten | Bug::AgeForgotten => {
            ("later for ever", waiting::later_for_ever)
        }
        Bug::WarmupForgotten | Bug::WarmupNotSynced => ("weeks of warm-up", warming::for_weeks),
        Bug::AttemptsForgotten | Bug::HoldForgotten | Bug::NullSenderKeptWrong => {
            ("restart", waiting::restart)
        }
        Bug::SuppressionBeforeSync
        | Bug::RefusalNotAwaited
        | Bug::ReportNotAwaited
        | Bug::ReportCountedTwice
        | Bug::RemovalForgetsReports => ("ends under the list", suppressing::ends),
        Bug::SuppressionsRewrittenUnsynced => ("power cuts in the list", suppressing::cuts),
        Bug::SuppressionsKeptInOldFile => ("a bad disk under the list", suppressing::disk),
    }
}

/// Plays a seed with a bug; what the play complained of, if it did.
fn complaint(bug: Bug, play: fn(u64), seed: u64) -> Option<String> {
    let trial = || catch_unwind(AssertUnwindSafe(|| play(seed)));
    trial::with(Some(bug), trial).err().map(words)
}

/// The first line that says something.
fn words(said: Box<dyn Any + Send>) -> String {
    let text = said.downcast_ref::<&str>().copied();
    let text = text.or_else(|| said.downcast_ref::<String>().map(String::as_str));
    let mut lines = text.unwrap_or_default().lines();
    let first = lines.next().unwrap_or_default();
    let said = match first.ends_with(':') {
        true => format!("{first} {}", lines.next().unwrap_or_default()),
        false => first.to_owned(),
    };
    said.chars().take(COMPLAINT_MAX).collect()
}

/// Each bug is found within [`SEEDS_MAX`] runs of a play that ends well without it. `--nocapture`
/// shows how many it took, and what was complained of; `RINGPOST_BUG` tries those alone that begin so.
#[test]
fn every_bug_is_found() {
    let (mut table, mut missed) = (String::new(), Vec::new());
    let wanted = std::env::var("RINGPOST_BUG").unwrap_or_default();
    let is_wanted = |bug: &Bug| format!("{bug:?}").starts_with(&wanted);
    for bug in Bug::ALL.into_iter().filter(is_wanted) {
        let (name, play) = play_for(bug);
        let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, complaint(bug, play, seed)?)));
        let row = match &found {
            Some((seed, why)) => format!("{:>2} | {why}", seed + 1),
            None => "never".to_owned(),
        };
        eprintln!("BUG {bug:?} | {name} | {row}");
        let _ = writeln!(table, "{bug:?} | {name} | {row}");
        if found.is_none() {
            missed.push(bug);
        }
    }
    println!("\nbug | play | runs | complaint\n{table}");
    assert!(missed.is_empty(), "nobody noticed {missed:?}:\n{table}");
}

/// Letters of a complaint in the table.
const COMPLAINT_MAX: usize = 160;
/// Runs within which a bug must show.
const SEEDS_MAX: u64 = 40;
