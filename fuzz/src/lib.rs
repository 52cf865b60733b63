//! What several fuzz targets share.
//!
//! Inputs are plain octets, as they would come over the network or stand on the disk: so a seed is
//! a file that one can read, and what a target found can be given to any other program. What a
//! target needs besides, such as where the input is cut, follows from the input itself.

pub mod answers;
pub mod house;
pub mod message;
pub mod smtp;

/// The input in two pieces, cut where its checksum says: each input has its cut, and any input
/// that is near has another.
#[must_use]
pub fn halves(octets: &[u8]) -> (&[u8], &[u8]) {
    octets.split_at(choice(octets, octets.len() + 1))
}

/// A number below `limit` that follows from the input.
#[must_use]
pub fn choice(octets: &[u8], limit: usize) -> usize {
    crc32c::crc32c(octets) as usize % limit.max(1)
}

/// The first octet, for what has to be chosen, and the rest.
#[must_use]
pub fn headed(octets: &[u8]) -> (u8, &[u8]) {
    match octets.split_first() {
        Some((first, rest)) => (*first, rest),
        None => (0, octets),
    }
}

/// Lines end in CRLF alone, as in everything that the SMTP server has let through.
#[must_use]
pub fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'\r' | 0 => {}
            b'\n' => content.extend_from_slice(b"\r\n"),
            _ => content.push(octet),
        }
    }
    content
}

/// A file with this content, for what reads files only: one for each process.
///
/// # Panics
///
/// When the temporary directory cannot be written to.
#[must_use]
pub fn file(name: &str, octets: &[u8]) -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("ringpost-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join(name);
    std::fs::write(&path, octets).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).expect("a private file");
    path
}
