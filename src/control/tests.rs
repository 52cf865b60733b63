mod running;

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::observe::ask::{
    Acted, Counters, Order, Piece, QueueEntry, QueueEntryDetail, QueueRecipient, Recent, Selector,
    ShapeRow,
};
use crate::observe::explained::{Explained, Lane, Learned};
use crate::observe::follow::{Follow, Spoken};
use crate::observe::inject::{Injected, Injection, NotTaken, Rejected};
use crate::observe::stage::{Recorder, Stage};
use crate::smtp::reply::Reply;
use crate::world::{Load, Seat};

pub(crate) use running::Running;

fn shape(shard: usize) -> Vec<ShapeRow> {
    vec![
        ShapeRow {
            destination: "d.test".into(),
            ages: vec![1; 10],
            states: vec![10, 0, 0, 0, 0],
            learned: (shard == 0).then(|| Learned {
                rate: Some("42/m".into()),
                ..Learned::default()
            }),
            waits_for_tomorrow: shard == 1,
        },
        ShapeRow {
            destination: format!("only{shard}.test"),
            ages: vec![0; 10],
            states: vec![0; 5],
            learned: None,
            waits_for_tomorrow: false,
        },
    ]
}

/// Two shards with a message each, as long as `answering` is 2.
pub(crate) struct TwoShards {
    pub(super) answering: AtomicUsize,
    health: Health,
}

impl TwoShards {
    pub(super) fn healthy() -> Self {
        Self {
            answering: AtomicUsize::new(2),
            health: Health::Ready,
        }
    }

    fn tell(&self, shard: usize, ask: &Ask) -> Tell {
        match ask {
            Ask::Facts => Tell::Facts(Box::new(facts(shard, self.health))),
            Ask::Latencies => Tell::Latencies {
                shard,
                snapshot: Box::new(facts(shard, self.health).latencies),
            },
            Ask::Health => Tell::Health(self.health),
            Ask::List { selector, limit } => {
                let mut entries = vec![entry(shard)];
                entries.retain(|entry| meant(selector, entry));
                entries.truncate(*limit);
                Tell::List(entries)
            }
            Ask::Show { id } => Tell::Show((*id == entry(shard).id).then(|| {
                Box::new(QueueEntryDetail {
                    entry: entry(shard),
                    shard,
                    recipients_total: 3,
                    ..QueueEntryDetail::default()
                })
            })),
            Ask::Explain { mailbox, .. } => {
                let lane = Lane {
                    shard,
                    ..Lane::default()
                };
                Tell::Explained(Box::new(Explained {
                    recipient: mailbox.as_str().to_owned(),
                    lanes: vec![lane],
                    ..Explained::default()
                }))
            }
            Ask::Trace { id } => {
                let moment = format!(r#"{{"at":{},"event":"finished"}}"#, 9 - shard);
                Tell::Trace((*id == entry(0).id).then_some(moment).into_iter().collect())
            }
            Ask::Raw { id, position } => Tell::Raw(piece(shard, id, *position)),
            Ask::Follow(follow) => Tell::Following(speak(shard, follow)),
            Ask::Failures { .. } => {
                let moment = format!(
                    r#"{{"at":{},"event":"attempt","relay":"mx.d.test","stages":{{}},"outcomes":[
                    {{"to":"a@d.test","status":"sent","dsn":"2.0.0","text":"250 ok"}},
                    {{"to":"b@d.test","status":"bounced","dsn":"5.1.1","text":"550 nobody"}}]}}"#,
                    5 + shard
                );
                Tell::Failures(vec![(entry(shard).id, moment)])
            }
            Ask::Act(order) => Tell::Acted(acted(shard, order)),
            Ask::Removal => Tell::Removal((shard == 1).then_some(REMOVED_UNTIL)),
            Ask::Inject(injection) => Tell::Injected(take(injection)),
            Ask::Shape => Tell::Shape(shape(shard)),
        }
    }
}

impl Shards for TwoShards {
    fn count(&self) -> usize {
        2
    }

    fn ask(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Vec<Tell>> + Send>> {
        let answering = self.answering.load(Ordering::Relaxed);
        let told = (0..answering).map(|shard| self.tell(shard, &ask)).collect();
        Box::pin(async move { told })
    }

    fn ask_one(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Option<Tell>> + Send>> {
        let told = self.tell(0, &ask);
        let answering = self.answering.load(Ordering::Relaxed);
        Box::pin(async move { (answering > 0).then_some(told) })
    }
}

fn piece(shard: usize, id: &str, position: u64) -> Option<Piece> {
    let next = (position == 0).then_some(9);
    let octets = format!("piece at {position}\r\n").into_bytes();
    (id == entry(shard).id).then_some(Piece { octets, next })
}

/// Tells one line.
fn speak(shard: usize, follow: &Follow) -> bool {
    let spoken = Spoken {
        shard,
        peer: format!("{:?}", follow.whom),
        side: "client".to_owned(),
        words: "EHLO \u{1b}[2J".to_owned(),
        ..Spoken::default()
    };
    follow.lines.clone().try_send(spoken).is_ok()
}

fn acted(shard: usize, order: &Order) -> Acted {
    let reached = u64::from(meant(&order.selector, &entry(shard)));
    let entry = (reached > 0).then(|| entry(shard));
    Acted {
        messages: reached,
        recipients: 2 * reached,
        dry_run: order.dry_run,
        change: None,
        busy: 0,
        ids: entry.iter().map(|entry| entry.id.clone()).collect(),
        samples: entry.filter(|_| order.dry_run).into_iter().collect(),
    }
}

/// Takes a message for everybody but one.
fn take(injection: &Injection) -> Result<Injected, NotTaken> {
    assert!(injection.to[0].as_str() != "panics@d.test", "a defect");
    let addresses = injection
        .to
        .iter()
        .map(|mailbox| mailbox.as_str().to_owned());
    let (accepted, bad): (Vec<_>, Vec<_>) = addresses.partition(|one| one != "no@d.test");
    let reply = Reply::no_such_mailbox();
    let rejected = bad.iter().map(|one| Rejected::new(one, &reply)).collect();
    if accepted.is_empty() {
        return Err(NotTaken::Nobody(rejected));
    }
    Ok(Injected {
        id: entry(0).id,
        message_id: None,
        accepted,
        rejected,
    })
}

fn meant(selector: &Selector, entry: &QueueEntry) -> bool {
    if selector.change.is_some() {
        return selector.takes_removal(Some(REMOVED_UNTIL)) && entry.id == self::entry(1).id;
    }
    selector.takes_id(&entry.id)
        && selector.takes_age(Duration::from_secs(1_000))
        && selector.takes(entry)
}

/// When what was removed on shard 1 is gone.
pub(super) const REMOVED_UNTIL: i64 = 2_000_000_000;

/// The younger one is on shard 0.
fn entry(shard: usize) -> QueueEntry {
    QueueEntry {
        id: format!("000000000000{shard}"),
        accepted: 2_000 - 1_000 * shard as i64,
        size: 1_024,
        from: "a@c.test".into(),
        recipients: vec![QueueRecipient {
            address: format!("b{shard}@d.test"),
            destination: "d.test".into(),
            state: "waiting".into(),
            due_in: 60,
            attempts: 1,
            reason: Some("host mx.d.test[192.0.2.1] said: 451 4.3.0 busy \x1b[2J".into()),
            ..QueueRecipient::default()
        }],
        ..QueueEntry::default()
    }
}

fn facts(shard: usize, health: Health) -> Facts {
    let mut recorder = Recorder::new().expect("the bounds are sound");
    recorder.record(Stage::CommitWait, Duration::from_micros(250));
    recorder.record_count(Stage::CommitBatch, 3);
    recorder.record_for("d.test", Stage::Connect, Duration::from_millis(20));
    Facts {
        shard,
        counters: Counters {
            accepted: 10,
            delivered: 7,
            bounced: 1,
            queued: 2,
            ..Counters::default()
        },
        connections_in: 5,
        load: Load {
            seat: (shard == 0).then_some(Seat { cpu: 2, node: None }),
            busy: Duration::from_millis(2_500),
            on_cpu: Duration::from_millis(1_500),
            wakeups: 40 + shard as u64,
            ..Load::default()
        },
        recent: Recent {
            busy: 0.25,
            ..Recent::default()
        },
        letters_waiting: 7,
        syncs: 4,
        synced_messages: 12,
        log_octets: 9_000,
        health,
        latencies: recorder.snapshot(),
        ..Facts::default()
    }
}

/// The value of one sample.
fn sample(text: &str, series: &str) -> Option<f64> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(series));
    values.find_map(|rest| rest.trim().parse().ok())
}

#[test]
fn prometheus_scrapes_the_sum_of_all_shards() {
    let plane = Running::start(None);
    let (status, text) = plane.get("/metrics");
    assert_eq!(status, 200);
    for (series, value) in [
        ("ringpost_recipients_accepted_total", 20.0),
        ("ringpost_recipients_delivered_total", 14.0),
        ("ringpost_recipients_queued", 4.0),
        ("ringpost_accounting_difference", 0.0),
        ("ringpost_connections_in", 10.0),
        ("ringpost_shards_ready", 2.0),
        (r#"ringpost_stage_seconds_count{stage="connect"}"#, 2.0),
        (
            r#"ringpost_stage_seconds_bucket{le="0.01",stage="connect"}"#,
            0.0,
        ),
        (
            r#"ringpost_stage_seconds_bucket{le="0.025",stage="connect"}"#,
            2.0,
        ),
        (
            r#"ringpost_stage_seconds_bucket{le="+Inf",stage="connect"}"#,
            2.0,
        ),
        (
            r#"ringpost_stage_seconds_bucket{le="0.0001",stage="commit_wait"}"#,
            0.0,
        ),
        (
            r#"ringpost_stage_seconds_bucket{le="0.00025",stage="commit_wait"}"#,
            2.0,
        ),
        (r#"ringpost_commit_batch_messages_bucket{le="2.0"}"#, 0.0),
        (r#"ringpost_commit_batch_messages_bucket{le="4.0"}"#, 2.0),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series} in\n{text}");
    }
    let finest = r#"ringpost_stage_seconds_bucket{le="0.0001",stage="connect"}"#;
    assert_eq!(sample(&text, finest), None, "a network is not that fast");
}

#[test]
fn metrics_come_in_the_format_that_was_asked_for() {
    let plane = Running::start(None);
    let (_, older) = plane.get("/metrics");
    let ask = ureq::get(format!("http://{}/metrics", plane.address));
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
    let (_, open) = plane.ask(ask.header("Accept", accept));
    for (text, counter) in [
        (&older, "# TYPE ringpost_shard_cpu_seconds_total counter\n"),
        (&open, "# TYPE ringpost_shard_cpu_seconds counter\n"),
    ] {
        assert!(text.contains(counter), "{counter} in\n{text}");
        assert!(text.contains("# TYPE ringpost_core_busy_ratio gauge\n"));
    }
    assert!(open.ends_with("# EOF\n") && open.contains("# UNIT "));
    assert!(!older.contains("# EOF") && !older.contains("# UNIT "));
    assert!(older.contains("# HELP ringpost_shard_syncs_total Commits that waited for the disk\n"));
    let messages = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let ask = ureq::get(format!("http://{}/metrics", plane.address));
    let mut native = ask.header("Accept", messages).call().unwrap();
    let kind = native.headers().get("Content-Type");
    assert_eq!(kind.and_then(|kind| kind.to_str().ok()), Some(messages));
    let body = native.body_mut().read_to_vec().unwrap();
    let name = b"ringpost_stage_seconds";
    assert!(memchr::memmem::find(&body, name).is_some() && !body.starts_with(b"# "));
    let series = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series(&older), series(&open));
}

#[test]
fn prometheus_tells_shards_apart() {
    let plane = Running::start(None);
    let (_, text) = plane.get("/metrics");
    for (series, value) in [
        (r#"ringpost_core_busy_ratio{core="2",shard="0"}"#, 0.25),
        (r#"ringpost_core_busy_ratio{core="any",shard="1"}"#, 0.25),
        (r#"ringpost_shard_busy_seconds_total{shard="0"}"#, 2.5),
        (r#"ringpost_shard_cpu_seconds_total{shard="1"}"#, 1.5),
        (r#"ringpost_shard_wakeups_total{shard="1"}"#, 41.0),
        (r#"ringpost_shard_connections{shard="0",dir="in"}"#, 5.0),
        (r#"ringpost_shard_connections{shard="0",dir="out"}"#, 0.0),
        (r#"ringpost_shard_letters_waiting{shard="1"}"#, 7.0),
        (r#"ringpost_shard_syncs_total{shard="0"}"#, 4.0),
        (r#"ringpost_shard_synced_messages_total{shard="0"}"#, 12.0),
        (
            r#"ringpost_shard_log_written_bytes_total{shard="1"}"#,
            9_000.0,
        ),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series} in\n{text}");
    }
    let rows = plane.json("/api/v1/shards");
    assert_eq!(rows[0]["cpu"], 2);
    assert_eq!(rows[1]["recent"]["busy"], 0.25);
}

#[test]
fn a_shard_hangs() {
    let shards = Arc::new(TwoShards::healthy());
    let plane = Running::over(Arc::clone(&shards) as _, None);
    assert_eq!(plane.get("/healthz").0, 200);
    shards.answering.store(1, Ordering::Relaxed);
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/queue"] {
        let (status, text) = plane.get(path);
        assert_eq!(status, 503, "{path}: {text}");
    }
    let found = plane.json("/api/v1/queue/0000000000000");
    assert_eq!(found["shard"], 0, "the other shard does not matter for it");
    assert_eq!(plane.get("/api/v1/queue/0000000000001").0, 503);
}

#[test]
fn a_shard_takes_no_mail() {
    let health = Health::SpoolFull;
    let shards = TwoShards {
        health,
        ..TwoShards::healthy()
    };
    let plane = Running::over(Arc::new(shards), None);
    assert_eq!(plane.get("/healthz").0, 200);
    let (status, text) = plane.get("/readyz");
    assert_eq!((status, text.as_str()), (503, r#"{"status":"spool_full"}"#));
}

#[test]
fn operator_reads_the_queue() {
    let plane = Running::start(None);
    let ids = |path: &str| -> Vec<String> {
        let list = plane.json(path);
        let list = list.as_array().expect("a list");
        let ids = list.iter().map(|entry| entry["id"].as_str());
        ids.map(|id| id.expect("an id").to_owned()).collect()
    };
    assert_eq!(ids("/api/v1/queue"), ["0000000000001", "0000000000000"]);
    assert_eq!(ids("/api/v1/queue?limit=1"), ["0000000000001"]);
    assert_eq!(ids("/api/v1/queue?to=b0%40d.test"), ["0000000000000"]);
    assert!(ids("/api/v1/queue?older_than=3600").is_empty());
    let detail = plane.json("/api/v1/queue/0000000000001");
    assert_eq!(
        (&detail["shard"], &detail["recipients_total"]),
        (&1.into(), &3.into())
    );
    assert_eq!(detail["recipients"][0]["address"], "b1@d.test");
    let trace = plane.json("/api/v1/trace/0000000000000");
    assert_eq!(trace["queued"]["from"], "a@c.test");
    let moments = trace["moments"].as_array().expect("moments");
    let times: Vec<_> = moments.iter().map(|moment| moment["at"].as_i64()).collect();
    assert_eq!(times, [Some(8), Some(9)], "of all shards, by time");
    let shape = plane.json("/api/v1/queue/shape");
    assert_eq!(shape[0]["destination"], "d.test");
    assert_eq!(shape[0]["ages"], serde_json::json!(vec![2; 10]));
    assert_eq!(shape.as_array().map(Vec::len), Some(3));
    assert_eq!(shape[0]["learned"]["rate"], "42/m");
    assert_eq!(shape[0]["waits_for_tomorrow"], true);
    assert_eq!(shape[1].get("learned"), None);
    for (path, status) in [
        ("/api/v1/queue/000000000000A", 404),
        ("/api/v1/queue/nonsense", 400),
        ("/api/v1/trace/000000000000A", 404),
        ("/api/v1/trace/nonsense", 400),
        ("/api/v1/queue?limit=many", 400),
        ("/api/v1/queue?colour=red", 400),
        ("/api/v1/nothing", 404),
        ("/api/v1/queue/hold/now", 404),
    ] {
        let (code, text) = plane.get(path);
        assert_eq!(code, status, "{path}: {text}");
        let error: Value = serde_json::from_str(&text).expect("JSON");
        assert!(error["detail"].is_string(), "{path}: {text}");
    }
}

#[test]
fn operator_asks_how_mail_would_travel() {
    let plane = Running::start(None);
    let told = plane.json("/api/v1/explain?recipient=ann@D.test");
    assert_eq!(told["recipient"], "ann@d.test");
    let shards: Vec<&Value> = (0..2).map(|n| &told["lanes"][n]["shard"]).collect();
    assert_eq!(shards, [0, 1], "the lanes of all shards");
    for path in ["/api/v1/explain", "/api/v1/explain?recipient=ann"] {
        assert_eq!(plane.get(path).0, 400, "{path}");
    }
}

#[test]
fn operator_asks_for_latencies() {
    let plane = Running::start(None);
    let all = plane.json("/api/v1/latency");
    let rows = all["stages"].as_array().expect("rows");
    let names: Vec<&Value> = rows.iter().map(|row| &row["stage"]).collect();
    assert_eq!(names, ["commit_wait", "commit_batch", "connect"]);
    assert_eq!(
        (&rows[2]["count"], &rows[0]["unit"]),
        (&2.into(), &"us".into())
    );
    assert_eq!(all["destinations"], json!(["d.test"]));
    let one = plane.json("/api/v1/latency?stage=connect&destination=d.test");
    assert_eq!(one["stages"].as_array().map(Vec::len), Some(1));
    let (_, text) = plane.get("/api/v1/latency?stage=connect&format=hgrm");
    assert!(text.trim_start().starts_with("Value"), "{text}");
    let (status, text) = plane.get("/api/v1/latency?stage=lunch");
    assert_eq!(status, 400);
    assert!(text.contains("dot_to_reply"), "{text}");
}

#[test]
fn operator_asks_to_whom_mail_did_not_come() {
    let plane = Running::start(None);
    let bounces = plane.json("/api/v1/bounces");
    let bounces = bounces.as_array().expect("a list");
    assert_eq!(bounces.len(), 2);
    assert_eq!(
        (&bounces[0]["at"], &bounces[1]["at"]),
        (&json!(6), &json!(5))
    );
    assert_eq!(bounces[0]["to"], "b@d.test");
    assert_eq!(bounces[0]["text"], "550 nobody");
    let one = plane.json("/api/v1/bounces?limit=1");
    assert_eq!(one.as_array().map(Vec::len), Some(1));
}

#[test]
fn operator_asks_for_the_last_minute() {
    let plane = Running::start(None);
    for window in ["minute", "hour", "start"] {
        let one = plane.json(&format!("/api/v1/latency?window={window}&shard=1"));
        assert_eq!(one["window"], window);
        let counts: Vec<&Value> = one["stages"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| &row["count"])
            .collect();
        assert_eq!(counts, [1, 1, 1], "{window}");
        let of = plane.json(&format!(
            "/api/v1/latency?window={window}&destination=d.test"
        ));
        assert_eq!(of["stages"][0]["count"], 2, "{window}");
    }
    for towards in ["", "?destination=d.test"] {
        let all = plane.json(&format!("/api/v1/latency/windows{towards}"));
        let all = all.as_array().expect("windows").clone();
        let each = ["minute", "hour", "start"].map(|window| {
            let and = towards.replace('?', "&");
            plane.json(&format!("/api/v1/latency?window={window}{and}"))
        });
        assert_eq!(all, each, "{towards}");
    }
    let kept = plane.json("/api/v1/latency?format=recording");
    assert_eq!(kept["histograms"].as_array().map(Vec::len), Some(4));
    let minutes = plane.json("/api/v1/latency/minutes?stage=connect");
    assert_eq!(minutes["minutes"], json!([]));
    for (query, word) in [
        ("window=lunch", "minute, hour and start"),
        ("shard=2", "no shard 2"),
        (
            "window=hour&shard=0&destination=d.test",
            "over all shards only",
        ),
        ("format=xml", "recording"),
    ] {
        let (status, text) = plane.get(&format!("/api/v1/latency?{query}"));
        assert_eq!(status, 400, "{query}");
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn a_browser_gets_the_dashboard_and_its_metrics_exist() {
    let plane = Running::start(None);
    let request = ureq::get(format!("http://{}/", plane.address));
    let (status, page) = plane.ask(request.header("Accept", "text/html,*/*;q=0.8"));
    assert_eq!(status, 200);
    for inline in ["<script>", "<style", "style=", "onclick", "http:", "https:"] {
        assert!(!page.contains(inline), "{inline}: the policy forbids it");
    }
    let (status, style) = plane.get("/style.css");
    assert!(status == 200 && !style.contains("url("));
    let (_, script) = plane.get("/script.js");
    for id in script.split("at(\"").skip(1) {
        let id = id.split('"').next().expect("its end");
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    let (_, metrics) = plane.get("/metrics");
    let facts = script.split("const FACTS = [").nth(1).expect("the list");
    let facts = facts.split("];").next().expect("its end");
    let names = facts.split("[\"").skip(1);
    let names = names.filter_map(|fact| fact.split('"').nth(2));
    let mut seen = 0;
    for name in names {
        let series = format!("ringpost_{name}");
        assert!(
            sample(&metrics, &series).is_some(),
            "{series} in\n{metrics}"
        );
        seen += 1;
    }
    assert_eq!(seen, 10);
    assert!(plane.get("/").1.contains("/api/v1/queue/shape"));
}

#[test]
fn a_page_from_elsewhere_gives_no_orders() {
    let plane = Running::start(None);
    // What a form or a script without leave can send: never JSON.
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = ureq::post(format!("http://{}/api/v1/queue/remove", plane.address));
        let request = request.config().http_status_as_error(false).build();
        let request = request.content_type(kind);
        let answer = request.send(r#"{"all":true}"#).expect("an answer");
        assert_eq!(answer.status().as_u16(), 415, "{kind}");
    }
    let page = ureq::get(format!("http://{}/", plane.address));
    let page = page.header("Accept", "text/html").call().expect("the page");
    let policy = page.headers().get("content-security-policy");
    let policy = policy.and_then(|policy| policy.to_str().ok()).expect("one");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
}

#[test]
fn the_first_shard_is_slow_and_the_second_is_heard() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let (slow, first) = oneshot::channel();
    let (fast, second) = oneshot::channel();
    let (gone, third) = oneshot::channel();
    drop(gone);
    fast.send(Tell::Health(Health::Draining))
        .expect("a listener");
    let patience = Duration::from_millis(20);
    let told = runtime.block_on(collect([first, second, third], patience));
    assert!(
        matches!(told[..], [Tell::Health(Health::Draining)]),
        "{told:?}"
    );
    assert!(slow.send(Tell::Health(Health::Ready)).is_err());
}

#[test]
fn idle_connections_do_not_pile_up() {
    let plane = Running::start(None);
    let connect = || net::TcpStream::connect(plane.address).expect("the backlog takes it");
    let mut idle: Vec<_> = (0..listen::CONNECTIONS_MAX).map(|_| connect()).collect();
    let request = ureq::get(format!("http://{}/healthz", plane.address));
    let config = request
        .config()
        .timeout_global(Some(Duration::from_millis(200)));
    assert!(config.build().call().is_err(), "one more than there may be");
    idle.pop();
    assert_eq!(plane.get("/healthz").0, 200);
}

#[test]
fn strangers_have_no_token() {
    let plane = Running::start(Some("secret"));
    let with = |token: &str| {
        let request = ureq::get(format!("http://{}/api/v1/queue", plane.address));
        plane.ask(request.header("Authorization", token)).0
    };
    assert_eq!(plane.get("/api/v1/queue").0, 401);
    assert_eq!(plane.get("/metrics").0, 401);
    assert_eq!(
        plane.post("/api/v1/queue/remove", &json!({"all": true})).0,
        401
    );
    for wrong in [
        "secret",
        "Bearer",
        "Bearer ",
        "Bearer secre",
        "Bearer secret2",
    ] {
        assert_eq!(with(wrong), 401, "{wrong}");
    }
    assert_eq!(with("bearer secret"), 200);
    assert_eq!(plane.get("/healthz").0, 200);
    assert_eq!(plane.get("/readyz").0, 200);
}

#[test]
fn a_web_page_has_its_name_point_here() {
    let plane = Running::start(None);
    let port = plane.address.port();
    for (host, status) in [
        (format!("evil.test:{port}"), 421),
        ("evil.test".to_owned(), 421),
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("127.0.0.1".to_owned(), 200),
    ] {
        let request = ureq::get(format!("http://{}/api/v1/queue", plane.address));
        let (code, _) = plane.ask(request.header("Host", &host));
        assert_eq!(code, status, "{host}");
    }
}
