//! The relay's certificates: those of the configuration, or one of its own.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use crate::config::Config;
use crate::file;
use crate::tls::caller::Callers;
use crate::tls::client::Clients;
use crate::tls::{Ends, certificate};

/// What TLS is spoken with, and where the certificate is that had to be made.
pub(super) fn ends(config: &Config) -> Result<(Ends, Option<PathBuf>), String> {
    let (pairs, made) = if config.tls.certificate.is_empty() {
        let own = own(config);
        let made = if own.0.exists() && own.1.exists() {
            None
        } else {
            make(&own, &config.hostname()).map_err(|error| {
                format!(
                    "{}: a certificate cannot be kept there: {error}",
                    own.0.display()
                )
            })?;
            Some(own.0.clone())
        };
        (vec![own], made)
    } else {
        (config.tls.pairs(), None)
    };
    let server = certificate::server(&pairs).map_err(|unusable| unusable.to_string())?;
    let authorities = config.tls.client_ca.as_deref();
    let ends = Ends {
        // Whatever the file says of listeners now: those that are open go on asking.
        callers: Some(Callers::new(&server, authorities)?),
        server: Some(server),
        clients: Clients::new(config.tls.trusted_roots.as_deref())?,
        own: Arc::new(shown_to_hosts(config)?),
    };
    Ok((ends, made))
}

/// What smart hosts are shown, by the file that the certificate is in.
fn shown_to_hosts(config: &Config) -> Result<BTreeMap<String, Arc<CertifiedKey>>, String> {
    let pairs = config.route.iter();
    let pairs = pairs.filter_map(|route| {
        route
            .client_certificate
            .as_ref()
            .zip(route.client_key.as_ref())
    });
    let read = |(chain, key): (&String, &PathBuf)| {
        let pair = certificate::read(Path::new(chain), key);
        Ok((
            chain.clone(),
            pair.map_err(|unusable| unusable.to_string())?,
        ))
    };
    pairs.map(read).collect()
}

/// Where the certificate is that the relay makes for itself, and its key.
fn own(config: &Config) -> (PathBuf, PathBuf) {
    let keys = config.data_dir.join("keys");
    (keys.join("self-signed.pem"), keys.join("self-signed.key"))
}

fn make((chain, key): &(PathBuf, PathBuf), name: &str) -> io::Result<()> {
    let (chain_pem, key_pem) = certificate::self_signed(name).map_err(io::Error::other)?;
    for (path, pem) in [(key, key_pem), (chain, chain_pem)] {
        file::replace(path, pem.as_bytes())?;
    }
    Ok(())
}

/// What tells that a file has changed that the configuration names: certificates, keys, users, credentials,
/// secrets, rules.
#[derive(PartialEq, Eq)]
pub(super) struct Seen(Vec<Option<(SystemTime, u64, u64)>>);

impl Seen {
    pub(super) fn of(config: &Config) -> Self {
        let look = |path: &PathBuf| {
            let data = std::fs::metadata::<&Path>(path).ok()?;
            // A file that takes another's place may have its time and size.
            Some((data.modified().ok()?, Metadata::len(&data), data.ino()))
        };
        let tls = &config.tls;
        let users = config.users_file();
        let signing = config.dkim.iter().map(|dkim| &dkim.key);
        let hooks = config.webhook.iter().map(|hook| &hook.secret_file);
        let files = tls.certificate.iter().chain(&tls.key).chain([&users]);
        let credentials = config.route.iter();
        let credentials: Vec<_> = credentials
            .flat_map(|route| {
                let named = [&route.credentials, &route.client_certificate];
                let named = named.into_iter().flatten().map(PathBuf::from);
                named.chain(route.client_key.clone())
            })
            .collect();
        let files = files
            .chain(signing)
            .chain(hooks)
            .chain(&credentials)
            .chain(&tls.trusted_roots)
            .chain(&tls.client_ca)
            .chain(&config.oauth.keys)
            .chain(&config.bounces.rules)
            .chain(&config.returns.key);
        Self(files.map(look).collect())
    }
}
