//! A control plane over shards that are none.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::control::house::Reloaded;
use crate::observe::log::{Format, Journal, Level};
use crate::rolling::Bound;
use crate::users::Users;

/// A control plane on a thread of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<io::Result<()>>>,
    /// What it goes by.
    pub(in crate::control) config: Arc<ArcSwap<Config>>,
    folder: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(token: Option<&str>) -> Self {
        Self::over(Arc::new(TwoShards::healthy()), token)
    }

    pub(in crate::control) fn over(shards: Arc<TwoShards>, token: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let token = token.map(str::to_owned);
        let (stop, stopped) = oneshot::channel();
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().to_owned();
        let record = home.join(audit::FILE);
        let config = Arc::new(ArcSwap::from_pointee(configuration(&home)));
        let shown = Arc::clone(&config);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build()?;
            runtime.block_on(async {
                let journal = Journal::start(Format::Text, Level::Error)?;
                let bound = Bound {
                    octets: 1 << 20,
                    files: 2,
                };
                let (audit, writing) = Audit::open(&record, bound, journal.handle())?;
                tokio::spawn(writing);
                let means = Means {
                    shards,
                    token,
                    audit: Some(audit),
                    events: Arc::default(),
                    data_dir: Some(home),
                    config: shown,
                    suppressions: Suppressions::nowhere(),
                    house: House {
                        check: Arc::new(|text| {
                            let (tell, told) = oneshot::channel();
                            drop(tell.send(crate::config::judge(&text)));
                            told
                        }),
                        drain: Arc::new(|_| {}),
                        reload: Arc::new(|| {
                            let (answer, reloaded) = oneshot::channel();
                            drop(answer.send(Reloaded::default()));
                            reloaded
                        }),
                    },
                };
                serve(listener, means, async {
                    let _ = stopped.await;
                })
                .await
            })
        });
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
            config,
            folder,
        }
    }

    /// The record of changes: its lines.
    pub(in crate::control) fn record(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(audit::FILE));
        let text = text.expect("the record");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    pub(in crate::control) fn ask(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    ) -> (u16, String) {
        let request = request.config().http_status_as_error(false).build();
        let mut response = request.call().expect("an answer");
        let text = response.body_mut().read_to_string().expect("text");
        (response.status().as_u16(), text)
    }

    pub(in crate::control) fn get(&self, path: &str) -> (u16, String) {
        self.ask(ureq::get(format!("http://{}{path}", self.address)))
    }

    pub(in crate::control) fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Who may log in, by the file.
    pub(in crate::control) fn users(&self) -> Users {
        Users::read(&self.config.load().users_file()).expect("a file of users")
    }

    /// A request of any method.
    pub(in crate::control) fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String) {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())
            .expect("a request");
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = { agent }
            .allow_non_standard_methods(true)
            .build()
            .new_agent();
        let mut response = agent.run(request).expect("an answer");
        let text = response.body_mut().read_to_string().expect("text");
        (response.status().as_u16(), text)
    }

    pub(in crate::control) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = ureq::post(format!("http://{}{path}", self.address));
        let request = request.config().http_status_as_error(false).build();
        let mut response = request.send_json(body).expect("an answer");
        let text = response.body_mut().read_to_string().expect("text");
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        (response.status().as_u16(), value)
    }
}

fn configuration(home: &Path) -> Config {
    let mut config = Config {
        hostname: Some("relay.test".to_owned()),
        data_dir: home.to_owned(),
        ..Config::default()
    };
    config.smtp.max_message_size = 1 << 20;
    config
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().expect("no panic");
            assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
        }
    }
}
