//! Faults of `[returns]` that no key alone can know.

use super::{Named, Reader};
use crate::config::{Config, Reporter, returns};
use crate::wire::path::Mailbox;

impl Reader<'_> {
    pub(super) fn check_returns(&mut self, config: &Config) {
        let settings = &config.returns;
        if let Some(path) = &settings.key
            && self.named == Named::Read
            && let Err(why) = returns::read(path.clone())
        {
            self.fault(self.place("returns.key"), format!("key: {why}"));
        }
        // What is forwarded would come back, again and again. Case makes no difference to who reads it.
        let is_it = |one: &Mailbox| {
            let forward = settings.forward.as_ref().map(Mailbox::as_str);
            forward.is_some_and(|forward| forward.eq_ignore_ascii_case(one.as_str()))
        };
        if let Some(forward) = &settings.forward
            && (settings.feedback.iter().any(is_it)
                || config.return_domains().any(|name| name == forward.domain()))
        {
            let message = format!("forward: {forward} is an address that comes back here");
            self.fault(self.place("returns.forward"), message);
        }
        let is_domain = |one: &&Reporter| matches!(one, Reporter::Domain(_));
        if let Some(domain) = settings.reporters.iter().find(is_domain)
            && !config.listener.iter().any(|listener| listener.verify)
        {
            let message = format!(
                "reporters: who signs is found out by listeners with verify = true alone, and {} is a domain",
                domain.written()
            );
            self.fault(self.place("returns.reporters"), message);
        }
        let own = config.hostname.as_deref();
        let is_own = |name: &str| own.is_some_and(|own| own.eq_ignore_ascii_case(name));
        if config.returns.domain.as_deref().is_some_and(is_own) {
            let message =
                "domain: this is the relay's own name: return paths need a domain of theirs";
            self.fault(self.place("returns.domain"), message.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::judge;

    #[test]
    fn returns_that_cannot_work_are_told_of_where_they_stand() {
        for (text, place, words) in [
            (
                "returns = { domain = \"r.test\", forward = \"a@r.test\" }",
                "1:42",
                "comes back here",
            ),
            (
                "returns.feedback = [\"A@c.test\"]\nreturns.forward = \"a@c.test\"",
                "2:19",
                "comes back here",
            ),
            (
                "tenant = [{ name = \"a\", return_domain = \"r.test\" }]\nreturns.forward = \"a@r.test\"",
                "2:19",
                "comes back here",
            ),
            (
                "returns.reporters = [\"192.0.2.0/24\", \"p.test\"]",
                "1:21",
                "verify = true alone, and p.test",
            ),
            (
                "returns.reporters = [\"192.0.2.0/33\"]",
                "1:22",
                "a network such as",
            ),
            (
                "hostname = \"r.test\"\nreturns.domain = \"r.test\"",
                "2:18",
                "a domain of theirs",
            ),
            ("returns.feedback = [\"nobody\"]", "1:21", "no address"),
        ] {
            let faults = judge(text);
            let fault = faults.first().map(ToString::to_string).unwrap_or_default();
            let is_told = fault.contains(&format!(":{place}: ")) && fault.contains(words);
            assert!(is_told, "{text}: {faults:?}");
        }
    }

    #[test]
    fn reporters_are_networks_addresses_and_domains() {
        let text = "returns.reporters = [\"192.0.2.0/24\", \"2001:db8::1\", \"::ffff:192.0.2.9\", \"p.test\"]\n\
             listener = [{ bind = [\"127.0.0.1:0\"], verify = true }]";
        assert!(judge(text).is_empty(), "{:?}", judge(text));
    }
}
