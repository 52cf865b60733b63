//! Did the relay keep its word? The ledger of a run against the promises of a mail system.
//!
//! 1. A 250 after the dot is a promise: each recipient of it gets the message, or its sender a
//!    report. (That it was on the disk by then, power cuts find out.)
//! 2. Nothing is delivered twice, unless nobody could know that it had been delivered: the answer
//!    was not read, or the power went before it was written down.
//! 3. Nothing comes from nowhere, and what comes is what was sent, octet for octet, below the
//!    trace fields.
//! 4. A destination sees no more connections than its limit, all shards together.
//! 5. A recipient that said "later" is not asked again before its time, and nobody is asked when the
//!    message's time is over.
//! 6. No report is sent to `<>`, or about mail from it, or to who asked for none.
//! 7. Who said no for good is not asked again; that mail failed is said only where somebody said no, or
//!    its time was over.
//! 8. Nobody reads a message, or who it is from and for, who may not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::peers::guard::Trust;
use super::peers::ledger::{Attempt, Copy, Entries, Fate, Submission, find, token_in, token_of};

/// What a run allows.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Connections to one destination.
    pub connections_max: usize,
    /// The least time between two attempts for one recipient at one host.
    pub retry_wait_min: Duration,
    /// The most time between them, where the host only said "later".
    pub retry_wait_max: Duration,
    /// The age at which mail fails.
    pub expire: Duration,
    /// How long after an answer its settling may still be lost with the power.
    pub settle_lag: Duration,
    /// The moment of the judgement.
    pub now: Duration,
    /// Everything was given the time to end: who was promised something has got it.
    pub has_ended: bool,
    /// What must be known of who reads a message.
    pub trust: Trust,
    /// The domain of return paths, which mail may have in place of its sender.
    pub return_domain: Option<&'static str>,
    /// The disk failed at times: a refused message may be found in the spool all the same.
    pub disk_failed: bool,
}

/// Every promise that was broken, a sentence each.
#[must_use]
pub fn broken_promises(entries: &Entries, terms: &Terms) -> Vec<String> {
    let mut court = Court {
        entries,
        terms,
        broken: Vec::new(),
        mail: BTreeMap::new(),
        reports: BTreeMap::new(),
        delays: BTreeMap::new(),
    };
    court.sort();
    court.nothing_is_lost();
    court.nothing_comes_twice();
    court.limits_hold();
    court.waits_hold();
    court.failures_have_reasons();
    court.nobody_else_reads();
    court.broken
}

struct Court<'a> {
    entries: &'a Entries,
    terms: &'a Terms,
    broken: Vec<String>,
    /// Copies by recipient, in their order.
    mail: BTreeMap<&'a str, Vec<&'a Copy>>,
    /// Copies of reports of failure, by the recipient they are about.
    reports: BTreeMap<String, Vec<&'a Copy>>,
    /// Copies of reports of delay, in the same way.
    delays: BTreeMap<String, Vec<&'a Copy>>,
}

impl<'a> Court<'a> {
    fn blame(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Sorts copies into mail and reports, and looks at each alone.
    fn sort(&mut self) {
        let entries = self.entries;
        for copy in &entries.copies {
            if copy.reverse_path.is_empty() && is_report(&copy.content) {
                self.sort_report(copy);
            } else {
                self.sort_mail(copy);
            }
        }
    }

    fn sort_mail(&mut self, copy: &'a Copy) {
        let Some(token) = token_in(&copy.content) else {
            return self.blame(format!("at {:?}: a copy without a token", copy.at));
        };
        let Some(submission) = self.entries.submissions.get(token.as_str()) else {
            return self.blame(format!("{token}: nobody handed it in"));
        };
        let may_exist = match submission.fate {
            Fate::Accepted | Fate::Unknown => true,
            Fate::BrokenOff => false,
            Fate::Refused(_) => self.terms.disk_failed,
        };
        if !may_exist {
            let fate = submission.fate;
            self.blame(format!("{token}: delivered, but the client saw {fate:?}"));
        }
        let is_return_path = |domain| copy.reverse_path.ends_with(domain);
        let is_kept = submission.reverse_path == copy.reverse_path;
        if !is_kept && !self.terms.return_domain.is_some_and(is_return_path) {
            self.blame(format!("{token}: sent as <{}>", copy.reverse_path));
        }
        if let Some(fault) = difference(submission, copy) {
            self.blame(format!("{token}: {fault}"));
        }
        let known = match submission.fate {
            Fate::Accepted => &submission.taken,
            _ => &submission.named,
        };
        let mut seen = BTreeSet::new();
        for recipient in &copy.recipients {
            if !known.contains(recipient) {
                self.blame(format!("{token}: {recipient} was never a recipient"));
            }
            if !seen.insert(recipient) {
                self.blame(format!("{token}: {recipient} twice in one transaction"));
            }
            self.mail.entry(recipient).or_default().push(copy);
        }
    }

    fn sort_report(&mut self, copy: &'a Copy) {
        for told in &copy.recipients {
            let Some(token) = token_of(told) else {
                self.blame(format!("a report to {told}, who sent nothing"));
                continue;
            };
            match self.entries.submissions.get(token) {
                None => self.blame(format!("{token}: a report about mail never handed in")),
                Some(submission) if submission.reverse_path.is_empty() => {
                    self.blame(format!("{token}: a report about mail from <>"));
                }
                Some(submission) if submission.reverse_path != *told => {
                    self.blame(format!("{token}: its report went to {told}"));
                }
                Some(_) => {}
            }
            for (recipient, action) in told_of(&copy.content) {
                if token_of(&recipient) != Some(token) {
                    self.blame(format!("{token}: its report is about {recipient}"));
                }
                if recipient.starts_with('n') {
                    self.blame(format!("{token}: {recipient} wanted no report"));
                }
                let book = match action.as_str() {
                    "failed" => &mut self.reports,
                    "delayed" => &mut self.delays,
                    _ => continue,
                };
                book.entry(recipient).or_default().push(copy);
            }
        }
    }

    fn nothing_is_lost(&mut self) {
        if !self.terms.has_ended {
            return;
        }
        let entries = self.entries;
        for (token, submission) in &entries.submissions {
            if submission.fate != Fate::Accepted {
                continue;
            }
            for recipient in &submission.taken {
                let has = |copies: Option<&Vec<&Copy>>| {
                    copies.is_some_and(|all| all.iter().any(|copy| copy.answer == Some(250)))
                };
                let is_over = submission.at + self.terms.expire <= self.terms.now;
                let excused = (is_over || self.was_refused(recipient))
                    && (submission.reverse_path.is_empty()
                        || recipient.starts_with('n')
                        || entries.reports_refused.contains(&**token));
                let arrived = has(self.mail.get(recipient.as_str()));
                if !arrived && !has(self.reports.get(recipient)) && !excused {
                    self.blame(format!(
                        "{token}: accepted at {:?}, and {recipient} never got it nor its sender a report",
                        submission.at
                    ));
                }
            }
        }
    }

    /// Did a host say no for good to this recipient, or where it cannot be told to whom?
    fn was_refused(&self, recipient: &str) -> bool {
        let entries = self.entries;
        // What it was told later brings an address onto the list, where it fails when it is tried again.
        let told = entries.told.get(recipient);
        entries.refused_unnamed > 0
            || entries.refused.contains(recipient)
            || told.is_some_and(|told| told.sure + told.maybe > 0)
    }

    fn nothing_comes_twice(&mut self) {
        let mut broken = Vec::new();
        for (recipient, copies) in &self.mail {
            if let Some(fault) = self.needless(copies) {
                broken.push(format!("{recipient}: {fault}"));
            }
        }
        for (recipient, copies) in &self.delays {
            if let Some(fault) = self.needless(copies) {
                broken.push(format!("report of the delay of {recipient}: {fault}"));
            }
        }
        for (recipient, copies) in &self.reports {
            if let Some(fault) = self.needless(copies) {
                broken.push(format!("report about {recipient}: {fault}"));
            }
            let settled = self.mail.get(recipient.as_str()).into_iter().flatten();
            for copy in settled.filter(|copy| copy.answer == Some(250)) {
                let later = copies.iter().any(|report| report.at > copy.at);
                if later && copy.read_by.is_some() && !self.may_be_forgotten(copy) {
                    broken.push(format!("{recipient}: has it, and its failure was reported"));
                }
            }
        }
        self.broken.extend(broken);
    }

    /// A copy that came after an answer which ended the matter.
    fn needless(&self, copies: &[&Copy]) -> Option<String> {
        for two in copies.windows(2) {
            let [copy, next] = two else { continue };
            let is_excused = match copy.answer {
                Some(250) => self.may_be_forgotten(copy),
                // A failure is written down with the report of it, which waits for others.
                Some(500..=599) => self.crashed_between(copy.at, next.at),
                _ => true,
            };
            if copy.read_by.is_some() && !is_excused {
                return Some(format!(
                    "was answered {} at {:?} (read by {:?}), and came again at {:?}",
                    copy.answer.unwrap_or(0),
                    copy.at,
                    copy.read_by.unwrap_or_default(),
                    next.at
                ));
            }
        }
        None
    }

    /// The power went before the answer to this copy was safely written down.
    fn may_be_forgotten(&self, copy: &Copy) -> bool {
        let until = copy.read_by.unwrap_or(copy.at) + self.terms.settle_lag;
        let crashes = self.entries.crashes.iter();
        crashes
            .into_iter()
            .any(|crash| (copy.at..=until).contains(crash))
    }

    fn limits_hold(&mut self) {
        for (destination, most) in &self.entries.busiest {
            if *most > self.terms.connections_max {
                let max = self.terms.connections_max;
                self.broken.push(format!(
                    "{destination}: {most} connections at a time, the limit is {max}"
                ));
            }
        }
    }

    fn waits_hold(&mut self) {
        let mut last: BTreeMap<(&str, _), &Attempt> = BTreeMap::new();
        for attempt in &self.entries.attempts {
            // A sender may get several reports, and each has its own schedule.
            if attempt.recipient.starts_with("s-") {
                continue;
            }
            let key = (attempt.recipient.as_str(), attempt.host);
            if let Some(before) = last.insert(key, attempt)
                && !self.crashed_between(before.at, attempt.at)
            {
                let waits = match before.code {
                    Some(450) => self.terms.retry_wait_min..=self.terms.retry_wait_max,
                    Some(550) => Duration::MAX..=Duration::MAX,
                    _ => Duration::ZERO..=Duration::MAX,
                };
                if !waits.contains(&attempt.at.saturating_sub(before.at)) {
                    self.broken.push(format!(
                        "{}: answered {:?} at {:?}, asked again at {:?}",
                        attempt.recipient, before.code, before.at, attempt.at
                    ));
                }
            }
            let end = self.end_of(&attempt.recipient);
            if end.is_some_and(|end| attempt.at > end + ATTEMPT_TIME) {
                self.broken.push(format!(
                    "{}: asked at {:?}, when its time was over",
                    attempt.recipient, attempt.at
                ));
            }
        }
    }

    /// When the time of a recipient's message is over.
    fn end_of(&self, recipient: &str) -> Option<Duration> {
        let submission = self.entries.submissions.get(token_of(recipient)?)?;
        Some(submission.at + self.terms.expire)
    }

    fn failures_have_reasons(&mut self) {
        let mut broken = Vec::new();
        for (recipient, copies) in &self.reports {
            let end = self.end_of(recipient);
            let first = copies.first().map(|copy| copy.at);
            let is_over = end
                .zip(first)
                .is_some_and(|(end, first)| first + REPLY_TIME >= end);
            if !is_over && !self.was_refused(recipient) {
                broken.push(format!(
                    "{recipient}: nobody refused it, and at {:?} its failure was reported",
                    first.unwrap_or_default()
                ));
            }
        }
        self.broken.extend(broken);
    }

    fn nobody_else_reads(&mut self) {
        let wanted = self.terms.trust;
        for (trust, many) in self.entries.envelopes.range(..wanted) {
            self.broken.push(format!(
                "{many} envelopes were told to whoever reads, {trust:?} in place of {wanted:?}"
            ));
        }
    }

    fn crashed_between(&self, from: Duration, to: Duration) -> bool {
        let mut crashes = self.entries.crashes.iter();
        crashes.any(|crash| (from..=to).contains(crash))
    }
}

/// How long a message may have been accepted before its client knew.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// How long an attempt may take that was begun in time.
const ATTEMPT_TIME: Duration = Duration::from_secs(120);

/// How a copy differs from what was sent, but for trace fields at its top.
fn difference(submission: &Submission, copy: &Copy) -> Option<String> {
    let sent = &submission.content;
    if !copy.is_eight_bit && !sent.is_ascii() {
        // It had to be rewritten for its next hop (RFC 6152 §3).
        return (!copy.content.is_ascii()).then(|| "eight bits to a host of seven".to_owned());
    }
    let Some(trace) = copy.content.strip_suffix(sent.as_slice()) else {
        let same = sent.iter().rev().zip(copy.content.iter().rev());
        let tail = same.take_while(|(sent, got)| sent == got).count();
        return Some(format!(
            "content differs: {} octets sent, {} came, the last {tail} are the same",
            sent.len(),
            copy.content.len()
        ));
    };
    let trace = String::from_utf8_lossy(trace);
    let odd = trace.lines().find(|line| {
        let is_trace = ["Received:", "Return-Path:", " ", "\t"];
        !is_trace.iter().any(|start| line.starts_with(start))
    });
    odd.map(|line| format!("`{line}` was put before it"))
}

fn is_report(content: &[u8]) -> bool {
    find(content, b"report-type=delivery-status").is_some()
        || find(content, b"message/delivery-status").is_some()
}

/// Recipients and actions in a report (RFC 3464 §2.3).
fn told_of(content: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(content);
    let mut found = Vec::new();
    let mut recipient = None;
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("Final-Recipient") {
            recipient = value
                .split_once(';')
                .map(|(_, address)| address.trim().to_owned());
        } else if name.eq_ignore_ascii_case("Action")
            && let Some(recipient) = recipient.take()
        {
            found.push((recipient, value.trim().to_ascii_lowercase()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TERMS: Terms = Terms {
        connections_max: 2,
        retry_wait_min: Duration::from_secs(60),
        retry_wait_max: Duration::from_secs(70),
        expire: Duration::from_secs(5_000),
        now: Duration::from_secs(4_000),
        settle_lag: Duration::from_secs(1),
        has_ended: true,
        disk_failed: false,
        return_domain: None,
        trust: Trust::Encrypted,
    };
    const CONTENT: &str = "X-Token: t0x1\r\nSubject: x\r\n\r\n.dots\r\n";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn copy(at: u64, answer: Option<u16>, is_read: bool) -> Copy {
        Copy {
            at: seconds(at),
            host: Ipv4Addr::LOCALHOST.into(),
            reverse_path: "s-t0x1@s.test".into(),
            recipients: vec!["r0-t0x1@a.test".into()],
            content: format!("Received: from a\r\n\tby b\r\n{CONTENT}").into(),
            is_eight_bit: true,
            answer,
            read_by: is_read.then(|| seconds(at)),
        }
    }

    fn report(at: u64) -> Copy {
        Copy {
            reverse_path: String::new(),
            recipients: vec!["s-t0x1@s.test".into()],
            content: b"Content-Type: message/delivery-status\r\n\r\nFinal-Recipient: rfc822; r0-t0x1@a.test\r\nAction: failed\r\n".into(),
            ..copy(at, Some(250), true)
        }
    }

    fn book(copies: Vec<Copy>) -> Entries {
        let mut entries = Entries {
            copies,
            ..Entries::default()
        };
        let submission = Submission {
            at: seconds(1),
            reverse_path: "s-t0x1@s.test".into(),
            named: vec!["r0-t0x1@a.test".into()],
            taken: vec!["r0-t0x1@a.test".into()],
            content: CONTENT.into(),
            fate: Fate::Accepted,
        };
        entries.submissions.insert("t0x1".into(), submission);
        entries
    }

    fn verdict(entries: &Entries) -> String {
        broken_promises(entries, &TERMS).join("; ")
    }

    #[test]
    fn delivered_once_or_reported_is_a_promise_kept() {
        assert_eq!(verdict(&book(vec![copy(2, Some(250), true)])), "");
        let mut refused = book(vec![report(3)]);
        refused.refused.insert("r0-t0x1@a.test".into());
        assert_eq!(verdict(&refused), "");
        assert_eq!(verdict(&book(vec![report(5_001)])), "");
        assert!(verdict(&book(vec![report(3)])).contains("nobody refused it"));
        assert_eq!(
            verdict(&book(vec![copy(2, None, false), copy(9, Some(250), true)])),
            ""
        );
        assert_eq!(
            verdict(&book(vec![
                copy(2, Some(250), false),
                copy(9, Some(250), true)
            ])),
            ""
        );
    }

    #[test]
    fn a_loss_is_found() {
        assert!(verdict(&book(vec![])).contains("never got it"));
        assert!(verdict(&book(vec![copy(2, None, false)])).contains("never got it"));
        assert!(verdict(&book(vec![copy(2, Some(451), true)])).contains("never got it"));
    }

    #[test]
    fn a_needless_copy_is_found_and_a_crash_excuses_it() {
        let mut entries = book(vec![copy(2, Some(250), true), copy(9, Some(250), true)]);
        assert!(verdict(&entries).contains("came again"));
        entries.crashes.push(seconds(2));
        assert_eq!(verdict(&entries), "");
        entries.crashes[0] = seconds(5);
        assert!(verdict(&entries).contains("came again"));
        assert!(verdict(&book(vec![copy(2, Some(250), true), report(9)])).contains("reported"));
    }

    #[test]
    fn strange_mail_is_found() {
        let mut entries = book(vec![copy(2, Some(250), true)]);
        entries.copies[0].content.extend_from_slice(b"more\r\n");
        assert!(verdict(&entries).contains("differs"));
        let mut entries = book(vec![copy(2, Some(250), true)]);
        entries.copies[0].recipients.push("eve@a.test".into());
        assert!(verdict(&entries).contains("never a recipient"));
        for fate in [Fate::BrokenOff, Fate::Refused(452)] {
            let mut entries = book(vec![copy(2, Some(250), true)]);
            entries
                .submissions
                .values_mut()
                .for_each(|one| one.fate = fate);
            assert!(verdict(&entries).contains("the client saw"));
        }
        let mut entries = book(vec![copy(2, Some(250), true)]);
        entries.submissions.clear();
        assert!(verdict(&entries).contains("nobody handed it in"));
    }

    #[test]
    fn reports_where_there_must_be_none_are_found() {
        let mut entries = book(vec![report(2)]);
        entries
            .submissions
            .values_mut()
            .for_each(|one| one.reverse_path.clear());
        assert!(verdict(&entries).contains("from <>"));
    }

    #[test]
    fn what_everybody_may_read_is_found() {
        let mut entries = book(vec![copy(2, Some(250), true)]);
        entries.envelopes.insert(Trust::Proved, 1);
        entries.envelopes.insert(Trust::Encrypted, 1);
        assert_eq!(verdict(&entries), "");
        entries.envelopes.insert(Trust::Plain, 1);
        assert!(verdict(&entries).contains("told to whoever reads"));
    }

    #[test]
    fn limits_and_waits_are_watched() {
        let mut entries = book(vec![copy(2, Some(250), true)]);
        entries.busiest.insert("a.test".into(), 3);
        assert!(verdict(&entries).contains("3 connections"));
        let mut entries = book(vec![copy(2, Some(250), true)]);
        for at in [10, 30] {
            entries.attempts.push(Attempt {
                at: seconds(at),
                host: Ipv4Addr::LOCALHOST.into(),
                recipient: "r0-t0x1@a.test".into(),
                code: Some(450),
            });
        }
        assert!(verdict(&entries).contains("asked again"));
        entries.attempts[1].at = seconds(90);
        assert!(verdict(&entries).contains("asked again"));
        entries.attempts[1].at = seconds(80);
        assert_eq!(verdict(&entries), "");
    }
}
