//! The configuration file.
//!
//! TOML, every key optional. `ringpost config --defaults` prints all of them with their meaning and
//! default; `ringpost config --config FILE` prints what is in effect. `ringpost check --config FILE`
//! names each fault as `FILE:LINE:COLUMN: ...` and ends with 78. An unknown key is a fault that
//! names the nearest known one.
//!
//! Sizes take `B`, `KiB`, `MiB`, `GiB`; durations `us`, `ms`, `s`, `m`, `h`, `d`.
//!
//! # A relay for an office
//!
//! ```toml
//! hostname = "relay.example.org"          # what the world calls this machine: forward and reverse DNS agree
//! data_dir = "/var/lib/ringpost"
//!
//! [[listener]]
//! protocol = "smtp"
//! bind = ["0.0.0.0:25", "[::]:25"]
//!
//! [smtp]
//! trusted_networks = ["127.0.0.0/8", "::1/128", "192.168.0.0/16"]
//! ```
//!
//! # Mail for one domain to a fixed host, the rest by MX
//!
//! ```toml
//! [[route]]                               # the first match wins
//! domain = "*.inside.example.org"
//! to = "smtp://mail.inside.example.org:25"
//!
//! [[route]]
//! domain = "retired.example.org"
//! to = "reject"
//! ```
//!
//! # What a reload changes
//!
//! SIGHUP reads the file again. Routes and limits change without losing a connection, also for mail
//! that waits. Listeners, cores and the data directory need a restart, and the log says so. A file
//! with a fault changes nothing: the old configuration stays in force and the fault is logged.
