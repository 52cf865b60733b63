//! Small encodings of the protocols: xtext and dates.

/// True when `octets` are xtext (RFC 3461 §4): printable, `+` and `=` only as `+XX`.
#[must_use]
pub fn is_xtext(octets: &[u8]) -> bool {
    let mut rest = octets;
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b'+' => match after {
                [high, low, after @ ..] if hex(*high).is_some() && hex(*low).is_some() => after,
                _ => return false,
            },
            b'=' => return false,
            b'!'..=b'~' => after,
            _ => return false,
        };
    }
    true
}

/// What xtext stands for; octets that are no xtext stand for themselves.
#[must_use]
pub fn decode_xtext(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if let (b'+', [high, low, behind @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            decoded.push(high << 4 | low);
            rest = behind;
        } else {
            decoded.push(first);
        }
    }
    decoded
}

/// `octets` as xtext.
#[must_use]
pub fn encode_xtext(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    put_xtext(&mut text, octets);
    text
}

/// An address as ORCPT has it (RFC 3461 §4.2).
#[must_use]
pub fn encode_rfc822(address: &str) -> String {
    let mut text = String::with_capacity(RFC822.len() + address.len());
    text.push_str(RFC822);
    put_xtext(&mut text, address.as_bytes());
    text
}

fn put_xtext(text: &mut String, octets: &[u8]) {
    for &octet in octets {
        if matches!(octet, b'!'..=b'~') && !matches!(octet, b'+' | b'=') {
            text.push(char::from(octet));
        } else {
            text.push('+');
            text.push(char::from(HEX[usize::from(octet >> 4)]));
            text.push(char::from(HEX[usize::from(octet & 15)]));
        }
    }
}

/// Upper case only, as RFC 3461 §4 has it.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const RFC822: &str = "rfc822;";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A moment as header fields have it (RFC 5322 §3.3), in UTC: `Mon, 23 Nov 2026 11:00:13 +0000
/// (UTC)`. `seconds` since 1970; what no calendar reaches becomes its beginning.
#[must_use]
pub fn rfc5322_date(seconds: i64) -> impl std::fmt::Display {
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S +0000 (UTC)")
}

/// A date as RFC 3339 §5.6 writes it: `2026-03-01T00:00:00Z`.
#[must_use]
pub fn rfc3339_date(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    moment.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_says_the_same_in_both_directions() {
        let octets: Vec<u8> = (0..=255).collect();
        let text = encode_xtext(&octets);
        assert!(is_xtext(text.as_bytes()));
        assert_eq!(decode_xtext(&text), octets);
        assert_eq!(encode_xtext(b"a+b=c d"), "a+2Bb+3Dc+20d");
        for bad in ["a=b", "a b", "+2", "+2b", "+", "a\u{e9}"] {
            assert!(!is_xtext(bad.as_bytes()), "{bad}");
        }
        assert!(is_xtext(b""));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000 (UTC)"),
            (1_795_431_613, "Mon, 23 Nov 2026 11:00:13 +0000 (UTC)"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 +0000 (UTC)"),
        ] {
            assert_eq!(rfc5322_date(seconds).to_string(), date);
        }
        let beginning = rfc5322_date(0).to_string();
        assert_eq!(rfc5322_date(i64::MAX).to_string(), beginning);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_xtext_and_come_back(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let text = encode_xtext(&octets);
            proptest::prop_assert!(is_xtext(text.as_bytes()), "{}", text);
            proptest::prop_assert_eq!(decode_xtext(&text), octets);
        }
    }
}
