//! Keys about how much goes to whom.

use super::super::limit::Limit;
use super::super::value::{COUNT_MAX, RECIPIENTS_MAX, count, rate, text};
use super::Reload::Takes;
use super::{Key, quoted};

/// `[[limit]]`
pub(in super::super) const LIMIT: &[Key<Limit>] = &[
    key!(
        "domain",
        Takes,
        "A domain, \"*.example.org\" for those below it, or \"*\": the limits of each destination that matches, by the domain of its mail or the name of its smart host. The first rule that matches a destination wins; what it does not say is as [delivery] has it.",
        |l, v| text(v).map(|text| l.domain = Some(text.to_owned())),
        |l| l.domain.as_ref().map(quoted)
    ),
    key!(
        "mx",
        Takes,
        "Instead of a domain: a mail host's name, \"*.example.org\" for those below it, or \"*\". All mail to hosts that match shares these limits, whatever domain it is for, and those of its domain count too.",
        |l, v| text(v).map(|text| l.mx = Some(text.to_owned())),
        |l| l.mx.as_ref().map(quoted)
    ),
    key!(
        "connections",
        Takes,
        "Connections at a time, exact over all shards.",
        |l, v| count(v, 1, COUNT_MAX).map(|count| l.connections = Some(count)),
        |l| l.connections.map(|count| count.to_string())
    ),
    key!(
        "messages_per_connection",
        Takes,
        "Messages after which a connection is ended.",
        |l, v| count(v, 1, COUNT_MAX).map(|count| l.messages_per_connection = Some(count)),
        |l| l.messages_per_connection.map(|count| count.to_string())
    ),
    key!(
        "rate",
        Takes,
        "Messages: \"500/m\" (s, m, h, d), evenly spaced, exact over all shards. What waits for its turn holds up nothing else; a connection that would wait for more than 2 s ends.",
        |l, v| rate(v).map(|rate| l.rate = Some(rate)),
        |l| l.rate.map(quoted)
    ),
    key!(
        "recipients_per_message",
        Takes,
        "Recipients of one transaction; a message with more goes in several.",
        |l, v| count(v, 1, RECIPIENTS_MAX).map(|count| l.recipients_per_message = Some(count)),
        |l| l.recipients_per_message.map(|count| count.to_string())
    ),
    key!(
        "recipient_rate",
        Takes,
        "Recipients, as rate has messages.",
        |l, v| rate(v).map(|rate| l.recipient_rate = Some(rate)),
        |l| l.recipient_rate.map(quoted)
    ),
];
