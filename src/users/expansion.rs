//! Aliases that lead elsewhere, followed when a message comes: what they name becomes recipients of
//! the same envelope, so that one record on the disk holds all of them or none.
//!
//! ```text
//! RCPT all@d.test ─► all@d.test      the mailboxes here, and the word to the sender
//!                    me@far.test     on the sender's account, as if the sender had named it
//! ```
//!
//! The sender stays who it is: this is an alias, not a mailing list (RFC 5321 §3.9.1).

use std::collections::HashSet;

use super::Users;
use super::alias::Leads;
use crate::mail::envelope::{Envelope, Notify, Recipient};
use crate::wire::codec::encode_rfc822;
use crate::wire::path::Mailbox;

/// A message would have more recipients than one can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Users {
    /// Follows the aliases among the recipients that lead elsewhere, and names them. `leads` says where a recipient's mail goes.
    ///
    /// With one address to go to, what the sender asked for goes along, and that is all. With
    /// several, the alias answers for SUCCESS: each of them is told of failures alone (RFC 3461
    /// §5.2.7.2, §5.2.7.3 c).
    pub fn expand(
        &self,
        envelope: &mut Envelope,
        leads: impl Fn(&Mailbox) -> Leads,
    ) -> Result<Vec<Mailbox>, TooMany> {
        if self.alias.is_empty() {
            return Ok(Vec::new());
        }
        let all: Vec<Leads> = envelope
            .recipients
            .iter()
            .map(|recipient| leads(&recipient.mailbox))
            .collect();
        if all.iter().all(|leads| leads.elsewhere.is_empty()) {
            return Ok(Vec::new());
        }
        let mut followed = Vec::new();
        let written = envelope.recipients.iter();
        let mut named: HashSet<String> = written.map(|one| key(&one.mailbox)).collect();
        let mut expanded = Vec::with_capacity(envelope.recipients.len() + 1);
        for (recipient, leads) in envelope.recipients.iter().zip(all) {
            if leads.elsewhere.is_empty() {
                expanded.push(recipient.clone());
                continue;
            }
            followed.push(recipient.mailbox.clone());
            let is_single = leads.here.is_empty() && leads.elsewhere.len() == 1;
            let notify = recipient.notify.map(|notify| Notify {
                success: notify.success && is_single,
                ..notify
            });
            let wants_success = recipient.notify.is_some_and(|notify| notify.success);
            if !leads.here.is_empty() || (wants_success && !is_single) {
                expanded.push(Recipient {
                    expanded: true,
                    ..recipient.clone()
                });
            }
            for address in &leads.elsewhere {
                // `Users::leads` names nothing else.
                let Ok(mailbox) = Mailbox::parse(address.as_bytes(), true) else {
                    continue;
                };
                if named.insert(key(&mailbox)) {
                    expanded.push(Recipient {
                        mailbox,
                        notify,
                        orcpt: Some(original(recipient)),
                        expanded: false,
                    });
                }
            }
        }
        if expanded.len() > RECIPIENTS_MAX {
            return Err(TooMany);
        }
        envelope.recipients = expanded;
        Ok(followed)
    }
}

/// Whom the sender named: as the sender said, or as it was written here (RFC 3461 §5.2.1).
fn original(recipient: &Recipient) -> Box<str> {
    let written = recipient.mailbox.as_str();
    recipient.orcpt.clone().unwrap_or_else(|| {
        if written.is_ascii() {
            return encode_rfc822(written).into();
        }
        // RFC 6533 §3, the form that goes over every connection.
        let mut orcpt = String::from("utf-8;");
        for letter in written.chars() {
            match letter {
                '!'..='~' if !"+=\\".contains(letter) => orcpt.push(letter),
                _ => orcpt += &format!("\\x{{{:02X}}}", u32::from(letter)),
            }
        }
        orcpt.into()
    })
}

/// The same for the same mailbox: domains know no case.
fn key(mailbox: &Mailbox) -> String {
    format!(
        "{}@{}",
        mailbox.local_part(),
        mailbox.domain().to_lowercase()
    )
}

/// A recipient is named by its place, which is a `u16`.
const RECIPIENTS_MAX: usize = u16::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::envelope::BodyKind;
    use crate::users::User;
    use crate::wire::path::ReversePath;

    const SUCCESS: Notify = Notify {
        success: true,
        failure: true,
        delay: false,
    };
    const FAILURE: Notify = Notify {
        success: false,
        ..SUCCESS
    };

    fn users(aliases: &str) -> Users {
        let mut users: Users = toml::from_str(&format!("[alias]\n{aliases}")).unwrap();
        users.add("ann@d.test", User::new("secret", Vec::new()).unwrap());
        users
    }

    fn envelope(recipients: &[(&str, Option<Notify>)]) -> Envelope {
        let recipients = recipients.iter().map(|(address, notify)| Recipient {
            mailbox: Mailbox::parse(address.as_bytes(), true).unwrap(),
            notify: *notify,
            orcpt: None,
            expanded: false,
        });
        Envelope {
            reverse_path: ReversePath(None),
            ret: None,
            envid: None,
            body: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            standing: Default::default(),
            recipients: recipients.collect(),
        }
    }

    /// `ADDRESS NOTIFY ORCPT expanded`, what of it there is, after the aliases were followed.
    fn expand(users: &Users, recipients: &[(&str, Option<Notify>)]) -> Vec<String> {
        let mut envelope = envelope(recipients);
        let is_ours = |address: &str| address.ends_with("@d.test");
        let leads = |mailbox: &Mailbox| match is_ours(mailbox.as_str()) {
            true => users.leads(mailbox.as_str(), is_ours),
            false => Leads::default(),
        };
        users.expand(&mut envelope, leads).unwrap();
        let shown = envelope.recipients.iter().map(|one| {
            let notify = match one.notify {
                None => "-",
                Some(SUCCESS) => "success",
                Some(FAILURE) => "failure",
                Some(_) => "other",
            };
            let mut shown = format!("{} {notify}", one.mailbox);
            if let Some(orcpt) = &one.orcpt {
                shown = format!("{shown} {orcpt}");
            }
            if one.expanded {
                shown.push_str(" expanded");
            }
            shown
        });
        shown.collect()
    }

    #[test]
    fn one_address_takes_over_everything() {
        let users = users("\"out@d.test\" = [\"Me@far.test\"]\n");
        assert_eq!(
            expand(&users, &[("Out@d.test", Some(SUCCESS))]),
            ["Me@far.test success rfc822;Out@d.test"]
        );
        assert_eq!(
            expand(&users, &[("out@d.test", None), ("b@other.test", None)]),
            ["Me@far.test - rfc822;out@d.test", "b@other.test -"]
        );
    }

    #[test]
    fn the_address_that_was_written_goes_over_every_connection() {
        let users = users("\"büro+x@d.test\" = [\"a@far.test\"]\n");
        assert_eq!(
            expand(&users, &[("b\u{fc}ro+x@d.test", None)]),
            ["a@far.test - utf-8;b\\x{FC}ro\\x{2B}x@d.test"]
        );
    }

    #[test]
    fn of_several_addresses_the_alias_answers_for_success() {
        let users = users(
            "\"out@d.test\" = [\"a@far.test\", \"b@far.test\"]\n\"all@d.test\" = [\"ann@d.test\", \"c@far.test\"]\n",
        );
        assert_eq!(
            expand(&users, &[("out@d.test", Some(SUCCESS))]),
            [
                "out@d.test success expanded",
                "a@far.test failure rfc822;out@d.test",
                "b@far.test failure rfc822;out@d.test"
            ]
        );
        assert_eq!(
            expand(&users, &[("out@d.test", Some(FAILURE))]),
            [
                "a@far.test failure rfc822;out@d.test",
                "b@far.test failure rfc822;out@d.test"
            ]
        );
        assert_eq!(
            expand(&users, &[("all@d.test", None)]),
            ["all@d.test - expanded", "c@far.test - rfc822;all@d.test"]
        );
    }

    #[test]
    fn nobody_gets_it_twice_and_what_leads_nowhere_else_stays() {
        let users = users(
            "\"one@d.test\" = [\"a@far.test\"]\n\"two@d.test\" = [\"a@FAR.test\", \"b@far.test\"]\n",
        );
        assert_eq!(
            expand(&users, &[("one@d.test", None), ("two@d.test", None)]),
            [
                "a@far.test - rfc822;one@d.test",
                "b@far.test - rfc822;two@d.test"
            ]
        );
        assert_eq!(
            expand(&users, &[("one@d.test", None), ("a@far.test", None)]),
            ["a@far.test -"]
        );
        assert_eq!(
            expand(&users, &[("ann@d.test", None), ("x@far.test", None)]),
            ["ann@d.test -", "x@far.test -"]
        );
    }

    #[test]
    fn more_recipients_than_have_a_number_are_refused() {
        let mut users = users("");
        let targets: Vec<String> = (0..=RECIPIENTS_MAX)
            .map(|place| format!("a{place}@far.test"))
            .collect();
        users.alias.insert("out@d.test".to_owned(), targets);
        let mut envelope = envelope(&[("out@d.test", None)]);
        let before = envelope.clone();
        let leads = |mailbox: &Mailbox| users.leads(mailbox.as_str(), |_| false);
        assert_eq!(users.expand(&mut envelope, leads), Err(TooMany));
        assert_eq!(envelope, before);
    }
}
