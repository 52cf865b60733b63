//! What every shard goes by, until a reload brings something else.

use std::sync::Arc;

use crate::config::Config;
use crate::dkim::Signers;
use crate::tls::Ends;
use crate::users::Users;

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
}
