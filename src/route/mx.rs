//! From an answer of the DNS to the hosts to try (RFC 5321 §5.1), and their addresses.

use std::net::IpAddr;

use super::dns::{Answer, Records};
use crate::mail::outcome::Diagnosis;
use crate::wire::status::EnhancedStatus;

/// What counts as ourselves.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Names, lower case: the hostname and what else we answer to.
    pub names: Vec<Box<str>>,
    /// Addresses on which we listen for mail on the port that mail is sent to.
    pub addresses: Vec<IpAddr>,
}

/// What the MX of a domain come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Try these in order.
    Hosts(Vec<Exchange>),
    /// Not now: the lane waits.
    Defer(Diagnosis),
    /// Never.
    Fail(Diagnosis),
}

/// A host that takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its preference; lower comes first.
    pub preference: u16,
    /// Its name.
    pub host: Box<str>,
}

/// Which kinds of address to use, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone.
    Ipv4Only,
    /// IPv6 alone.
    Ipv6Only,
    /// Both in turn, the first one by chance: neither a broken IPv6 nor a broken IPv4 may cost
    /// every message a time-out.
    #[default]
    Both,
}

/// The addresses of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Try these in order.
    Some(Vec<IpAddr>),
    /// It has none: the next host.
    None(Diagnosis),
    /// They could not be learnt: the next host, and if none takes it, later.
    Later(Diagnosis),
    /// It is ourselves: neither it nor any host of a worse or equal preference.
    Ourselves,
}

/// What to do with a domain's answer for MX. `random` orders hosts of equal preference, so that
/// load spreads over them (RFC 5321 §5.1).
pub fn plan(domain: &str, answer: &Answer, own: &Own, mut random: impl FnMut() -> u64) -> Plan {
    let mut exchanges: Vec<Exchange> = match answer {
        Answer::Records(Records::Mx(records), _) if !records.is_empty() => {
            let exchange = |(preference, host): &(u16, Box<str>)| Exchange {
                preference: *preference,
                host: host.trim_end_matches('.').to_ascii_lowercase().into(),
            };
            records.iter().map(exchange).collect()
        }
        // Without MX the domain is its own only host (RFC 5321 §5.1, "implicit MX").
        Answer::NoData(_) | Answer::Records(..) => vec![Exchange {
            preference: 0,
            host: domain.into(),
        }],
        Answer::NoName(_) => {
            return Plan::Fail(Diagnosis::ours(
                NO_DOMAIN,
                format!("domain {domain} not found"),
            ));
        }
        Answer::Failure(why) => {
            // Never the A record instead: the MX may well be there, and elsewhere.
            return Plan::Defer(Diagnosis::ours(
                LOOKUP,
                format!("looking up the MX of {domain} failed: {why}"),
            ));
        }
        Answer::Broken(why) => {
            return Plan::Fail(Diagnosis::ours(
                UNROUTABLE,
                format!("the MX of {domain} cannot be resolved: {why}"),
            ));
        }
    };
    // RFC 7505 §3: one MX of the root means "no mail"; beside others it means nothing.
    exchanges.retain(|exchange| !exchange.host.is_empty());
    if exchanges.is_empty() {
        return Plan::Fail(Diagnosis::ours(
            NULL_MX,
            format!("domain {domain} takes no mail (null MX)"),
        ));
    }
    // RFC 5321 §5.1: where we are in the list ourselves, what is not better than us would come
    // back to us.
    let is_own = |exchange: &&Exchange| own.names.contains(&exchange.host);
    if let Some(limit) = exchanges
        .iter()
        .filter(is_own)
        .map(|exchange| exchange.preference)
        .min()
    {
        exchanges.retain(|exchange| exchange.preference < limit);
    }
    if exchanges.is_empty() {
        return Plan::Fail(looping(domain));
    }
    shuffle(&mut exchanges, &mut random);
    exchanges.sort_by_key(|exchange| exchange.preference);
    let mut seen = std::collections::HashSet::new();
    exchanges.retain(|exchange| seen.insert(exchange.host.clone()));
    exchanges.truncate(HOSTS_MAX);
    Plan::Hosts(exchanges)
}

/// What fails when every host left is ourselves.
#[must_use]
pub fn looping(domain: &str) -> Diagnosis {
    Diagnosis::ours(LOOP, format!("mail for {domain} loops back to this host"))
}

/// The addresses of `host` in the order to try. An answer for a family that was not asked for is
/// given as `None`.
pub fn addresses(
    host: &str,
    v4: Option<&Answer>,
    v6: Option<&Answer>,
    families: Families,
    own: &Own,
    mut random: impl FnMut() -> u64,
) -> Addresses {
    let (v4, v6) = match families {
        Families::Ipv4Only => (v4, None),
        Families::Ipv6Only => (None, v6),
        Families::Both => (v4, v6),
    };
    let mut lists = [of_answer(v4), of_answer(v6)];
    let is_own = |address: &IpAddr| {
        own.addresses
            .iter()
            .any(|own| own.to_canonical() == *address)
    };
    if lists.iter().flatten().any(is_own) {
        return Addresses::Ourselves;
    }
    for list in &mut lists {
        shuffle(list, &mut random);
    }
    if random() % 2 == 1 {
        lists.reverse();
    }
    let mut found = interleave(lists);
    let mut seen = std::collections::HashSet::new();
    found.retain(|address| seen.insert(*address));
    found.truncate(ADDRESSES_MAX);
    if !found.is_empty() {
        return Addresses::Some(found);
    }
    let failure = [v4, v6]
        .into_iter()
        .flatten()
        .find_map(|answer| match answer {
            Answer::Failure(why) => Some(why),
            _ => None,
        });
    match failure {
        Some(why) => Addresses::Later(Diagnosis::ours(
            LOOKUP,
            format!("looking up the address of {host} failed: {why}"),
        )),
        None => Addresses::None(Diagnosis::ours(
            UNROUTABLE,
            format!("host {host} has no address"),
        )),
    }
}

fn of_answer(answer: Option<&Answer>) -> Vec<IpAddr> {
    match answer {
        Some(Answer::Records(Records::Addresses(found), _)) => {
            let addresses = found.iter().map(IpAddr::to_canonical);
            addresses.filter(is_of_a_host).collect()
        }
        _ => Vec::new(),
    }
}

/// False for what no host can have. The kernel takes 0.0.0.0 for this machine, so that a stranger's
/// domain could lead mail back to us by it.
fn is_of_a_host(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    !(is_broadcast || address.is_unspecified() || address.is_multicast())
}

fn interleave(lists: [Vec<IpAddr>; 2]) -> Vec<IpAddr> {
    let [mut first, mut second] = lists.map(Vec::into_iter);
    let mut all = Vec::with_capacity(first.len() + second.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// Fisher and Yates. The bias of the remainder is some 2^-50.
fn shuffle<T>(list: &mut [T], random: &mut impl FnMut() -> u64) {
    for last in (1..list.len()).rev() {
        let other = random() % (last as u64 + 1);
        list.swap(last, usize::try_from(other).unwrap_or(0));
    }
}

/// Hosts tried for one domain in one attempt. RFC 5321 §5.1 wants at least two; a list of
/// thousands is an attack, and fifty that time out would hold a connection for half an hour.
pub const HOSTS_MAX: usize = 20;
/// Addresses tried for one host.
pub const ADDRESSES_MAX: usize = 20;

/// RFC 3463 §3.2: bad destination system address.
const NO_DOMAIN: EnhancedStatus = EnhancedStatus::new(5, 1, 2);
/// RFC 7505 §4.2: the recipient's domain has a null MX.
const NULL_MX: EnhancedStatus = EnhancedStatus::new(5, 1, 10);
/// RFC 3463 §3.5: directory server failure.
const LOOKUP: EnhancedStatus = EnhancedStatus::new(4, 4, 3);
/// RFC 3463 §3.5: unable to route.
const UNROUTABLE: EnhancedStatus = EnhancedStatus::new(5, 4, 4);
/// RFC 3463 §3.5: routing loop detected.
const LOOP: EnhancedStatus = EnhancedStatus::new(5, 4, 6);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    const HELD: Duration = Duration::from_secs(300);

    fn mx(records: &[(u16, &str)]) -> Answer {
        Answer::Records(
            Records::Mx(records.iter().map(|&(p, h)| (p, h.into())).collect()),
            HELD,
        )
    }

    fn counter() -> impl FnMut() -> u64 {
        let mut state = 7u64;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        }
    }

    fn hosts(answer: &Answer, own: &[&str]) -> Vec<String> {
        let own = Own {
            names: own.iter().map(|&name| name.into()).collect(),
            addresses: vec![],
        };
        match plan("d.test", answer, &own, counter()) {
            Plan::Hosts(exchanges) => exchanges
                .iter()
                .map(|exchange| exchange.host.to_string())
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn status(answer: &Answer, own: &[&str]) -> String {
        let own = Own {
            names: own.iter().map(|&name| name.into()).collect(),
            addresses: vec![],
        };
        match plan("d.test", answer, &own, counter()) {
            Plan::Hosts(exchanges) => panic!("{exchanges:?}"),
            Plan::Defer(diagnosis) => format!("later {}", diagnosis.status),
            Plan::Fail(diagnosis) => format!("never {}", diagnosis.status),
        }
    }

    #[test]
    fn better_hosts_come_first_and_equal_ones_in_any_order() {
        let answer = mx(&[(20, "c.test"), (10, "a.test."), (10, "B.test")]);
        let mut random = counter();
        let mut seen = HashSet::new();
        for _ in 0..50 {
            let Plan::Hosts(list) = plan("d.test", &answer, &Own::default(), &mut random) else {
                panic!()
            };
            assert_eq!(&*list[2].host, "c.test");
            seen.insert(list[0].host.clone());
        }
        assert_eq!(seen, HashSet::from(["a.test".into(), "b.test".into()]));
    }

    #[test]
    fn what_the_dns_says_decides_between_later_and_never() {
        assert_eq!(status(&Answer::NoName(HELD), &[]), "never 5.1.2");
        assert_eq!(
            status(&Answer::Failure("SERVFAIL".into()), &[]),
            "later 4.4.3"
        );
        assert_eq!(
            status(&Answer::Broken("CNAME loop".into()), &[]),
            "never 5.4.4"
        );
        assert_eq!(status(&mx(&[(0, "")]), &[]), "never 5.1.10");
        assert_eq!(status(&mx(&[(0, ".")]), &[]), "never 5.1.10");
        assert_eq!(hosts(&mx(&[(0, "."), (5, "a.test")]), &[]), ["a.test"]);
        assert_eq!(hosts(&Answer::NoData(HELD), &[]), ["d.test"]);
    }

    #[test]
    fn mail_never_goes_to_ourselves_or_past_us() {
        let list = mx(&[
            (5, "best.test"),
            (10, "relay.test"),
            (10, "same.test"),
            (20, "worse.test"),
        ]);
        assert_eq!(hosts(&list, &["relay.test"]), ["best.test"]);
        assert_eq!(
            status(
                &mx(&[(10, "relay.test"), (20, "worse.test")]),
                &["relay.test"]
            ),
            "never 5.4.6"
        );
        assert_eq!(status(&Answer::NoData(HELD), &["d.test"]), "never 5.4.6");
    }

    #[test]
    fn a_list_of_a_thousand_hosts_is_cut() {
        let names: Vec<String> = (0..1000).map(|n| format!("h{n}.test")).collect();
        let records: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
        assert_eq!(hosts(&mx(&records), &[]).len(), HOSTS_MAX);
        let same: Vec<(u16, &str)> = (0..1000).map(|n| (n, "a.test")).collect();
        assert_eq!(hosts(&mx(&same), &[]), ["a.test"]);
    }

    fn found(addresses: &[&str]) -> Answer {
        let parsed = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        Answer::Records(Records::Addresses(parsed), HELD)
    }

    #[test]
    fn both_families_take_turns() {
        let (v4, v6) = (
            found(&["192.0.2.1", "192.0.2.2"]),
            found(&["2001:db8::1", "2001:db8::2"]),
        );
        let mut random = counter();
        let mut firsts = HashSet::new();
        for _ in 0..50 {
            let all = addresses(
                "h",
                Some(&v4),
                Some(&v6),
                Families::Both,
                &Own::default(),
                &mut random,
            );
            let Addresses::Some(list) = all else {
                panic!("{all:?}")
            };
            assert_eq!(list.len(), 4);
            assert!(
                list.windows(2)
                    .all(|pair| pair[0].is_ipv4() != pair[1].is_ipv4())
            );
            firsts.insert(list[0]);
        }
        assert_eq!(firsts.len(), 4);
        let only = addresses(
            "h",
            Some(&v4),
            Some(&v6),
            Families::Ipv6Only,
            &Own::default(),
            counter(),
        );
        let Addresses::Some(list) = only else {
            panic!("{only:?}")
        };
        assert!(list.iter().all(IpAddr::is_ipv6));
    }

    #[test]
    fn a_host_without_addresses_is_told_from_one_that_could_not_be_asked_for() {
        let none = Answer::NoData(HELD);
        let failed = Answer::Failure("time-out".into());
        let ask = |v4: &Answer, v6: &Answer| {
            addresses(
                "h",
                Some(v4),
                Some(v6),
                Families::Both,
                &Own::default(),
                counter(),
            )
        };
        assert!(matches!(
            ask(&none, &Answer::NoName(HELD)),
            Addresses::None(_)
        ));
        let nobodys = found(&["0.0.0.0", "255.255.255.255", "224.0.0.1"]);
        assert!(matches!(ask(&nobodys, &found(&["::"])), Addresses::None(_)));
        assert!(matches!(ask(&none, &failed), Addresses::Later(_)));
        assert!(matches!(
            ask(&found(&["192.0.2.1"]), &failed),
            Addresses::Some(_)
        ));
        let own = Own {
            names: vec![],
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        let mine = addresses(
            "h",
            Some(&found(&["192.0.2.1"])),
            None,
            Families::Both,
            &own,
            counter(),
        );
        assert_eq!(mine, Addresses::Ourselves);
    }
}
