//! What the control plane offers, for programs: an OpenAPI document (3.1), whose schemas are made of the
//! types that are read and written here.

use axum::response::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::inject::{Answered, Batch, Letter};
use super::suppressions::{self, Addresses, Changed};
use super::{explain, follow, house, latency, queue, trace};
use crate::observe::ask::{
    Act, Acted, Failed, Latencies, Minutes, OrderBody, QueueEntry, QueueEntryDetail, Recording,
    ShapeRow, ShardRow, Trace,
};
use crate::observe::explained::Explained;
use crate::observe::inject::Injected;
use crate::suppress::Page;

/// `GET /api/v1/openapi.json`
pub(super) async fn openapi() -> Json<Value> {
    Json(document())
}

/// One way to ask.
struct Call {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// The status when all is well, and what is answered then.
    answer: (u16, Value),
    /// Statuses of failures besides those that every call can have.
    failures: &'static [u16],
    /// Nobody needs a token for it.
    is_open: bool,
}

impl Call {
    fn new(method: &'static str, path: &'static str, summary: &'static str, answer: Value) -> Self {
        Self {
            method,
            path,
            summary,
            parameters: Vec::new(),
            body: None,
            answer: (200, answer),
            failures: &[],
            is_open: false,
        }
    }

    /// Nobody needs a token for it.
    fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    fn fails(mut self, failures: &'static [u16]) -> Self {
        self.failures = failures;
        self
    }

    fn with(mut self, parameters: Vec<Value>) -> Self {
        self.parameters = parameters;
        self
    }

    fn reads(mut self, content: Value) -> Self {
        self.body = Some(json!({ "required": true, "content": content }));
        self
    }

    fn written(self) -> Value {
        let mut responses = Map::new();
        let (status, content) = self.answer;
        responses.insert(
            status.to_string(),
            json!({ "description": "Done", "content": content }),
        );
        // A token is missing; a name is asked for where there is none; shards do not answer.
        for status in [401, 421, 503].iter().chain(self.failures) {
            let problem = json!({ "$ref": format!("#/components/responses/{status}") });
            responses.insert(status.to_string(), problem);
        }
        let mut operation = json!({
            "summary": self.summary,
            "operationId": operation_id(self.method, self.path),
            "responses": responses,
        });
        if self.is_open {
            operation["security"] = json!([]);
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = Value::Array(self.parameters);
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}']));
    let words = words.filter(|word| !["api", "v1"].contains(word));
    words.fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

/// Makes schemas, and remembers those that have names.
struct Sheet(SchemaGenerator);

impl Sheet {
    fn schema<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().to_value()
    }

    fn json<T: JsonSchema>(&mut self) -> Value {
        json!({ "application/json": { "schema": self.schema::<T>() } })
    }

    /// The fields of a type as parameters of an address.
    fn query<T: JsonSchema>(&mut self) -> Vec<Value> {
        let schema = self.0.root_schema_for::<T>().to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let parameter = |(name, mut schema): (String, Value)| {
            let fields = schema.as_object_mut();
            let described = fields.and_then(|fields| {
                fields.remove("default");
                fields.remove("description")
            });
            json!({
                "name": name,
                "in": "query",
                "required": required.contains(&json!(name)),
                "description": described.unwrap_or_else(|| json!(name)),
                "schema": present(schema),
            })
        };
        fields.into_iter().map(parameter).collect()
    }
}

/// A field that may be left out is there where it is written: never null.
fn present(mut schema: Value) -> Value {
    if let Some(kinds) = schema["type"].as_array() {
        let kinds: Vec<Value> = kinds
            .iter()
            .filter(|kind| *kind != "null")
            .cloned()
            .collect();
        schema["type"] = kinds.into_iter().next().unwrap_or_default();
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let mut choices = choices.iter().filter(|choice| choice["type"] != "null");
        return choices.next().cloned().unwrap_or_default();
    }
    schema
}

/// Says of numbers how large they may be: their format is no more than a hint.
fn bound(schema: &mut Value) {
    let format = schema["format"].as_str().map(str::to_owned);
    if let (Some(format), Some(fields)) = (format, schema.as_object_mut()) {
        let bounds = match &*format {
            "uint64" | "uint" => json!({ "minimum": 0, "maximum": u64::MAX }),
            "uint32" => json!({ "minimum": 0, "maximum": u32::MAX }),
            "uint16" => json!({ "minimum": 0, "maximum": u16::MAX }),
            "int64" => json!({ "minimum": i64::MIN, "maximum": i64::MAX }),
            _ => json!({}),
        };
        fields.extend(bounds.as_object().cloned().unwrap_or_default());
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(bound),
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}

/// The whole document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut sheet = Sheet(settings.into_generator());
    let calls = [
        probes(),
        queue_calls(&mut sheet),
        view_calls(&mut sheet),
        suppression_calls(&mut sheet),
        message_calls(&mut sheet),
        house_calls(&mut sheet),
        user_calls(&mut sheet),
    ];
    let mut paths: Map<String, Value> = Map::new();
    for call in calls.into_iter().flatten() {
        let (path, method) = (call.path, call.method);
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = call.written();
    }
    let mut schemas = sheet.0.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ringpost",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The control plane of a mail relay. Failures are problem details (RFC 9457).",
        },
        "paths": paths,
        "security": [{ "token": [] }],
        "components": {
            "schemas": schemas,
            "responses": responses(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    });
    bound(&mut document);
    document
}

fn state() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["status"],
        "properties": { "status": { "type": ["string", "integer"] } },
    });
    json!({ "application/json": { "schema": schema } })
}

fn probes() -> Vec<Call> {
    let metrics = json!({
        "text/plain": { "schema": { "type": "string" } },
        "application/openmetrics-text": { "schema": { "type": "string" } },
        "application/vnd.google.protobuf": { "schema": { "type": "string", "format": "binary" } },
    });
    vec![
        Call::new(
            "get",
            "/metrics",
            "Metrics, as Prometheus reads them",
            metrics,
        ),
        Call::new("get", "/healthz", "Whether every shard answers", state()).open(),
        Call::new("get", "/readyz", "Whether every shard takes mail", state()).open(),
    ]
}

fn queue_calls(sheet: &mut Sheet) -> Vec<Call> {
    let id = || {
        vec![json!({
            "name": "id", "in": "path", "required": true,
            "description": "A queue id", "schema": id_schema(),
        })]
    };
    let orders = Act::ALL.map(Act::name);
    let order = || {
        vec![json!({
            "name": "id", "in": "path", "required": true,
            "description": "What is ordered", "schema": { "type": "string", "enum": orders },
        })]
    };
    let wanted = sheet.query::<queue::Wanted>();
    let raw = json!({ "message/rfc822": { "schema": { "type": "string" } } });
    vec![
        Call::new(
            "get",
            "/api/v1/queue",
            "Messages in the queue, the oldest first",
            sheet.json::<Vec<QueueEntry>>(),
        )
        .with(wanted)
        .fails(&[400]),
        Call::new(
            "get",
            "/api/v1/queue/shape",
            "Recipients by destination and age",
            sheet.json::<Vec<ShapeRow>>(),
        ),
        Call::new(
            "get",
            "/api/v1/queue/{id}",
            "One message in the queue",
            sheet.json::<QueueEntryDetail>(),
        )
        .with(id())
        .fails(&[400, 404]),
        Call::new(
            "post",
            "/api/v1/queue/{id}",
            "An order about messages",
            sheet.json::<Acted>(),
        )
        .with(order())
        .reads(sheet.json::<OrderBody>())
        .fails(&[400, 404, 413, 415, 422]),
        Call::new(
            "get",
            "/api/v1/queue/{id}/raw",
            "A message itself, as it would leave",
            raw,
        )
        .with(id())
        .fails(&[400, 404]),
        Call::new(
            "get",
            "/api/v1/trace/{id}",
            "What happened to one message",
            sheet.json::<Trace>(),
        )
        .with(id())
        .fails(&[400, 404]),
    ]
}

fn id_schema() -> Value {
    json!({ "type": "string", "pattern": "^[0-9A-Fa-f][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{12}$" })
}

fn view_calls(sheet: &mut Sheet) -> Vec<Call> {
    let latencies = json!({
        "application/json": {
            "schema": { "oneOf": [sheet.schema::<Latencies>(), sheet.schema::<Recording>()] },
        },
        "text/plain": { "schema": { "type": "string" } },
    });
    let wanted = sheet.query::<latency::Wanted>();
    let lines = json!({ "application/x-ndjson": { "schema": { "type": "string" } } });
    vec![
        Call::new("get", "/api/v1/latency", "How long stages take", latencies)
            .with(wanted)
            .fails(&[400]),
        Call::new(
            "get",
            "/api/v1/latency/minutes",
            "One stage in each minute of the last hour",
            sheet.json::<Minutes>(),
        )
        .with(sheet.query::<latency::OfStage>())
        .fails(&[400]),
        Call::new(
            "get",
            "/api/v1/latency/windows",
            "How long stages take: the last minute, the last hour, all since the start",
            sheet.json::<Vec<Latencies>>(),
        )
        .with(sheet.query::<latency::Towards>())
        .fails(&[400]),
        Call::new(
            "get",
            "/api/v1/shards",
            "Each shard and its core",
            sheet.json::<Vec<ShardRow>>(),
        ),
        Call::new(
            "get",
            "/api/v1/explain",
            "How mail to a recipient would travel",
            sheet.json::<Explained>(),
        )
        .with(sheet.query::<explain::Wanted>())
        .fails(&[400]),
        Call::new(
            "get",
            "/api/v1/dialogues",
            "Dialogues while they happen, a JSON object on each line",
            lines,
        )
        .with(sheet.query::<follow::Wanted>())
        .fails(&[400, 422]),
        Call::new(
            "get",
            "/api/v1/bounces",
            "The newest failures",
            sheet.json::<Vec<Failed>>(),
        )
        .with(sheet.query::<trace::Wanted>())
        .fails(&[400]),
    ]
}

fn suppression_calls(sheet: &mut Sheet) -> Vec<Call> {
    let changed = sheet.json::<Changed>();
    let path = "/api/v1/suppressions";
    vec![
        Call::new("get", path, "Who gets no mail", sheet.json::<Page>())
            .with(sheet.query::<suppressions::Wanted>())
            .fails(&[400, 500]),
        Call::new(
            "post",
            path,
            "Sends no more mail to addresses",
            changed.clone(),
        )
        .reads(sheet.json::<Addresses>())
        .fails(&[400, 413, 415, 422, 500, 507]),
        Call::new(
            "post",
            "/api/v1/suppressions/remove",
            "Lets addresses have mail again",
            changed,
        )
        .reads(sheet.json::<Addresses>())
        .fails(&[400, 413, 415, 422, 500]),
    ]
}

fn message_calls(sheet: &mut Sheet) -> Vec<Call> {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "Names the request: the same one under the same key is carried out once in 24 hours",
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
    });
    let text = json!({ "type": "string" });
    let paths = [
        json!({ "name": "from", "in": "query", "description": "Whom reports go to, of a message as it is", "schema": text }),
        json!({
            "name": "to", "in": "query", "description": "Who gets a message as it is",
            "schema": { "type": "array", "items": text },
        }),
    ];
    let message = json!({
        "application/json": { "schema": sheet.schema::<Letter>() },
        "message/rfc822": { "schema": { "type": "string" } },
    });
    vec![
        Call::new(
            "post",
            "/api/v1/messages",
            "Takes a message",
            sheet.json::<Injected>(),
        )
        .with([&[key.clone()][..], &paths].concat())
        .reads(message)
        .fails(&[400, 409, 411, 413, 415, 422]),
        Call::new(
            "post",
            "/api/v1/messages/batch",
            "Takes several messages",
            sheet.json::<Answered>(),
        )
        .with(vec![key])
        .reads(sheet.json::<Batch>())
        .fails(&[400, 409, 411, 413, 415, 422]),
    ]
}

fn house_calls(sheet: &mut Sheet) -> Vec<Call> {
    let toml = json!({
        "application/toml": { "schema": { "type": "string" } },
        "text/plain": { "schema": { "type": "string" } },
    });
    let mut drain = Call::new(
        "post",
        "/api/v1/drain",
        "Ends the relay, as SIGTERM does",
        state(),
    )
    .reads(sheet.json::<house::Drain>())
    .fails(&[400, 413, 415, 422]);
    drain.answer.0 = 202;
    let reload = Call::new(
        "post",
        "/api/v1/reload",
        "Has the configuration read anew, as SIGHUP does, and says what changes",
        sheet.json::<house::Reloaded>(),
    )
    .reads(sheet.json::<house::Reload>())
    .fails(&[400, 413, 415, 422, 503]);
    let any = json!({ "application/json": { "schema": { "type": "object" } } });
    vec![
        Call::new(
            "post",
            "/api/v1/config/check",
            "What is wrong with a configuration",
            sheet.json::<house::Checked>(),
        )
        .reads(toml)
        .fails(&[400, 413, 415]),
        reload,
        drain,
        Call::new("get", "/api/v1/openapi.json", "This document", any),
    ]
}

fn user_calls(sheet: &mut Sheet) -> Vec<Call> {
    let address = || {
        vec![json!({
            "name": "address", "in": "path", "required": true,
            "description": "The name to log in with", "schema": { "type": "string", "minLength": 1 },
        })]
    };
    let mut added = Call::new(
        "post",
        "/api/v1/users",
        "Somebody may log in; from loopback alone",
        sheet.json::<house::User>(),
    )
    .reads(sheet.json::<house::NewUser>())
    .fails(&[400, 403, 409, 413, 415, 422, 500]);
    added.answer.0 = 201;
    vec![
        Call::new(
            "get",
            "/api/v1/users",
            "Who may log in",
            sheet.json::<Vec<house::User>>(),
        )
        .fails(&[500]),
        added,
        Call::new(
            "delete",
            "/api/v1/users/{address}",
            "Nobody logs in with this name any more",
            state(),
        )
        .with(address())
        .fails(&[400, 404, 500]),
        Call::new(
            "put",
            "/api/v1/users/{address}/password",
            "Another password for a user; from loopback alone",
            state(),
        )
        .with(address())
        .reads(sheet.json::<house::NewPassword>())
        .fails(&[400, 403, 404, 413, 415, 422, 500]),
    ]
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Problem details (RFC 9457)",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "rejected": { "type": "array", "items": { "$ref": "#/components/schemas/Rejected" } },
        },
    })
}

fn responses() -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut all = Map::new();
    for (status, words) in FAILURES {
        let mut content = json!({ "application/problem+json": { "schema": schema } });
        if *status == 503 {
            // What the probes say.
            content["application/json"] = state()["application/json"].clone();
        }
        let response = json!({ "description": words, "content": content });
        all.insert(status.to_string(), response);
    }
    Value::Object(all)
}

const FAILURES: &[(u16, &str)] = &[
    (400, "The request cannot be read"),
    (401, "The token is missing or wrong"),
    (403, "Not from where the request comes"),
    (404, "There is no such message, order or user"),
    (
        409,
        "The request with this key is under way, or the user is there already",
    ),
    (411, "Content-Length is missing"),
    (413, "Too large"),
    (415, "A body of another type is wanted"),
    (421, "Without a token, ask for an address or localhost"),
    (
        422,
        "The request is read and means nothing that can be done",
    ),
    (500, "A defect, or a file that cannot be read"),
    (
        503,
        "Not now: shards do not answer, or memory or disk are short",
    ),
    (507, "The list takes no more"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `.route("...")` of this module and its children.
    fn routes() -> Vec<(String, Vec<&'static str>)> {
        let sources = [include_str!("mod.rs"), include_str!("inject/mod.rs")];
        let mut found = Vec::new();
        for source in sources {
            for piece in source.split(".route(").skip(1) {
                let path = piece.split('"').nth(1).unwrap();
                let call = piece.split("\n        .").next().unwrap();
                let methods = ["get", "post", "put", "delete"];
                let methods = methods
                    .into_iter()
                    .filter(|method| call.contains(&format!("{method}(")));
                found.push((path.replace("{word}", "{id}"), methods.collect()));
            }
        }
        found
    }

    #[test]
    fn every_route_has_its_entry_and_every_entry_its_route() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let routes = routes();
        assert!(routes.len() > 15, "{routes:?}");
        for (path, methods) in &routes {
            for method in methods {
                assert!(
                    paths
                        .get(path)
                        .is_some_and(|entry| entry.get(*method).is_some()),
                    "{method} {path}"
                );
            }
        }
        for (path, entry) in paths {
            for method in entry.as_object().unwrap().keys() {
                let known = routes
                    .iter()
                    .any(|(own, methods)| own == path && methods.contains(&&**method));
                assert!(known, "{method} {path}");
            }
        }
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = document();
        let text = document.to_string();
        let mut count = 0;
        for piece in text.split(r##""$ref":"#"##).skip(1) {
            let pointer = piece.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
        assert!(count > 50, "{count}");
        let ids: Vec<&str> = text
            .split(r#""operationId":""#)
            .skip(1)
            .map(|piece| piece.split('"').next().unwrap())
            .collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
    }
}
