//! Keys about what comes back later: reports of other hosts, and complaints.

use super::super::returns::Reporter;
use super::super::value::{address, boolean, host_name, list, name, path, reporter, wait};
use super::super::{Config, units};
use super::Reload::Takes;
use super::{Key, quoted, strings};

pub(super) const RETURNS: &[Key<Config>] = &[
    key!(
        "domain",
        Takes,
        "Mail leaves with a return path of this domain instead of its sender, one for each recipient: b+TOKEN@DOMAIN, which says which message and whom a report is about. The domain's MX has to lead to this relay, and its SPF to the addresses that mail leaves from. A tenant's return_domain goes before it; without either, senders stay what they are.",
        |c, v| host_name(v).map(|domain| c.returns.domain = Some(domain)),
        |c| c.returns.domain.as_ref().map(quoted)
    ),
    key!(
        "key",
        Takes,
        "A file with the secret that proves return paths, of 32 characters at least; relays that take each other's reports share it. Of several lines the first makes return paths, and each is believed: so it is replaced. Default: keys/returns.key under data_dir, which is made.",
        |c, v| path(v).map(|path| c.returns.key = Some(path)),
        |c| c.returns.key.as_ref().map(|path| quoted(path.display()))
    ),
    key!(
        "valid",
        Takes,
        "How long after its message a return path takes reports and complaints; later ones are refused at RCPT (550 5.1.1).",
        |c, v| wait(v).map(|span| c.returns.valid = span),
        |c| Some(quoted(units::duration(c.returns.valid)))
    ),
    key!(
        "forward",
        Takes,
        "Who gets what comes to a return path and is no report: answers of people and of programs; and mail for postmaster and abuse at its domain. Without it such mail is counted and dropped, and those two addresses follow [[route]].",
        |c, v| address(v).map(|mailbox| c.returns.forward = Some(mailbox)),
        |c| c.returns.forward.as_ref().map(quoted)
    ),
    key!(
        "feedback",
        Takes,
        "Addresses that providers send their users' complaints to (RFC 5965).",
        |c, v| list(v, address).map(|list| c.returns.feedback = list),
        |c| Some(strings(&c.returns.feedback))
    ),
    key!(
        "reporters",
        Takes,
        "Whose complaints count although they bring no return path that holds: networks of clients, and domains whose DKIM signature holds (of listeners with verify = true): [\"192.0.2.0/24\", \"provider.example\"].",
        |c, v| list(v, reporter).map(|list| c.returns.reporters = list),
        |c| Some(strings(c.returns.reporters.iter().map(Reporter::written)))
    ),
    key!(
        "recipient_header",
        Takes,
        "A header field of your messages with the address that each was sent to, for providers that hide it in complaints; or one that a provider adds: \"X-HmXmrOriginalRecipient\".",
        |c, v| name(v).map(|name| c.returns.recipient_header = Some(name)),
        |c| c.returns.recipient_header.as_ref().map(quoted)
    ),
    key!(
        "suppress",
        Takes,
        "Whoever complains gets no more mail: the address goes on the suppression list for good, as \"complaint\".",
        |c, v| boolean(v).map(|does| c.returns.suppress = does),
        |c| Some(c.returns.suppress.to_string())
    ),
];
