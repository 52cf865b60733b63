//! The page at `/`: the dashboard for a browser, a list of addresses for everybody else. Three files
//! in the program, nothing from elsewhere; it asks the same addresses as the commands do.

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The page's files are no secret: a browser gets them without the token and then asks for it.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(index))
        .route("/style.css", get(async || file("text/css", STYLE)))
        .route("/script.js", get(async || file("text/javascript", SCRIPT)))
}

async fn index(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT);
    let browser = accepts
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accepts| accepts.contains("text/html"));
    if browser {
        file("text/html; charset=utf-8", PAGE)
    } else {
        ADDRESSES.into_response()
    }
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, PAGE_MAY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next version's page must not run this one's script.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the page may do: be drawn, run its own script, and ask us. Orders are JSON, which a page from
/// elsewhere cannot send without asking first (and is refused then): no token against that is needed.
const PAGE_MAY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const ADDRESSES: &str = "ringpost\n\n\
    /metrics              for Prometheus\n\
    /healthz              every shard answers\n\
    /readyz               mail is taken\n\
    /api/v1/latency       percentiles: ?stage= &destination= &shard= &window=minute &format=hgrm\n\
    /api/v1/latency/minutes  each minute of the last hour: ?stage=\n\
    /api/v1/latency/windows  minute, hour and start at once: ?destination=\n\
    /api/v1/shards        each shard, its core, how busy it is\n\
    /api/v1/queue         messages: ?id= &to= &from= &domain= &destination= &tenant= &tag= &state= &reply=\n\
    \u{20}                     &older_than=SECONDS &newer_than= &larger_than=OCTETS &smaller_than= &limit=\n\
    /api/v1/queue/ID      one message; ID/raw: the message itself\n\
    /api/v1/queue/shape   recipients by destination, age and state\n\
    /api/v1/trace/ID      what happened to one message\n\
    /api/v1/dialogues     SMTP while it happens: ?destination= or ?client=, &seconds=\n\
    /api/v1/bounces       to whom mail did not come: ?limit=\n\
    /api/v1/explain       how mail would travel: ?recipient= &tenant=\n\
    /api/v1/suppressions  who gets no mail: ?address= &why= &after= &limit=; POST adds\n\
    /api/v1/users         who may log in; POST adds; DELETE /ADDRESS, PUT /ADDRESS/password\n\
    /api/v1/openapi.json  all of this for programs, with what is read and answered\n\n\
    POST /api/v1/queue/{hold,release,retry,remove,undo,bounce,redirect} with a selector, dry_run, reason\n\
    POST /api/v1/suppressions/remove                 takes addresses off that list\n\
    POST /api/v1/messages, /api/v1/messages/batch    takes mail\n\
    POST /api/v1/config/check, /api/v1/reload, /api/v1/drain\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::openapi::document;

    #[test]
    fn the_list_of_addresses_has_every_address() {
        let document = document();
        for path in document["paths"].as_object().expect("paths").keys() {
            // What follows is a name of somebody's.
            let fixed = path.split("/{").next().unwrap_or_default();
            assert!(ADDRESSES.contains(fixed), "{path}");
        }
    }
}
