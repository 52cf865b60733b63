//! The PROXY protocol, versions 1 and 2, as a load balancer speaks it before SMTP begins. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the first octets of a connection come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not all of it is here.
    More,
    /// A header of so many octets. The client it names; `None` for the balancer's own checks
    /// (LOCAL, UNKNOWN), which keep the connection's own address.
    Header(usize, Option<SocketAddr>),
    /// Not a header, or one that is too long: close the connection.
    Bad,
}

/// Reads a header from the first octets of a connection.
#[must_use]
pub fn parse(octets: &[u8]) -> Parsed {
    let common = octets.len().min(SIGNATURE.len());
    if octets[..common] == SIGNATURE[..common] && common > 0 {
        return parse_two(octets);
    }
    parse_one(octets)
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n`.
fn parse_one(octets: &[u8]) -> Parsed {
    let common = octets.len().min(WORD.len());
    if octets[..common] != WORD[..common] {
        return Parsed::Bad;
    }
    let Some(end) = memchr::memchr(b'\n', &octets[..octets.len().min(LINE_MAX)]) else {
        return if octets.len() < LINE_MAX {
            Parsed::More
        } else {
            Parsed::Bad
        };
    };
    let line = octets[..end].strip_suffix(b"\r").map(std::str::from_utf8);
    let Some(Ok(line)) = line else {
        return Parsed::Bad;
    };
    let mut words = line.split(' ').skip(1);
    let source = match words.next() {
        Some("UNKNOWN") => return Parsed::Header(end + 1, None),
        Some("TCP4") => words
            .next()
            .and_then(|word| word.parse::<Ipv4Addr>().ok())
            .map(IpAddr::V4),
        Some("TCP6") => words
            .next()
            .and_then(|word| word.parse::<Ipv6Addr>().ok())
            .map(IpAddr::V6),
        _ => None,
    };
    let port = words.nth(1).and_then(|word| word.parse().ok());
    let complete =
        words.next().is_some_and(|word| word.parse::<u16>().is_ok()) && words.next().is_none();
    match (source, port) {
        (Some(source), Some(port)) if complete => {
            Parsed::Header(end + 1, Some(SocketAddr::new(source, port)))
        }
        _ => Parsed::Bad,
    }
}

/// Version 2: signature, version and command, family, length, addresses.
fn parse_two(octets: &[u8]) -> Parsed {
    let Some(fixed) = octets.get(..FIXED_OCTETS) else {
        return Parsed::More;
    };
    let len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > ADDRESSES_MAX || fixed[12] >> 4 != 2 {
        return Parsed::Bad;
    }
    let Some(addresses) = octets.get(FIXED_OCTETS..FIXED_OCTETS + len) else {
        return Parsed::More;
    };
    let source = match (fixed[12] & 15, fixed[13]) {
        (LOCAL, _) | (PROXY, 0) => None,
        (PROXY, TCP4) => match *addresses {
            [a, b, c, d, _, _, _, _, high, low, ..] => Some(SocketAddr::new(
                Ipv4Addr::new(a, b, c, d).into(),
                u16::from_be_bytes([high, low]),
            )),
            _ => return Parsed::Bad,
        },
        (PROXY, TCP6) => {
            let address = addresses.first_chunk::<16>();
            match (address, addresses.get(32..34)) {
                (Some(address), Some(&[high, low])) => Some(SocketAddr::new(
                    Ipv6Addr::from(*address).into(),
                    u16::from_be_bytes([high, low]),
                )),
                _ => return Parsed::Bad,
            }
        }
        _ => return Parsed::Bad,
    };
    Parsed::Header(FIXED_OCTETS + len, source)
}

const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, CRLF included (PROXY protocol §2.1).
const LINE_MAX: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_OCTETS: usize = 16;
/// Addresses and options; the options of real balancers are a few hundred octets.
const ADDRESSES_MAX: usize = 2048;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn two(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut octets = SIGNATURE.to_vec();
        octets.extend([0x20 | command, family]);
        octets.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        octets.extend(addresses);
        octets
    }

    #[test]
    fn a_balancer_names_its_client() {
        let client = "192.0.2.1:56324".parse().unwrap();
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\nEHLO x\r\n";
        assert_eq!(parse(line), Parsed::Header(44, Some(client)));
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 7 25\r\n";
        assert_eq!(
            parse(six),
            Parsed::Header(41, Some("[2001:db8::1]:7".parse().unwrap()))
        );
        let binary = two(
            PROXY,
            TCP4,
            &[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0, 25],
        );
        assert_eq!(parse(&binary), Parsed::Header(28, Some(client)));
        assert_eq!(
            parse(b"PROXY UNKNOWN whatever\r\n"),
            Parsed::Header(24, None)
        );
        assert_eq!(parse(&two(LOCAL, 0, &[])), Parsed::Header(16, None));
    }

    #[test]
    fn a_header_in_pieces_is_waited_for() {
        let whole = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n".to_vec();
        let binary = two(
            PROXY,
            TCP4,
            &[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0, 25],
        );
        for header in [whole, binary] {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Parsed::More, "{cut}");
            }
        }
    }

    #[test]
    fn whoever_speaks_smtp_at_once_or_forges_is_refused() {
        for bad in [
            &b"EHLO x\r\n"[..],
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 more\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\n",
            &[b'P'; 200],
        ] {
            assert_eq!(parse(bad), Parsed::Bad);
        }
        let endless = [&b"PROXY "[..], &[b' '; 200]].concat();
        assert_eq!(parse(&endless), Parsed::Bad);
        assert_eq!(parse(&two(PROXY, TCP4, &[1, 2, 3])), Parsed::Bad);
    }
}
