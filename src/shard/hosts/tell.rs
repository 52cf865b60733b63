//! What is counted for the reports that domains ask for (RFC 8460).

use std::net::IpAddr;

use super::Candidate;
use super::demand::Demand;
use super::secure::Security;
use crate::mail::tlsrpt::{Failure, Policy, Session};
use crate::route::sts::{Found, TroubleKind};
use crate::shard::Shard;
use crate::world::World;

impl<W: World> Shard<W> {
    /// A host of `domain` was connected to from `from`.
    pub(in crate::shard) fn tell(
        &self,
        domain: &str,
        published: &Found,
        candidate: &Candidate,
        security: Security,
        from: IpAddr,
    ) {
        let (true, Some(came)) = (self.reports_tls(), security.reported()) else {
            return;
        };
        let (policy, trouble) = match &candidate.demand {
            // What is published was not asked for, so nothing can be said of it.
            Demand::Waived => return,
            Demand::Certificate { records, base, .. } => {
                let policy = Policy {
                    policy_type: "tlsa".to_owned(),
                    policy_string: records.to_vec(),
                    policy_domain: domain.to_owned(),
                    mx_host: vec![base.to_string()],
                };
                (policy, None)
            }
            _ => of_domain(domain, published),
        };
        let result_type = match came {
            Err(failure) => Some(failure.name()),
            Ok(()) => trouble,
        };
        self.world.tell_tls(Session {
            domain: domain.into(),
            policy,
            failure: result_type.map(|result_type| Failure {
                result_type: result_type.to_owned(),
                sending_mta_ip: Some(from.to_string()),
                receiving_mx_hostname: Some(candidate.name.to_string()),
                receiving_ip: Some(candidate.address.ip().to_string()),
                failure_reason_code: None,
            }),
        });
    }

    /// A host was passed over, because the policy does not name it.
    pub(super) fn tell_unnamed(&self, published: &Found, domain: &str, host: &str) {
        if !self.reports_tls() {
            return;
        }
        self.world.tell_tls(Session {
            domain: domain.into(),
            policy: of_domain(domain, published).0,
            failure: Some(Failure {
                result_type: "validation-failure".to_owned(),
                sending_mta_ip: None,
                receiving_mx_hostname: Some(host.to_owned()),
                receiving_ip: None,
                failure_reason_code: Some("the policy does not name the host".to_owned()),
            }),
        });
    }

    fn reports_tls(&self) -> bool {
        let settings = self.settings.borrow();
        settings.config.tls_reports.organization.is_some()
    }
}

/// What a domain says of its hosts, and why that could not be learnt.
fn of_domain(domain: &str, published: &Found) -> (Policy, Option<&'static str>) {
    let policy = |policy_type: &str, policy_string, mx_host| Policy {
        policy_type: policy_type.to_owned(),
        policy_string,
        policy_domain: domain.to_owned(),
        mx_host,
    };
    match (&published.policy, &published.trouble) {
        (Some(found), _) => {
            let mx = found.mx.iter().map(ToString::to_string).collect();
            (policy("sts", found.lines().collect(), mx), None)
        }
        (None, Some(trouble)) => {
            let result_type = match trouble.kind {
                TroubleKind::Fetch => "sts-policy-fetch-error",
                TroubleKind::Invalid => "sts-policy-invalid",
                TroubleKind::Certificate => "sts-webpki-invalid",
            };
            (policy("sts", Vec::new(), Vec::new()), Some(result_type))
        }
        (None, None) => (policy("no-policy-found", Vec::new(), Vec::new()), None),
    }
}
