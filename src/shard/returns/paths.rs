//! Return paths as a shard uses them: which mail leaves with one, and which addresses take what comes
//! back.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Config, Reporter, ReturnDomain};
use crate::mail::envelope::Envelope;
use crate::mail::verp::{Keys, Sent, Token, is_return_path};
use crate::shard::life::settings::Settings;
use crate::shard::message::Message;
use crate::smtp::reply::Reply;
use crate::time::Wall;
use crate::wire::path::Mailbox;

/// What `[returns]` says.
pub(in crate::shard) struct Paths {
    keys: Arc<Keys>,
    /// The domain of all mail whose tenant says nothing.
    usual: Option<Rc<str>>,
    /// By the names of all tenants: return paths have hashes of these.
    by_tenant: BTreeMap<Box<str>, Option<Rc<str>>>,
    domains: HashSet<Box<str>>,
    /// In lower case.
    feedback: HashSet<Box<str>>,
    /// Seconds.
    valid: i64,
    forwards: bool,
}

/// What an address takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Kind {
    /// Reports about one message to one recipient, as far as it holds.
    Path,
    /// Complaints.
    Feedback,
    /// Letters to whoever is responsible for the domain (RFC 5321 §4.5.1, RFC 2142 §4).
    Desk,
}

impl Paths {
    pub(in crate::shard) fn new(config: &Config, keys: Arc<Keys>) -> Self {
        let usual: Option<Rc<str>> = config.returns.domain.as_deref().map(Rc::from);
        let of_tenant = |tenant: &crate::config::Tenant| {
            let domain = match &tenant.return_domain {
                ReturnDomain::Usual => usual.clone(),
                ReturnDomain::Kept => None,
                ReturnDomain::Named(name) => Some(Rc::from(&**name)),
            };
            ((&*tenant.name).into(), domain)
        };
        let feedback = config.returns.feedback.iter();
        Self {
            keys,
            by_tenant: config.tenant.iter().map(of_tenant).collect(),
            usual,
            domains: config.return_domains().map(Into::into).collect(),
            feedback: feedback
                .map(|mailbox| mailbox.as_str().to_ascii_lowercase().into())
                .collect(),
            valid: i64::try_from(config.returns.valid.as_secs()).unwrap_or(i64::MAX),
            forwards: config.returns.forward.is_some(),
        }
    }

    /// The domain of a message's return paths; `None`: it leaves with its sender. Reports have nobody to
    /// come back to, and what comes from a return path keeps it.
    pub(in crate::shard) fn domain(&self, envelope: &Envelope) -> Option<&str> {
        let sender = envelope.reverse_path.0.as_ref()?;
        let tenant = envelope.standing.tenant.as_deref();
        let own = tenant.and_then(|tenant| self.by_tenant.get(tenant));
        let domain = own.unwrap_or(&self.usual).as_deref()?;
        (!self.domains.contains(sender.domain())).then_some(domain)
    }

    /// The return path of a message to one recipient.
    pub(in crate::shard) fn path(&self, message: &Message, recipient: &Mailbox) -> Option<String> {
        let standing = &message.envelope.standing;
        let sent = Sent {
            id: message.id,
            recipient: recipient.as_str(),
            tenant: standing.tenant.as_deref(),
            tag: standing.tag.as_deref(),
        };
        let domain = self.domain(&message.envelope)?;
        Some(self.keys.return_path(&sent, domain))
    }

    /// What an address takes, whether it holds or not; `None`: it is none of these.
    pub(in crate::shard) fn kind(&self, mailbox: &Mailbox) -> Option<Kind> {
        let is_feedback = || match mailbox.as_str() {
            text if text.bytes().any(|octet| octet.is_ascii_uppercase()) => {
                self.feedback.contains(&*text.to_ascii_lowercase())
            }
            text => self.feedback.contains(text),
        };
        if !self.feedback.is_empty() && is_feedback() {
            return Some(Kind::Feedback);
        }
        if !self.domains.contains(mailbox.domain()) {
            return None;
        }
        let local_part = mailbox.local_part();
        let is_desk = || {
            DESKS
                .iter()
                .any(|name| local_part.eq_ignore_ascii_case(name))
        };
        match is_return_path(local_part) {
            true => Some(Kind::Path),
            false => (self.forwards && is_desk()).then_some(Kind::Desk),
        }
    }

    /// What a return path says that holds, and is not too old.
    pub(in crate::shard) fn read(&self, mailbox: &str, now: Wall) -> Option<Token> {
        let (local_part, domain) = mailbox.rsplit_once('@')?;
        let is_ours = match domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
            true => self.domains.contains(&*domain.to_ascii_lowercase()),
            false => self.domains.contains(domain),
        };
        let token = self.keys.read(local_part).filter(|_| is_ours)?;
        let age = now.seconds().saturating_sub(token.id.seconds());
        (age <= self.valid).then_some(token)
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The tenant whose message it was, as far as he is known.
    pub(super) fn tenant(&self, token: &Token) -> Option<&str> {
        let names = self.by_tenant.keys().map(|name| &**name);
        self.keys.tenant(token, names)
    }
}

impl Settings {
    /// What an address takes of that which comes back; `None`: nothing.
    pub(in crate::shard) fn return_kind(&self, mailbox: &Mailbox) -> Option<Kind> {
        self.returns.as_ref()?.kind(mailbox)
    }

    /// May mail for an address come in, as far as it is one that takes what comes back? `None`: it is
    /// none.
    pub(in crate::shard) fn judge_return(
        &self,
        mailbox: &Mailbox,
        now: Wall,
    ) -> Option<Result<(), Reply>> {
        let paths = self.returns.as_ref()?;
        let holds = match paths.kind(mailbox) {
            Some(Kind::Path) => paths.read(mailbox.as_str(), now).is_some(),
            Some(Kind::Feedback | Kind::Desk) => true,
            // Where no route says what becomes of its other addresses, there are none.
            None => {
                let is_bare = paths.domains.contains(mailbox.domain())
                    && self.routes.place(mailbox.domain()).is_none();
                return is_bare.then(|| Err(Reply::no_such_mailbox()));
            }
        };
        Some(match holds {
            true => Ok(()),
            false => Err(Reply::no_such_mailbox()),
        })
    }

    /// Who of those who may complain of any address has sent a message: a network that its client is
    /// in, or a domain that has signed it.
    pub(in crate::shard) fn reporter(
        &self,
        client: std::net::IpAddr,
        signers: &[String],
    ) -> Option<String> {
        let client = client.to_canonical();
        let is_it = |one: &&Reporter| match one {
            Reporter::Network(network) => network.contains(&client),
            Reporter::Domain(domain) => signers.iter().any(|signer| {
                let above = signer.strip_suffix(domain.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }),
        };
        let found = self.config.returns.reporters.iter().find(is_it);
        found.map(Reporter::written)
    }
}

const DESKS: [&str; 2] = ["postmaster", "abuse"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Returns, Tenant};
    use crate::mail::envelope::{QueueId, Standing};
    use crate::wire::path::ReversePath;

    const DAY: i64 = 86_400;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text.as_bytes(), false).unwrap()
    }

    fn paths(forward: Option<&str>) -> Paths {
        let tenant = |name: &str, return_domain| Tenant {
            name: name.to_owned(),
            return_domain,
            ..Tenant::default()
        };
        let config = Config {
            returns: Returns {
                domain: Some("r.test".to_owned()),
                feedback: vec![mailbox("FBL@c.test")],
                forward: forward.map(mailbox),
                ..Returns::default()
            },
            tenant: vec![
                tenant("red", ReturnDomain::Named("b.red.test".to_owned())),
                tenant("blue", ReturnDomain::Kept),
                tenant("green", ReturnDomain::Usual),
            ],
            ..Config::default()
        };
        let keys = Keys::parse("0123456789abcdef0123456789abcdef").unwrap();
        Paths::new(&config, Arc::new(keys))
    }

    fn envelope(sender: Option<&str>, tenant: Option<&str>) -> Envelope {
        Envelope {
            reverse_path: ReversePath(sender.map(mailbox)),
            standing: Standing {
                tenant: tenant.map(Into::into),
                ..Standing::default()
            },
            ..Envelope::default()
        }
    }

    #[test]
    fn a_tenant_says_whether_its_senders_stay() {
        let paths = paths(None);
        for (sender, tenant, domain) in [
            (Some("a@c.test"), None, Some("r.test")),
            (Some("a@c.test"), Some("red"), Some("b.red.test")),
            (Some("a@c.test"), Some("blue"), None),
            (Some("a@c.test"), Some("green"), Some("r.test")),
            (Some("a@c.test"), Some("nobody knows"), Some("r.test")),
            (None, Some("red"), None),
            (Some("b+x@r.test"), Some("red"), None),
        ] {
            let found = envelope(sender, tenant);
            assert_eq!(paths.domain(&found), domain, "{sender:?} {tenant:?}");
        }
    }

    #[test]
    fn an_address_takes_what_it_is_for_and_a_path_only_for_its_time() {
        let open = paths(Some("ops@c.test"));
        for (address, kind) in [
            ("fbl@C.test", Some(Kind::Feedback)),
            ("B+anything@r.test", Some(Kind::Path)),
            ("b+x@b.red.test", Some(Kind::Path)),
            ("b+x@c.test", None),
            ("Postmaster@r.test", Some(Kind::Desk)),
            ("bob@r.test", None),
        ] {
            assert_eq!(open.kind(&mailbox(address)), kind, "{address}");
        }
        assert_eq!(paths(None).kind(&mailbox("abuse@r.test")), None);
        let sent = Sent {
            id: QueueId(1_000_000_000 << 30),
            recipient: "b@d.test",
            tenant: Some("green"),
            tag: None,
        };
        let path = open.keys.return_path(&sent, "R.test");
        let at = |days: i64| Wall((1_000_000_000 + days * DAY) * 1_000_000);
        let token = open.read(&path, at(30)).unwrap();
        assert_eq!(open.tenant(&token), Some("green"));
        assert_eq!(open.read(&path, at(31)), None);
        let elsewhere = open.keys.return_path(&sent, "c.test");
        assert_eq!(open.read(&elsewhere, at(0)), None);
    }
}
