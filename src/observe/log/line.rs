//! How a line is written, octet by octet: no allocation beyond the buffer.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::seats::Seats;
use super::{Accepted, Delivery, Format, Level};
use crate::mail::envelope::QueueId;
use crate::mail::outcome::ReportKind;
use crate::time::Wall;
use crate::world::Seat;

/// Lines that wait to be passed on.
pub(super) struct Lines {
    pub(super) buffer: Vec<u8>,
    /// Lines in `buffer`.
    pub(super) count: u64,
    format: Format,
    zone: TimeZone,
    /// What stands before a program's name in the text form: `Nov 23 11:00:13 HOST ringpost`.
    /// In JSON: `2026-11-23T11:00:13`. Made anew each second.
    stamp: String,
    stamped: i64,
    host: String,
    process: u32,
}

impl Lines {
    pub(super) fn new(format: Format, host: &str) -> Self {
        Self {
            buffer: Vec::with_capacity(super::BUFFER_OCTETS),
            count: 0,
            format,
            zone: TimeZone::system(),
            stamp: String::new(),
            stamped: i64::MIN,
            host: Clean(host).to_string(),
            process: std::process::id(),
        }
    }

    #[cfg(test)]
    pub(super) fn in_zone(mut self, zone: TimeZone, process: u32) -> Self {
        (self.zone, self.process) = (zone, process);
        self
    }

    pub(super) fn delivery(&mut self, now: Wall, delivery: &Delivery<'_>) {
        let Delivery {
            id,
            to,
            orcpt,
            relay,
            source,
            tls,
            delay,
            delays: [a, b, c, d],
            dsn,
            status,
            text,
            tenant,
            class,
        } = *delivery;
        if self.format == Format::Json {
            let mut object = self.object(now, Level::Info, "delivery");
            object.shown("id", id).text("to", to);
            if let Some(orcpt) = orcpt {
                object.text("orcpt", orcpt);
            }
            if let Some(relay) = relay {
                object.text("relay", relay);
            }
            if let Some(source) = source {
                object.text("source", source);
            }
            if let Some(tls) = tls {
                object.shown("tls", tls);
            }
            object.number("delay", delay.as_secs_f64());
            object.numbers("delays", [a, b, c, d].map(|part| part.as_secs_f64()));
            object.shown("dsn", dsn).text("status", status);
            if let Some(tenant) = tenant {
                object.text("tenant", tenant);
            }
            if let Some(class) = class {
                object.text("class", class.name());
            }
            object.text("text", text).end();
            return;
        }
        self.head(now, "smtp");
        self.put(format_args!("{id}: to=<{}>, ", Clean(to)));
        if let Some(orcpt) = orcpt {
            // `rfc822;a@b`: Postfix shows the address alone.
            let address = orcpt.split_once(';').map_or(orcpt, |(_, address)| address);
            self.put(format_args!("orig_to=<{}>, ", Clean(address)));
        }
        self.put(format_args!("relay={}, ", Clean(relay.unwrap_or("none"))));
        let [a, b, c, d] = [a, b, c, d].map(Seconds);
        self.put(format_args!(
            "delay={}, delays={a}/{b}/{c}/{d}, dsn={dsn}, status={status} ({})",
            Seconds(delay),
            Clean(text)
        ));
        self.put_asides(delivery);
        self.end();
    }

    /// Behind what readers of Postfix' lines know, where it breaks none of their patterns.
    fn put_asides(&mut self, delivery: &Delivery<'_>) {
        if let Some(source) = delivery.source {
            self.put(format_args!(" source={}", Clean(source)));
        }
        if let Some(tenant) = delivery.tenant {
            self.put(format_args!(" tenant={}", Clean(tenant)));
        }
        if let Some(class) = delivery.class {
            self.put(format_args!(" class={class}"));
        }
        // The last one, because blanks are in it.
        if let Some(tls) = delivery.tls {
            self.put(format_args!(" tls={tls}"));
        }
    }

    pub(super) fn accepted(&mut self, now: Wall, accepted: &Accepted<'_>) {
        let Accepted {
            id,
            client,
            hello,
            from,
            size,
            recipients,
            message_id,
        } = *accepted;
        if self.format == Format::Json {
            let mut object = self.object(now, Level::Info, "accepted");
            object.shown("id", id);
            if let Some(client) = client {
                object.shown("client", client).text("hello", hello);
            }
            object.text("from", from);
            object.number("size", size).number("recipients", recipients);
            if let Some(message_id) = message_id {
                object.text("message_id", message_id);
            }
            object.end();
            return;
        }
        if let Some(client) = client {
            // The name is Postfix's for a client whose address was not looked up.
            self.head(now, "smtpd");
            let hello = Clean(hello);
            self.put(format_args!(
                "{id}: client=unknown[{client}], helo=<{hello}>"
            ));
            self.end();
        }
        if let Some(message_id) = message_id {
            self.head(now, "cleanup");
            self.put(format_args!("{id}: message-id={}", Clean(message_id)));
            self.end();
        }
        self.head(now, "qmgr");
        self.put(format_args!(
            "{id}: from=<{}>, size={size}, nrcpt={recipients} (queue active)",
            Clean(from)
        ));
        self.end();
    }

    pub(super) fn removed(&mut self, now: Wall, id: QueueId) {
        if self.format == Format::Json {
            self.object(now, Level::Info, "removed")
                .shown("id", id)
                .end();
            return;
        }
        self.head(now, "qmgr");
        self.put(format_args!("{id}: removed"));
        self.end();
    }

    pub(super) fn reported(&mut self, now: Wall, id: QueueId, report: QueueId, kind: ReportKind) {
        let words = match kind {
            ReportKind::Failure => "sender non-delivery notification",
            ReportKind::Delay => "sender delay notification",
            ReportKind::Success => "sender delivery status notification",
        };
        if self.format == Format::Json {
            let mut object = self.object(now, Level::Info, "reported");
            object.shown("id", id).text("kind", kind.name());
            object.shown("report", report).end();
            return;
        }
        self.head(now, "bounce");
        self.put(format_args!("{id}: {words}: {report}"));
        self.end();
    }

    pub(super) fn shards(&mut self, now: Wall, seats: &[Option<Seat>]) {
        let seats = Seats(seats);
        if self.format == Format::Json {
            let mut object = self.object(now, Level::Info, "shards");
            object.number("seats", seats.as_json()).end();
            return;
        }
        self.head(now, "");
        self.put(format_args!("{seats}"));
        self.end();
    }

    pub(super) fn say(&mut self, now: Wall, level: Level, words: fmt::Arguments<'_>) {
        if self.format == Format::Json {
            self.object(now, level, "note").shown("text", words).end();
            return;
        }
        self.head(now, "");
        let mark = match level {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
        };
        self.buffer.extend_from_slice(mark.as_bytes());
        // Infallible into a Vec; a value that cannot be shown leaves the line short.
        let _ = write!(Cleaner(&mut self.buffer), "{words}");
        self.end();
    }

    fn head(&mut self, now: Wall, program: &str) {
        self.date(now);
        self.buffer.extend_from_slice(self.stamp.as_bytes());
        if !program.is_empty() {
            self.buffer.push(b'/');
            self.buffer.extend_from_slice(program.as_bytes());
        }
        let process = self.process;
        self.put(format_args!("[{process}]: "));
    }

    fn put(&mut self, words: fmt::Arguments<'_>) {
        // Writing into a Vec does not fail.
        let _ = self.buffer.write_fmt(words);
    }

    fn end(&mut self) {
        self.buffer.push(b'\n');
        self.count += 1;
    }

    fn object(&mut self, now: Wall, level: Level, event: &'static str) -> Object<'_> {
        self.date(now);
        let micros = now.subsec_micros();
        let _ = write!(
            self.buffer,
            "{{\"time\":\"{}.{micros:06}Z\",\"level\":\"{}\",\"event\":\"{event}\"",
            self.stamp,
            level.name()
        );
        Object(self)
    }

    /// Sees to it that `stamp` is of this second.
    fn date(&mut self, now: Wall) {
        let second = now.seconds();
        if second == self.stamped {
            return;
        }
        self.stamped = second;
        self.stamp.clear();
        let moment = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        let _ = match self.format {
            Format::Text => {
                let local = moment.to_zoned_datetime(self.zone.clone());
                let host = &self.host;
                let date = local.strftime("%b %e %H:%M:%S");
                write!(self.stamp, "{date} {host} ringpost")
            }
            Format::Json => write!(self.stamp, "{}", moment.strftime("%Y-%m-%dT%H:%M:%S")),
        };
    }
}

/// A JSON object on its way into the buffer.
struct Object<'a>(&'a mut Lines);

impl Object<'_> {
    fn key(&mut self, key: &'static str) {
        self.0.put(format_args!(",\"{key}\":"));
    }

    fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.shown(key, value)
    }

    fn shown(&mut self, key: &'static str, value: impl fmt::Display) -> &mut Self {
        self.key(key);
        self.0.buffer.push(b'"');
        let _ = write!(Quoted(&mut self.0.buffer), "{value}");
        self.0.buffer.push(b'"');
        self
    }

    fn number(&mut self, key: &'static str, value: impl fmt::Display) -> &mut Self {
        self.key(key);
        self.0.put(format_args!("{value}"));
        self
    }

    fn numbers(&mut self, key: &'static str, [a, b, c, d]: [f64; 4]) {
        self.key(key);
        self.0.put(format_args!("[{a},{b},{c},{d}]"));
    }

    fn end(&mut self) {
        self.0.buffer.push(b'}');
        self.0.end();
    }
}

/// A peer's words: what could end the line or steer a terminal is shown as `?`.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(char::is_control) {
            match piece.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    f.write_str(&piece[..at])?;
                    f.write_char('?')?;
                }
                _ => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// The same for what is formatted piece by piece.
struct Cleaner<'a>(&'a mut Vec<u8>);

impl fmt::Write for Cleaner<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .write_fmt(format_args!("{}", Clean(text)))
            .map_err(|_| fmt::Error)
    }
}

/// Escapes what may not stand in a JSON string (RFC 8259 §7), and the control characters above
/// 127, which a terminal obeys.
struct Quoted<'a>(&'a mut Vec<u8>);

impl fmt::Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(|c: char| c.is_control() || c == '"' || c == '\\') {
            let Some((at, last)) = piece.char_indices().next_back() else {
                continue;
            };
            let plain = match last {
                '"' | '\\' => at,
                last if last.is_control() => at,
                _ => piece.len(),
            };
            self.0.extend_from_slice(&piece.as_bytes()[..plain]);
            if plain < piece.len() {
                let _ = match last {
                    '"' | '\\' => write!(self.0, "\\{last}"),
                    last => write!(self.0, "\\u{:04x}", u32::from(last)),
                };
            }
        }
        Ok(())
    }
}

/// A delay as Postfix writes it: two digits that mean something, no more than six after the dot.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let mut step = 1;
        while micros / step >= 100 && step < 1_000_000 {
            step *= 10;
        }
        let rounded = (micros + step / 2) / step * step;
        let (whole, part) = (rounded / 1_000_000, rounded % 1_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let (mut part, mut width) = (part, 6);
        while part % 10 == 0 {
            part /= 10;
            width -= 1;
        }
        write!(f, "{whole}.{part:0width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_two_digits_that_mean_something() {
        for (micros, text) in [
            (0, "0"),
            (7, "0.000007"),
            (312, "0.00031"),
            (12_345, "0.012"),
            (99_600, "0.1"),
            (500_000, "0.5"),
            (1_260_000, "1.3"),
            (9_960_000, "10"),
            (12_345_678, "12"),
            (432_000_400_000, "432000"),
        ] {
            assert_eq!(Seconds(Duration::from_micros(micros)).to_string(), text);
        }
    }
}
