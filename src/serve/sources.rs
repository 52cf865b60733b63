//! Addresses that mail is to leave from and that the machine does not have.

use std::net::UdpSocket;

use crate::config::Config;

/// What to say of each address that cannot be sent from now. That is no reason to stay down: it may
/// be one that moves between machines.
#[must_use]
pub fn missing(config: &Config) -> Vec<String> {
    let addresses = config.addresses_out().into_iter();
    let words = addresses.filter_map(|(whose, address)| {
        let error = UdpSocket::bind((address, 0)).err()?;
        Some(format!(
            "{whose}: {address} cannot be sent from ({error}): mail goes from others of its pool, or waits until it can"
        ))
    });
    words.collect()
}
