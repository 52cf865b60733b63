//! Return paths that name what was sent: a report that comes back, whenever that is, says by its
//! own address which message and which recipient it is about.
//!
//! ```text
//! b+0vn3kq5h1c...v2@returns.example.org
//!   └ 45 letters and digits, in either case: 28 octets
//!     queue id 8 │ tenant 3 │ tag 4 │ recipient 5 │ proof 8
//! ```
//!
//! Nobody can make one up, or change one: the proof is an HMAC over all that stands before it. What
//! does not fit into 64 octets (RFC 5321 §4.5.3.1.1) is there as a keyed hash. Whoever has the report
//! compares: the recipient is the address in it that has this hash, the tenant the known one that has,
//! and so no table of what was sent has to be kept.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::BASE32_DNSSEC;

use super::envelope::QueueId;

/// What proves return paths: the first one makes them, each of them is believed.
#[derive(Clone)]
pub struct Keys(Vec<hmac::Key>);

/// What is sent, to whom.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The message.
    pub id: QueueId,
    /// Its recipient.
    pub recipient: &'a str,
    /// Whose it is.
    pub tenant: Option<&'a str>,
    /// What it belongs to.
    pub tag: Option<&'a str>,
}

/// What a return path says that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The message.
    pub id: QueueId,
    tenant: [u8; TENANT_OCTETS],
    tag: [u8; TAG_OCTETS],
    recipient: [u8; RECIPIENT_OCTETS],
    /// Which of the keys made it.
    key: usize,
}

impl Keys {
    /// Reads a file of them: a secret on each line, and comments behind `#`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let key = |(line, number): (&str, usize)| {
            if line.len() < SECRET_OCTETS_MIN {
                return Err(format!(
                    "line {number}: a secret has {SECRET_OCTETS_MIN} characters at least"
                ));
            }
            Ok(hmac::Key::new(HMAC_SHA256, line.as_bytes()))
        };
        let keys: Vec<hmac::Key> = lines.map(key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err("there is no secret in it".to_owned());
        }
        Ok(Self(keys))
    }

    /// The return path of a message to one recipient.
    #[must_use]
    pub fn return_path(&self, sent: &Sent<'_>, domain: &str) -> String {
        let mut octets = [0; TOKEN_OCTETS];
        let (said, proof) = octets.split_at_mut(SAID_OCTETS);
        if let Some(key) = self.0.first() {
            let (id, rest) = said.split_at_mut(ID_OCTETS);
            let (tenant, rest) = rest.split_at_mut(TENANT_OCTETS);
            let (tag, recipient) = rest.split_at_mut(TAG_OCTETS);
            id.copy_from_slice(&sent.id.0.to_be_bytes());
            // What is not there is nought.
            for (name, place) in [(sent.tenant, tenant), (sent.tag, tag)] {
                if let Some(name) = name {
                    place.copy_from_slice(&hash(key, NAME, name)[..place.len()]);
                }
            }
            recipient.copy_from_slice(&address_hash(key, sent.recipient)[..RECIPIENT_OCTETS]);
            proof.copy_from_slice(&prove(key, said)[..PROOF_OCTETS]);
        }
        // One piece of memory: each message has one of these.
        let code = BASE32_DNSSEC.encode_len(octets.len());
        let mut path = String::with_capacity(PREFIX.len() + code + 1 + domain.len());
        path.push_str(PREFIX);
        BASE32_DNSSEC.encode_append(&octets, &mut path);
        path.push('@');
        path.push_str(domain);
        path
    }

    /// What a local part says, where it holds.
    #[must_use]
    pub fn read(&self, local_part: &str) -> Option<Token> {
        let text = without_prefix(local_part)?;
        let octets = BASE32_DNSSEC.decode(text.as_bytes()).ok()?;
        let octets: [u8; TOKEN_OCTETS] = octets.try_into().ok()?;
        let (said, proof) = octets.split_at(SAID_OCTETS);
        let holds = |key: &hmac::Key| {
            verify_slices_are_equal(&prove(key, said)[..PROOF_OCTETS], proof).is_ok()
        };
        let key = self.0.iter().position(holds)?;
        let (id, rest) = said.split_first_chunk()?;
        let (tenant, rest) = rest.split_first_chunk()?;
        let (tag, rest) = rest.split_first_chunk()?;
        Some(Token {
            id: QueueId(u64::from_be_bytes(*id)),
            tenant: *tenant,
            tag: *tag,
            recipient: *rest.first_chunk()?,
            key,
        })
    }

    /// Was it sent to this address?
    #[must_use]
    pub fn is_to(&self, token: &Token, address: &str) -> bool {
        let key = self.0.get(token.key);
        key.is_some_and(|key| address_hash(key, address).starts_with(&token.recipient))
    }

    /// The one of these tenants whose it was.
    #[must_use]
    pub fn tenant<'n>(
        &self,
        token: &Token,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        self.named(token, &token.tenant, names)
    }

    /// The one of these tags that it had.
    #[must_use]
    pub fn tag<'n>(
        &self,
        token: &Token,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        self.named(token, &token.tag, names)
    }

    fn named<'n>(
        &self,
        token: &Token,
        wanted: &[u8],
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        let key = self.0.get(token.key)?;
        let is_there = wanted.iter().any(|octet| *octet != 0);
        let mut names = names.into_iter().filter(|_| is_there);
        names.find(|name| hash(key, NAME, name).starts_with(wanted))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// Whether a local part looks like that of a return path, whether it holds or not.
#[must_use]
pub fn is_return_path(local_part: &str) -> bool {
    without_prefix(local_part).is_some()
}

/// Hosts may change the case of an address; they should not, and some do.
fn without_prefix(local_part: &str) -> Option<&str> {
    let (prefix, rest) = local_part.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

/// Without regard to case, as the suppression list takes addresses.
fn address_hash(key: &hmac::Key, address: &str) -> [u8; 32] {
    match address.bytes().any(|octet| octet.is_ascii_uppercase()) {
        true => hash(key, ADDRESS, &address.to_ascii_lowercase()),
        false => hash(key, ADDRESS, address),
    }
}

fn hash(key: &hmac::Key, what: &[u8], text: &str) -> [u8; 32] {
    mac(key, what, text.as_bytes())
}

fn prove(key: &hmac::Key, said: &[u8]) -> [u8; 32] {
    mac(key, PATH, said)
}

fn mac(key: &hmac::Key, what: &[u8], octets: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(what);
    context.update(octets);
    let mut result = [0; 32];
    result.copy_from_slice(context.sign().as_ref());
    result
}

/// Before what names a message.
const PREFIX: &str = "b+";
const ID_OCTETS: usize = 8;
/// Of some hundred tenants two look alike once in a thousand relays.
const TENANT_OCTETS: usize = 3;
const TAG_OCTETS: usize = 4;
/// Whoever holds a return path and puts a thousand addresses into a report hits another's once in a
/// thousand million reports.
const RECIPIENT_OCTETS: usize = 5;
const SAID_OCTETS: usize = ID_OCTETS + TENANT_OCTETS + TAG_OCTETS + RECIPIENT_OCTETS;
/// 64 bits: guesses go to a mail server, one by one.
const PROOF_OCTETS: usize = 8;
const TOKEN_OCTETS: usize = SAID_OCTETS + PROOF_OCTETS;
const SECRET_OCTETS_MIN: usize = 32;
// What a hash is of: one of an address proves no path.
const PATH: &[u8] = b"return path\0";
const ADDRESS: &[u8] = b"recipient\0";
const NAME: &[u8] = b"name\0";

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn keys(secrets: &[&str]) -> Keys {
        Keys::parse(&secrets.join("\n")).unwrap()
    }

    fn sent() -> Sent<'static> {
        Sent {
            id: QueueId(0x1234_5678_9abc_def0),
            recipient: "Bob@d.test",
            tenant: Some("red"),
            tag: None,
        }
    }

    fn local_part(path: &str) -> &str {
        path.split_once('@').unwrap().0
    }

    #[test]
    fn a_return_path_says_what_was_sent_in_whatever_case_it_comes_back() {
        let keys = keys(&[OLD]);
        let path = keys.return_path(&sent(), "returns.test");
        let local = local_part(&path);
        assert!(
            local.len() <= 64 && path.ends_with("@returns.test"),
            "{path}"
        );
        assert!(is_return_path(local) && local.starts_with("b+"));
        for local in [local.to_owned(), local.to_ascii_uppercase()] {
            let token = keys.read(&local).unwrap();
            assert_eq!(token.id, sent().id);
            assert!(keys.is_to(&token, "bob@D.test") && !keys.is_to(&token, "bo@d.test"));
            assert_eq!(keys.tenant(&token, ["blue", "red"]), Some("red"));
            assert_eq!(keys.tenant(&token, ["blue"]), None);
            assert_eq!(keys.tag(&token, ["news"]), None, "it had none");
        }
    }

    #[test]
    fn nobody_else_makes_one_and_nobody_changes_one() {
        let keys = keys(&[OLD]);
        let path = keys.return_path(&sent(), "returns.test");
        let local = local_part(&path);
        for place in 2..local.len() {
            let mut changed = local.as_bytes().to_vec();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(keys.read(&changed), None, "{changed}");
        }
        let other = self::keys(&[NEW]).return_path(&sent(), "returns.test");
        assert_eq!(keys.read(local_part(&other)), None);
        for bad in [
            "",
            "b",
            "b+",
            "b+!",
            "\u{e4}+0",
            "bob",
            &local[..46],
            "b+b+",
        ] {
            assert_eq!(keys.read(bad), None, "{bad}");
        }
        assert_eq!(keys.read(&format!("{local}0")), None);
    }

    #[test]
    fn what_an_older_key_made_still_holds() {
        let path = keys(&[OLD]).return_path(&sent(), "returns.test");
        let both = keys(&["# the present one", NEW, "", "# the last one", OLD]);
        let token = both.read(local_part(&path)).unwrap();
        assert!(both.is_to(&token, "bob@d.test"));
        let fresh = both.return_path(&sent(), "returns.test");
        assert!(keys(&[NEW]).read(local_part(&fresh)).is_some());
    }

    #[test]
    fn a_file_without_a_good_secret_is_told_of() {
        let fault = |text: &str| Keys::parse(text).unwrap_err();
        assert!(fault("# nothing\n\n").contains("no secret"));
        assert!(fault("# one\nshort").starts_with("line 2: "));
    }
}
