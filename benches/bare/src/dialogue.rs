//! What is said on a connection.

use memchr::memmem;

/// One connection's side of it.
#[derive(Default)]
pub(crate) struct Dialogue {
    heard: Vec<u8>,
    is_content: bool,
}

/// What is to be done next.
pub(crate) enum Next {
    /// Answer with this, and read on.
    Say(&'static [u8]),
    /// Write this, and say [`STORED`].
    Store(Vec<u8>),
    /// Say [`BYE`] and end.
    Bye,
    /// Read on.
    Read,
}

impl Dialogue {
    /// Octets were read.
    pub(crate) fn hears(&mut self, octets: &[u8]) {
        self.heard.extend_from_slice(octets);
    }

    /// What they want.
    pub(crate) fn next(&mut self) -> Next {
        if self.is_content {
            let Some(end) = memmem::find(&self.heard, END) else {
                return Next::Read;
            };
            let mut content = std::mem::take(&mut self.heard);
            self.heard = content.split_off(end + END.len());
            self.is_content = false;
            return Next::Store(content);
        }
        let Some(end) = memchr::memchr(b'\n', &self.heard) else {
            return Next::Read;
        };
        let word = self.heard.get(..4).map(<[u8]>::to_ascii_uppercase);
        self.heard.drain(..=end);
        match word.as_deref() {
            Some(b"DATA") => {
                self.is_content = true;
                Next::Say(b"354 go on\r\n")
            }
            Some(b"QUIT") => Next::Bye,
            _ => Next::Say(b"250 2.0.0 ok\r\n"),
        }
    }
}

pub(crate) const GREETING: &[u8] = b"220 bare.test ESMTP\r\n";
pub(crate) const STORED: &[u8] = b"250 2.0.0 stored\r\n";
pub(crate) const BYE: &[u8] = b"221 2.0.0 bye\r\n";
const END: &[u8] = b"\r\n.\r\n";
/// What one read takes at most: more than a small message.
pub(crate) const READ_OCTETS: usize = 4096;
