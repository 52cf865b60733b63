//! Verifies what was signed here, with the records that should be in the DNS.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::common::cache::NoCache;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::{
    AuthenticatedMessage, DkimResult, MX, MessageAuthenticator, Parameters, RecordSet,
    ResolverCache, Txt,
};
use rustls::{ClientConfig, RootCertStore};

/// The records of all keys, by their names.
#[derive(Clone, Default)]
pub(super) struct Records(HashMap<Box<str>, Txt>);

impl Records {
    /// Adds the record of a key.
    pub(super) fn add(&mut self, domain: &str, selector: &str, record: &str) {
        let name = format!("{selector}._domainkey.{domain}.");
        if let Ok(key) = DomainKey::parse(record.as_bytes()) {
            self.0.insert(name.into(), Txt::DomainKey(Arc::new(key)));
        }
    }

    /// Each signature of `message` that can be read, the first one first: its selector, and whether it
    /// holds. Nothing is asked of the DNS.
    pub(super) async fn verify(&self, message: &[u8]) -> Option<Vec<(String, bool)>> {
        let parsed = AuthenticatedMessage::parse(message)?;
        let verifier = offline()?;
        let parameters = Parameters {
            params: &parsed,
            cache_txt: Some(self),
            cache_mx: None::<&NoCache<Box<str>, RecordSet<MX>>>,
            cache_ptr: None::<&NoCache<IpAddr, RecordSet<Box<str>>>>,
            cache_ipv4: None::<&NoCache<Box<str>, RecordSet<Ipv4Addr>>>,
            cache_ipv6: None::<&NoCache<Box<str>, RecordSet<Ipv6Addr>>>,
        };
        let found = verifier.verify_dkim(parameters).await;
        let told = found.iter().filter_map(|output| {
            let selector = output.signature()?.s.clone();
            Some((selector, *output.result() == DkimResult::Pass))
        });
        Some(told.collect())
    }
}

/// A verifier without servers: what is not in its cache is not found. It is given what TLS it
/// would speak, or it would look for the machine's authorities and fail where there are none.
fn offline() -> Option<MessageAuthenticator> {
    let servers = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let resolver = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
    let resolver = resolver.with_tls_config(tls).build().ok()?;
    Some(MessageAuthenticator(resolver))
}

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}
