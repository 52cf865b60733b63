//! Where next: static routes, MX order, address choice. Pure.

pub mod dns;
