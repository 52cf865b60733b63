//! Keys of routes and of signing keys.

use super::super::value::{choice, host_name, label, path, text};
use super::super::{Dkim, Route};
use super::Reload::Takes;
use super::{Key, TLS_POLICIES, name_of, quoted};

/// `[[route]]`
pub(in super::super) const ROUTE: &[Key<Route>] = &[
    key!(
        "domain",
        Takes,
        "A domain, \"*.example.org\" for those below it, or \"*\".",
        |r, v| text(v).map(|text| r.domain = text.to_owned()),
        |r| Some(quoted(&r.domain))
    ),
    key!(
        "to",
        Takes,
        "\"mx\" (the default), \"mailbox\" (of a user here), \"discard\", \"reject\", \"smtp://host[:port]\" (a smart host) or \"smtps://host[:port]\" (one with TLS first).",
        |r, v| text(v).map(|text| text.clone_into(&mut r.to)),
        |r| Some(quoted(&r.to))
    ),
    key!(
        "tls",
        Takes,
        "Encryption of this mail: as [delivery] tls, which it replaces. With \"none\" nothing that the domain publishes (DANE, MTA-STS) counts.",
        |r, v| choice(v, TLS_POLICIES).map(|policy| r.tls = Some(policy)),
        |r| r.tls.and_then(|policy| name_of(TLS_POLICIES, policy))
    ),
    key!(
        "credentials",
        Takes,
        "A TOML file with user = \"...\" and password = \"...\", to log in at the smart host; nobody but owner and group may read it. Its certificate is then verified unless tls says less; with tls = \"none\" the password may go in plain.",
        |r, v| path(v).map(|path| r.credentials = Some(path.display().to_string())),
        |r| r.credentials.as_ref().map(quoted)
    ),
    key!(
        "client_certificate",
        Takes,
        "PEM file with the certificate chain that the smart host is shown when it asks for one.",
        |r, v| path(v).map(|path| r.client_certificate = Some(path.display().to_string())),
        |r| r.client_certificate.as_ref().map(quoted)
    ),
    key!(
        "client_key",
        Takes,
        "PEM file with its private key, which only owner and group may read.",
        |r, v| path(v).map(|path| r.client_key = Some(path)),
        |r| r.client_key.as_ref().map(|path| quoted(path.display()))
    ),
    key!(
        "pool",
        Takes,
        "The [[pool]] of sources that this mail goes by: before what its tenant and [delivery] pool say.",
        |r, v| label(v).map(|name| r.pool = Some(name)),
        |r| r.pool.as_ref().map(quoted)
    ),
];

/// `[[dkim]]`
pub(in super::super) const DKIM: &[Key<Dkim>] = &[
    key!(
        "domain",
        Takes,
        "Mail whose From has this domain, or one below it that has no key of its own, is signed. Several keys for one domain all sign.",
        |k, v| host_name(v).map(|domain| k.domain = domain),
        |k| Some(quoted(&k.domain))
    ),
    key!(
        "selector",
        Takes,
        "The key's name in the DNS: SELECTOR._domainkey.DOMAIN.",
        |k, v| host_name(v).map(|selector| k.selector = selector),
        |k| Some(quoted(&k.selector))
    ),
    key!(
        "key",
        Takes,
        "PEM file with the private key, RSA or Ed25519; `ringpost dkim generate` makes one.",
        |k, v| path(v).map(|path| k.key = path),
        |k| Some(quoted(k.key.display()))
    ),
];
