//! Where messages are written: a file whose blocks are there already, from its start again when it is full.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The next place in it.
#[derive(Default)]
pub(crate) struct Place(u64);

impl Place {
    /// Where so many octets go.
    pub(crate) fn take(&mut self, octets: usize) -> u64 {
        let octets = octets as u64;
        if self.0 + octets > FILE_OCTETS {
            self.0 = 0;
        }
        let place = self.0;
        self.0 += octets;
        place
    }
}

/// Makes the file, and writes all of it once.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_OCTETS).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()
}

/// So large are the relay's segments.
const FILE_OCTETS: u64 = 64 << 20;
