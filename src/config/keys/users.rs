//! Keys about users: how they log in, and what they have here.

use super::super::value::{COUNT_MAX, choice, count, name, optional, path, size, wait};
use super::super::{AllowPlaintext, Config, Subaddress, units};
use super::Reload::{Restart, Takes};
use super::{Key, name_of, quoted};

pub(super) const AUTH: &[Key<Config>] = &[
    key!(
        "users_file",
        Takes,
        "Who may log in, under data_dir. Written by `ringpost user`.",
        |c, v| path(v).map(|path| c.auth.users_file = path),
        |c| Some(quoted(c.auth.users_file.display()))
    ),
    key!(
        "allow_plaintext",
        Takes,
        "Passwords without TLS: \"never\", \"loopback\", \"always\".",
        |c, v| choice(v, PLAINTEXT).map(|choice| c.auth.allow_plaintext = choice),
        |c| name_of(PLAINTEXT, c.auth.allow_plaintext)
    ),
];

pub(super) const OAUTH: &[Key<Config>] = &[
    key!(
        "keys",
        Takes,
        "File with the public keys of who issues tokens (OAUTHBEARER): a JWK set, or one key as PEM; RS256, ES256 and EdDSA count. Without one nobody logs in with a token.",
        |c, v| path(v).map(|path| c.oauth.keys = Some(path)),
        |c| c.oauth.keys.as_ref().map(|path| quoted(path.display()))
    ),
    key!(
        "issuer",
        Takes,
        "Who issues them, as their claim iss says it.",
        |c, v| name(v).map(|issuer| c.oauth.issuer = Some(issuer)),
        |c| c.oauth.issuer.as_ref().map(quoted)
    ),
    key!(
        "audience",
        Takes,
        "Whom they are for: what their claim aud calls this relay.",
        |c, v| name(v).map(|audience| c.oauth.audience = Some(audience)),
        |c| c.oauth.audience.as_ref().map(quoted)
    ),
    key!(
        "user_claim",
        Takes,
        "The claim that names the user, who must stand in users_file too.",
        |c, v| name(v).map(|claim| c.oauth.user_claim = claim),
        |c| Some(quoted(&c.oauth.user_claim))
    ),
];

pub(super) const MAILBOXES: &[Key<Config>] = &[
    key!(
        "dir",
        Restart,
        "Mailboxes, under data_dir: USER@DOMAIN/ in it is a Maildir.",
        |c, v| path(v).map(|path| c.mailboxes.dir = path),
        |c| Some(quoted(c.mailboxes.dir.display()))
    ),
    key!(
        "quota",
        Takes,
        "Octets in one mailbox, all folders together, lines ending in CRLF; or \"none\".",
        |c, v| optional(v, size).map(|quota| c.mailboxes.quota = quota),
        |c| Some(
            c.mailboxes
                .quota
                .map_or_else(|| quoted("none"), |quota| quoted(units::size(quota)))
        )
    ),
    key!(
        "quota_messages",
        Takes,
        "Messages in one mailbox, all folders together; or \"none\".",
        |c, v| optional(v, |v| count(v, 1, COUNT_MAX)).map(|most| {
            c.mailboxes.quota_messages = most.map(|most| most as u64);
        }),
        |c| Some(
            c.mailboxes
                .quota_messages
                .map_or_else(|| quoted("none"), |most| most.to_string())
        )
    ),
    key!(
        "subaddress",
        Takes,
        "Where mail for user+tag goes: \"inbox\", or \"folder\", which is the one of that name where there is one and else the INBOX.",
        |c, v| choice(v, SUBADDRESSES).map(|choice| c.mailboxes.subaddress = choice),
        |c| name_of(SUBADDRESSES, c.mailboxes.subaddress)
    ),
    key!(
        "max_connections",
        Takes,
        "Connections of those who fetch mail at a time, over all shards.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.mailboxes.max_connections = count),
        |c| Some(c.mailboxes.max_connections.to_string())
    ),
    key!(
        "max_connections_per_client",
        Takes,
        "Of them, those of one client address outside the trusted networks.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.mailboxes.max_connections_per_client = count),
        |c| Some(c.mailboxes.max_connections_per_client.to_string())
    ),
    key!(
        "max_connections_per_user",
        Takes,
        "Of them, those of one user who has logged in.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.mailboxes.max_connections_per_user = count),
        |c| Some(c.mailboxes.max_connections_per_user.to_string())
    ),
    key!(
        "login_timeout",
        Takes,
        "How long a client may take to log in.",
        |c, v| wait(v).map(|wait| c.mailboxes.login_timeout = wait),
        |c| Some(quoted(units::duration(c.mailboxes.login_timeout)))
    ),
    key!(
        "pop3_timeout",
        Takes,
        "How long a POP3 client may take for a command; then the session ends and nothing is deleted (RFC 1939 §3 asks for 10 minutes at least).",
        |c, v| wait(v).map(|wait| c.mailboxes.pop3_timeout = wait),
        |c| Some(quoted(units::duration(c.mailboxes.pop3_timeout)))
    ),
    key!(
        "imap_timeout",
        Takes,
        "How long an IMAP client that has logged in may be silent, IDLE included (RFC 9051 §5.4 asks for 30 minutes at least).",
        |c, v| wait(v).map(|wait| c.mailboxes.imap_timeout = wait),
        |c| Some(quoted(units::duration(c.mailboxes.imap_timeout)))
    ),
];

const PLAINTEXT: &[(&str, AllowPlaintext)] = &[
    ("never", AllowPlaintext::Never),
    ("loopback", AllowPlaintext::Loopback),
    ("always", AllowPlaintext::Always),
];
const SUBADDRESSES: &[(&str, Subaddress)] =
    &[("inbox", Subaddress::Inbox), ("folder", Subaddress::Folder)];
