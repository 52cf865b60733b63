//! What is answered to a request that is not carried out: problem details (RFC 9457).

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::mail::envelope::QueueId;

/// A refusal: a status, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) words: String,
    /// What programs may want to know besides.
    more: Map<String, Value>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self {
            status,
            words: words.into(),
            more: Map::new(),
        }
    }

    /// Says something more of it.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// As an object. Its type is no more than the status (RFC 9457 §4.2.1).
    pub(super) fn problem(&self) -> Value {
        let mut problem = self.more.clone();
        let title = self.status.canonical_reason().unwrap_or_default();
        problem.insert("type".to_owned(), json!("about:blank"));
        problem.insert("title".to_owned(), json!(title));
        problem.insert("status".to_owned(), json!(self.status.as_u16()));
        problem.insert("detail".to_owned(), json!(self.words));
        Value::Object(problem)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = self.problem().to_string();
        let kind = HeaderValue::from_static(PROBLEM);
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let wait = HeaderValue::from_static(RETRY_AFTER_S);
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

/// The queue id that a request names.
pub(super) fn queue_id(text: &str) -> Result<QueueId, Failure> {
    text.parse().map_err(|_| {
        let words = format!("{text} is no queue id");
        Failure::new(StatusCode::BAD_REQUEST, words)
    })
}

/// What a request says its body is, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// RFC 9457 §3
const PROBLEM: &str = "application/problem+json";
/// What passes by itself has passed by then, most of the time.
const RETRY_AFTER_S: &str = "5";
