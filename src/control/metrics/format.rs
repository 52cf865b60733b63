//! In which words metrics are told: the best that the asker reads.

use std::fmt::Write as _;

use axum::http::{HeaderMap, header};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams as _};
use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::registry::Registry;

/// A format of metrics, the plainest first: of two that are wanted alike, the later one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text, which everybody reads.
    Plain,
    /// OpenMetrics 1.0.
    Open,
    /// Prometheus' messages of Protocol Buffers: the only one with native histograms.
    Messages,
}

impl Format {
    /// The one that a request wants most (RFC 9110 §12.5.1). Who names none of them gets the plain one.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let lists = accepted.filter_map(|value| value.to_str().ok());
        let ranges = lists.flat_map(MediaTypeList::new).filter_map(Result::ok);
        let mut best = (Self::Plain, 0.0);
        for range in ranges {
            let Some(format) = Self::named(&range) else {
                continue;
            };
            let weight = weight(&range);
            if weight > best.1 || (weight == best.1 && weight > 0.0 && format as u8 > best.0 as u8)
            {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The format that a media type means, if it is one of ours.
    fn named(range: &MediaType<'_>) -> Option<Self> {
        let names = |ty: &str, subty: &str| range.ty == ty && range.subty == subty;
        let says = |name, wanted| {
            let given = Name::new(name).and_then(|name| range.get_param(name));
            given.is_some_and(|value| value.unquoted_str().eq_ignore_ascii_case(wanted))
        };
        if names("text", "plain") {
            return Some(Self::Plain);
        }
        if names("application", "openmetrics-text") {
            return Some(Self::Open);
        }
        let is_ours = names("application", "vnd.google.protobuf")
            && says("proto", "io.prometheus.client.MetricFamily")
            && says("encoding", "delimited");
        is_ours.then_some(Self::Messages)
    }

    /// What the answer calls itself.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Messages => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// All metrics in this format.
    pub(super) fn encode(self, registry: &Registry) -> Result<Vec<u8>, String> {
        if self == Self::Messages {
            return prometheus_protobuf::encode_to_vec(registry).map_err(|error| error.to_string());
        }
        let mut body = String::new();
        text::encode(&mut body, registry).map_err(|error| error.to_string())?;
        if self == Self::Plain {
            body = older(&body);
        }
        Ok(body.into_bytes())
    }
}

/// How much a media type is wanted, from 0 to 1 (RFC 9110 §12.4.2).
fn weight(range: &MediaType<'_>) -> f64 {
    let given = Name::new("q").and_then(|name| range.get_param(name));
    match given {
        Some(value) => value.as_str().parse().unwrap_or_default(),
        None => 1.0,
    }
}

/// OpenMetrics in the text format from before it: a counter's family is called like its samples,
/// and nothing is said of units or of the end.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let (first, rest) = line.split_at(line.len().min(7));
        match first {
            "# HELP " => help = rest.split_once(' '),
            "# TYPE " => {
                let Some((name, kind)) = rest.split_once(' ') else {
                    continue;
                };
                let end = if kind == "counter" { "_total" } else { "" };
                // Writing to a String does not fail.
                if let Some((_, words)) = help.take() {
                    let _ = writeln!(older, "# HELP {name}{end} {words}");
                }
                let _ = writeln!(older, "# TYPE {name}{end} {kind}");
            }
            _ if line.starts_with('#') => {}
            _ => {
                let _ = writeln!(older, "{line}");
            }
        }
    }
    older
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        Format::wanted(&headers)
    }

    /// What Prometheus sends, as releases of it were seen to.
    #[test]
    fn prometheus_gets_native_histograms_when_it_reads_them() {
        let of_2_42 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let native_2_42 = format!("{MESSAGES},{}", of_2_42.replace("1.0.0,", "1.0.0;q=0.8,"));
        let native_3 = format!(
            "{MESSAGES};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.1"
        );
        assert_eq!(wanted(of_2_42), Format::Open);
        assert_eq!(wanted(&native_2_42), Format::Messages);
        assert_eq!(wanted(&native_3), Format::Messages);
    }

    #[test]
    fn who_wants_something_else_gets_the_plain_text() {
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Plain);
        for accept in [
            "*/*",
            "text/html,application/xhtml+xml",
            "nonsense",
            "",
            // Formats of Protocol Buffers that are not ours, and what is said to be unwanted.
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/openmetrics-text;q=0",
        ] {
            assert_eq!(wanted(accept), Format::Plain, "{accept}");
        }
    }

    #[test]
    fn what_is_wanted_most_is_given_wherever_it_stands() {
        let text_first = format!("text/plain;q=0.9,{MESSAGES};q=0.3");
        assert_eq!(wanted(&text_first), Format::Plain);
        let alike = format!("{MESSAGES};q=0.5,application/openmetrics-text;q=0.5,text/plain;q=0.5");
        assert_eq!(wanted(&alike), Format::Messages);
        assert_eq!(wanted("Application/OpenMetrics-Text"), Format::Open);
    }

    const MESSAGES: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
}
