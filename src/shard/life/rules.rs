//! What every shard goes by, until a reload brings something else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bounces;
use crate::config::Config;
use crate::dkim::Signers;
use crate::mail::verp::Keys;
use crate::tls::Ends;
use crate::users::Users;
use crate::users::client::Credentials;
use crate::users::token::Issuer;

/// The configuration, and what is in the files that it names.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Validated.
    pub config: Arc<Config>,
    /// What TLS is spoken with.
    pub tls: Ends,
    /// Who signs what leaves.
    pub signers: Arc<Signers>,
    /// Who may log in.
    pub users: Arc<Users>,
    /// Whose tokens prove who somebody is; `None`: nobody's.
    pub issuer: Option<Arc<Issuer>>,
    /// Who we are at smart hosts, by the name of the file that says so.
    pub credentials: Arc<BTreeMap<String, Credentials>>,
    /// What refusals mean.
    pub bounces: Arc<bounces::Rules>,
    /// What proves return paths; `None`: nothing comes back.
    pub returns: Option<Arc<Keys>>,
}
