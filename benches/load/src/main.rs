//! A client and a server that cost little, for loads that smtp-source cannot make: pipelined, at a given
//! rate, to thousands of destinations of which some are slow or dead. `scripts/bench` drives both.
//!
//! `cargo run --release --manifest-path benches/load/Cargo.toml -- send --help`

use std::io;

use clap::{Parser, Subcommand};

mod send;
mod sink;

#[derive(Parser)]
#[command(name = "load", about = "A load for measurements")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Send messages, and print rates and latencies as JSON
    Send(send::Plan),
    /// Take messages, and print how many
    Sink(sink::Plan),
}

fn main() -> io::Result<()> {
    match Arguments::parse().part {
        Part::Send(plan) => send::run(&plan),
        Part::Sink(plan) => sink::run(&plan),
    }
}
