//! What it costs to find line ends and the end of content, beside the obvious way to do it.
//!
//! `cargo bench --bench scan`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringpost::wire::dot::DotScanner;
use ringpost::wire::line::LineScanner;

/// Octets that arrive with one read: the size of a connection's buffer.
const READ_OCTETS: usize = 16 * 1024;

/// A message in wire form with its final dot. Every twentieth line is stuffed.
fn content(octets: usize, line: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(octets + line + 5);
    for number in 0.. {
        if content.len() >= octets {
            break;
        }
        if number % 20 == 19 {
            content.extend_from_slice(b"..");
        }
        content.extend(std::iter::repeat_n(b'x', line));
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    content
}

/// One state for each octet, one octet at a time, each copied to where the message is kept.
#[derive(Default)]
struct Naive {
    state: usize,
    kept: Vec<u8>,
}

impl Naive {
    fn feed(&mut self, octets: &[u8]) -> bool {
        const END: &[u8] = b"\r\n.\r\n";
        for &octet in octets {
            self.kept.push(octet);
            self.state = match octet {
                octet if octet == END[self.state] => self.state + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.state == END.len() {
                return true;
            }
        }
        false
    }
}

fn end_of_content(c: &mut Criterion) {
    let mut group = c.benchmark_group("end_of_content");
    for (name, octets, line) in [
        ("1KiB", 1 << 10, 70),
        ("64KiB", 64 << 10, 70),
        ("64KiB base64", 64 << 10, 76),
        ("64KiB long lines", 64 << 10, 990),
        ("64KiB short lines", 64 << 10, 8),
    ] {
        let content = content(octets, line);
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("in place", name),
            &content,
            |b, content| {
                b.iter(|| {
                    let mut scanner = DotScanner::new();
                    let reads = content.chunks(READ_OCTETS);
                    reads.map(|read| scanner.feed(black_box(read)).ended).last()
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("by octet", name),
            &content,
            |b, content| {
                b.iter(|| {
                    let mut scanner = Naive::default();
                    let reads = content.chunks(READ_OCTETS);
                    let ended = reads.map(|read| scanner.feed(black_box(read))).last();
                    (ended, scanner.kept.len())
                });
            },
        );
    }
    group.finish();
}

/// What a client of ours pipelines, many times over.
fn commands() -> Vec<u8> {
    let envelope: &[u8] = b"MAIL FROM:<sender@example.org> SIZE=1024 BODY=8BITMIME\r\n\
        RCPT TO:<first.recipient@example.com>\r\nRCPT TO:<second@example.net>\r\nDATA\r\n";
    envelope.repeat(64)
}

fn lines(c: &mut Criterion) {
    let commands = commands();
    let mut group = c.benchmark_group("lines");
    group.throughput(Throughput::Bytes(commands.len() as u64));
    group.bench_function("in place", |b| {
        b.iter(|| {
            let (mut scanner, mut rest, mut octets) = (LineScanner::default(), &commands[..], 0);
            while let Some(line) = scanner.find(black_box(rest)) {
                octets += line.len;
                rest = &rest[line.next..];
            }
            octets
        });
    });
    group.bench_function("by octet", |b| {
        b.iter(|| {
            let (mut line, mut octets) = (Vec::new(), 0);
            for &octet in black_box(&commands) {
                line.push(octet);
                if line.ends_with(b"\r\n") {
                    octets += line.len() - 2;
                    line.clear();
                }
            }
            octets
        });
    });
    group.finish();
}

criterion_group!(benches, end_of_content, lines);
criterion_main!(benches);
