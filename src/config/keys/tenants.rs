//! Keys about whose mail it is.

use super::super::value::{boolean, count, host_name, label, list, name, optional, prioritized};
use super::super::{Config, ReturnDomain, Tenant};
use super::Reload::Takes;
use super::{Key, quoted, strings};

pub(super) const TENANTS: &[Key<Config>] = &[
    key!(
        "header",
        Takes,
        "A header field that names the tenant of a message: \"X-Tenant\". It counts from clients that may relay without a login of their own; a user's tenant is in [[tenant]] users.",
        |c, v| name(v).map(|name| c.tenants.header = Some(name)),
        |c| c.tenants.header.as_ref().map(quoted)
    ),
    key!(
        "tag_header",
        Takes,
        "A header field that says what a message belongs to: a mailing, a campaign. It counts from whoever may relay.",
        |c, v| name(v).map(|name| c.tenants.tag_header = Some(name)),
        |c| c.tenants.tag_header.as_ref().map(quoted)
    ),
    key!(
        "priority_header",
        Takes,
        "A header field that says how soon a message goes: \"high\", \"normal\", \"low\", or 0 to 9, the higher the sooner. It counts from whoever may relay, and before the tenant's priority.",
        |c, v| name(v).map(|name| c.tenants.priority_header = Some(name)),
        |c| c.tenants.priority_header.as_ref().map(quoted)
    ),
    key!(
        "remove_headers",
        Takes,
        "These fields are taken out of the messages of whoever may relay.",
        |c, v| boolean(v).map(|removes| c.tenants.remove_headers = removes),
        |c| Some(c.tenants.remove_headers.to_string())
    ),
];

/// `[[tenant]]`
pub(in super::super) const TENANT: &[Key<Tenant>] = &[
    key!(
        "name",
        Takes,
        "What the header field, listeners, lists and metrics call it.",
        |t, v| label(v).map(|name| t.name = name),
        |t| Some(quoted(&t.name))
    ),
    key!(
        "users",
        Takes,
        "Users whose mail is this tenant's, as they log in.",
        |t, v| list(v, name).map(|users| t.users = users),
        |t| Some(strings(&t.users))
    ),
    key!(
        "pool",
        Takes,
        "The [[pool]] of sources that its mail goes by, where no route says another.",
        |t, v| label(v).map(|name| t.pool = Some(name)),
        |t| t.pool.as_ref().map(quoted)
    ),
    key!(
        "priority",
        Takes,
        "How soon its mail goes beside others' to the same place: \"high\", \"normal\", \"low\", or 0 to 9. Of 21 turns while all have mail, high ones have 16 and low ones 1.",
        |t, v| prioritized(v).map(|priority| t.priority = priority),
        |t| Some(quoted(t.priority.name()))
    ),
    key!(
        "messages_per_minute",
        Takes,
        "Messages that are taken of it, over all shards, a tenth of them at once; more get 450 4.7.1. Without a number as many as come.",
        |t, v| count(v, 1, 1_000_000_000).map(|count| t.messages_per_minute = Some(count)),
        |t| t.messages_per_minute.map(|count| count.to_string())
    ),
    key!(
        "return_domain",
        Takes,
        "The domain of its mail's return paths, as [returns] domain, which it replaces; or \"none\": its senders stay what they are.",
        |t, v| optional(v, host_name)
            .map(|name| t.return_domain = name.map_or(ReturnDomain::Kept, ReturnDomain::Named)),
        |t| match &t.return_domain {
            ReturnDomain::Usual => None,
            ReturnDomain::Kept => Some(quoted("none")),
            ReturnDomain::Named(name) => Some(quoted(name)),
        }
    ),
];
