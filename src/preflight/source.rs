//! What the DNS says of an address that mail leaves from.

use std::net::IpAddr;

use mail_auth::common::resolver::ToReverseName as _;

use super::{Finding, Rule};

/// The name where the names of an address stand (RFC 1035 §3.5, RFC 3596 §2.5).
#[must_use]
pub fn reverse_name(address: IpAddr) -> Box<str> {
    let zone = match address {
        IpAddr::V4(_) => "in-addr.arpa",
        IpAddr::V6(_) => "ip6.arpa",
    };
    let digits = address.to_reverse_name();
    format!("{}.{zone}", digits.trim_end_matches('.')).into()
}

/// An address with these names, one of which has the address too, or none.
#[must_use]
pub fn named(address: IpAddr, names: &[impl AsRef<str>], is_confirmed: bool) -> Finding {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let names = names.join(", ");
    if names.is_empty() {
        return Finding::fail(
            Rule::Ptr,
            format!("{address} has no name"),
            "have a PTR record made by whoever the address is from",
        );
    }
    if is_confirmed {
        return Finding::ok(Rule::Ptr, format!("{address} is {names}"));
    }
    Finding::fail(
        Rule::Ptr,
        format!("{address} is {names}, which has other addresses"),
        "make PTR and A or AAAA records agree",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_in_the_dns_backwards() {
        for (address, name) in [
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            assert_eq!(&*reverse_name(address.parse().unwrap()), name);
        }
    }
}
