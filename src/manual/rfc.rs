//! What is implemented, where, and where it is tested against the running program. An empty last
//! column: beside the module only, without a socket.
//!
//! | Document | What | Where | Tested in |
//! |---|---|---|---|
//! | RFC 5321 | commands, replies, order | `smtp::command`, `smtp::server` | `tests/blackbox/dialogue.rs` |
//! | RFC 5321 §4.1.1.4, §4.5.2 | end of data, dot-stuffing | `wire::dot` | `tests/blackbox/dialogue.rs` |
//! | RFC 5321 §4.4 | trace fields | `mail::received` | `tests/blackbox/dialogue.rs` |
//! | RFC 5321 §4.5.1, RFC 5233 | postmaster, addresses with a tag | `users::alias` | `tests/blackbox/mailbox.rs` |
//! | RFC 5321 §4.5.4 | retries, expiry | `queue` | `tests/blackbox/schedule.rs` |
//! | RFC 5321 §5.1 | MX order, own host, implicit MX | `route::mx` | `tests/blackbox/mx.rs` |
//! | RFC 5321 §6.1 | responsibility after 250 | `spool::log` | `tests/blackbox/life.rs` |
//! | RFC 6152 | 8BITMIME, with a downgrade | `smtp::extension`, `mail::downgrade` | `tests/blackbox/delivery.rs` |
//! | RFC 1870 | SIZE | `smtp::extension` | `tests/blackbox/delivery.rs` |
//! | RFC 2920 | PIPELINING, both sides | `smtp::server`, `smtp::client` | `tests/blackbox/dialogue.rs`, `tests/blackbox/delivery.rs` |
//! | RFC 3030 | CHUNKING: BDAT from clients; content leaves by DATA | `smtp::server` | |
//! | RFC 6710 | MT-PRIORITY, both sides: policy MIXER, three levels, from whoever may relay | `smtp::command`, `smtp::client`, `mail::envelope` | `tests/blackbox/tenants.rs` |
//! | RFC 9422 | LIMITS, both sides | `smtp::server`, `smtp::client` | `tests/blackbox/routes.rs` |
//! | RFC 2033 | LMTP from clients | `smtp::server` | |
//! | RFC 1939 | POP3: all commands, APOP for users who ask for it | `pop3`, `shard::retrieve` | `tests/blackbox/pop3.rs` |
//! | RFC 2449, RFC 3206, RFC 2595, RFC 5034 | CAPA, PIPELINING, RESP-CODES, AUTH-RESP-CODE, STLS, AUTH of POP3 | `pop3` | `tests/blackbox/pop3.rs` |
//! | RFC 6856 | UTF8 and LANG of POP3: without UTF8, headers are sent in ASCII | `pop3`, `mail::downgrade` | |
//! | RFC 2034, RFC 3463 | enhanced status codes | `wire::status` | `tests/blackbox/delivery.rs` |
//! | RFC 3461, RFC 3464, RFC 6522 | DSN | `mail::dsn` | `tests/blackbox/reports.rs` |
//! | RFC 3464 §2, RFC 3834 §5 | reports of other hosts about mail that left here, by return paths that prove it | `mail::report`, `mail::verp`, `shard::returns` | `tests/blackbox/returns.rs` |
//! | RFC 5965, RFC 6430, RFC 6591 | feedback reports: complaints of providers' users | `mail::report::feedback`, `shard::returns` | `tests/blackbox/returns.rs` |
//! | RFC 5321 §3.9.1, RFC 3461 §5.2.7 | aliases that lead elsewhere | `users::expansion` | `tests/blackbox/alias.rs` |
//! | RFC 3834 | Auto-Submitted on reports | `mail::dsn` | `tests/blackbox/reports.rs` |
//! | RFC 6531, RFC 6533 | SMTPUTF8 and its reports | `smtp::extension`, `mail::dsn` | `tests/blackbox/delivery.rs`, `tests/blackbox/reports.rs` |
//! | RFC 9457 | problem details of the control plane | `control` | `tests/blackbox/inject.rs` |
//! | RFC 7505 | null MX | `route::mx` | `tests/blackbox/mx.rs` |
//! | RFC 3848 | keywords of the `with` clause | `mail::received` | `tests/blackbox/dialogue.rs` |
//! | RFC 3207, RFC 8314 | STARTTLS both sides, TLS first, the `tls` clause | `tls`, `smtp::server`, `smtp::client` | `tests/blackbox/tls.rs` |
//! | RFC 8461 | MTA-STS towards hosts | `route::sts`, `service::policies`, `shard::hosts::demand` | `tests/blackbox/sts.rs` |
//! | RFC 8460 | TLSRPT: reports to domains, by mail and HTTPS | `mail::tlsrpt`, `service::reports`, `shard::hosts::tell` | `tests/blackbox/tlsrpt.rs` |
//! | RFC 7672, RFC 7671, RFC 6698 | DANE towards hosts, signatures checked by a local resolver | `tls::dane`, `shard::hosts::demand` | `tests/blackbox/dane.rs` |
//! | RFC 8689 | REQUIRETLS, both sides; the TLS-Required field | `mail::envelope`, `shard::hosts`, `shard::hosts::demand` | `tests/blackbox/requiretls.rs` |
//! | RFC 6376, RFC 8301, RFC 8463 | DKIM signatures | `dkim`, `shard::message::sign` | `tests/blackbox/signing.rs` |
//! | RFC 4954, RFC 4616, RFC 5802, RFC 7677, RFC 9266 | AUTH with PLAIN, LOGIN, SCRAM-SHA-256 and, under TLS 1.3, SCRAM-SHA-256-PLUS | `users`, `smtp::server`, `shard::clients::login` | `tests/blackbox/auth.rs` |
//! | RFC 7628, RFC 6750, RFC 7519, RFC 7517 | AUTH with OAUTHBEARER: JWTs of one issuer, by its JWK set | `users::token`, `users::sasl` | `tests/blackbox/oauth.rs` |
//! | RFC 7208, RFC 6376, RFC 8617, RFC 9989 | SPF, DKIM, ARC and DMARC of incoming mail | `verify`, `shard::inbound::verify` | `tests/blackbox/verify.rs` |
//! | RFC 8058, RFC 5322 §3.6, §2.1.1 | what bulk senders are asked for, looked at beforehand | `preflight` | `tests/blackbox/preflight.rs` |
//! | RFC 8601 | Authentication-Results: added, and those of others in our name removed | `verify` | `tests/blackbox/verify.rs` |
//! | RFC 4422 appendix A, RFC 5280 §4.2.1.6 | EXTERNAL: users and trusted clients by certificate | `tls::caller`, `shard::clients::login` | `tests/blackbox/client_certificates.rs` |
//! | RFC 4954, RFC 5802, RFC 9266 | AUTH at smart hosts | `smtp::client`, `users::client` | `tests/blackbox/smarthost.rs` |
//! | PROXY protocol 1 and 2 | clients behind a balancer | `smtp::proxy`, `shard::clients::door` | `tests/blackbox/proxy.rs` |
//! | RFC 6409 | submission: logging in, own addresses only, Date, Message-ID, Bcc | `shard::clients::login`, `wire::sieve`, `shard::inbound::store` | `tests/blackbox/auth.rs` |
//! | RFC 3501, RFC 9051 | IMAP4rev1 and IMAP4rev2, all commands in all states | `imap`, `shard::retrieve` | `tests/blackbox/imap.rs` |
//! | RFC 7888, RFC 3502, RFC 7889 | literals that need no asking (LITERAL- before the login), MULTIAPPEND, APPENDLIMIT | `imap::frame`, `imap::read` | `tests/blackbox/imap.rs` |
//! | RFC 4315, RFC 6851, RFC 2177, RFC 3691 | UIDPLUS, MOVE, IDLE, UNSELECT | `shard::retrieve` | `tests/blackbox/imap.rs` |
//! | RFC 7162 | CONDSTORE, QRESYNC | `imap::view`, `shard::retrieve` | `tests/blackbox/imap.rs` |
//! | RFC 4731, RFC 5182, RFC 5032 | ESEARCH, SEARCHRES, WITHIN | `imap::search`, `imap::read` | `tests/blackbox/imap.rs` |
//! | RFC 5256, RFC 5957 | SORT, SORT=DISPLAY, THREAD by subject and by references | `imap::sort`, `imap::thread` | `tests/blackbox/imap.rs` |
//! | RFC 2231 | parameters in pieces are whole in BODYSTRUCTURE (§6) | `imap::field` | `imap::field` |
//! | RFC 3516, RFC 8970 | BINARY, PREVIEW | `imap::section`, `imap::summary` | `tests/blackbox/imap.rs` |
//! | RFC 2046 §5.1.1 | delimiter lines, boundaries that begin alike | `imap::mime` | `src/imap/mime/tests.rs` |
//! | RFC 5258, RFC 5819, RFC 6154, RFC 8438 | LIST with options and STATUS, special uses, STATUS=SIZE | `imap::read`, `imap::pattern` | `tests/blackbox/imap.rs` |
//! | RFC 4978, RFC 6855, RFC 9208, RFC 2971, RFC 2342 | COMPRESS=DEFLATE, UTF8=ACCEPT, QUOTA, ID, NAMESPACE | `shard::retrieve` | `tests/blackbox/imap.rs` |
//!
//! Not there: BINARYMIME. A client that asks for it is told so, and EHLO does not offer it.
