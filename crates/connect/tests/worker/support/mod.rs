//! A worker inside the test, with connectors that the test can look into.

pub(crate) mod batches;
pub(crate) mod counter;
mod extension;
pub(crate) mod memory;
pub(crate) mod tuned;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_connect::{WorkerError, WorkerOptions, run};
use twinstream_connect_api::Plugin;
use twinstream_telemetry::Metrics;
use twinstream_testkit::{Rest, wait_until, wait_until_some};

pub(crate) const SOON: Duration = Duration::from_secs(40);

pub(crate) struct TestWorker {
    /// Its own, so that it can be torn away without any goodbye.
    runtime: Option<Runtime>,
    shutdown: watch::Sender<bool>,
    done: Option<JoinHandle<Result<(), WorkerError>>>,
    pub(crate) rest: Rest,
}

pub(crate) fn settings(bootstrap: &str, group: &str, port: u16) -> Vec<(String, String)> {
    [
        ("bootstrap.servers", bootstrap),
        ("group.id", group),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "false"),
        ("config.storage.topic", &format!("{group}-configs")),
        ("offset.storage.topic", &format!("{group}-offsets")),
        ("status.storage.topic", &format!("{group}-status")),
        ("config.storage.replication.factor", "1"),
        ("offset.storage.replication.factor", "1"),
        ("status.storage.replication.factor", "1"),
        ("offset.storage.partitions", "3"),
        ("offset.flush.interval.ms", "500"),
        ("listeners", &format!("http://127.0.0.1:{port}")),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

impl TestWorker {
    pub(crate) fn spawn(overrides: Vec<(String, String)>, port: u16, plugins: Vec<Plugin>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (shutdown, stopped) = watch::channel(false);
        let extensions = vec![Arc::new(extension::Mirror) as _];
        let (connectors, metrics) = (Vec::new(), Metrics::new());
        let options = WorkerOptions { config: None, overrides, plugins, connectors, extensions, metrics };
        let done = runtime.spawn(run(options, stopped));
        let rest = Rest::new(format!("http://127.0.0.1:{port}"));
        Self { runtime: Some(runtime), shutdown, done: Some(done), rest }
    }

    pub(crate) async fn start(bootstrap: &str, group: &str, port: u16, plugins: Vec<Plugin>) -> Self {
        let mut worker = Self::spawn(settings(bootstrap, group, port), port, plugins);
        worker.wait_ready().await;
        worker
    }

    pub(crate) async fn wait_ready(&mut self) {
        let rest = self.rest.clone();
        let ready = wait_until("the worker is ready", SOON, || async {
            rest.try_get("/").await.is_some_and(|answer| answer.status == 200)
        });
        let done = self.done.as_mut().unwrap();
        tokio::select! {
            () = ready => {}
            ended = done => panic!("the worker ended: {:?}", ended.unwrap().err().map(|error| error.to_string())),
        }
    }

    /// The error that the worker ends with.
    pub(crate) async fn error(mut self) -> WorkerError {
        let error = self.done.take().unwrap().await.unwrap().unwrap_err();
        self.kill();
        error
    }

    /// As SIGTERM would.
    pub(crate) async fn stop(mut self) {
        self.shutdown.send_replace(true);
        self.done.take().unwrap().await.unwrap().unwrap();
        self.kill();
    }

    /// As SIGKILL would: nothing is flushed, nobody is told.
    pub(crate) fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        // Elsewhere, because it waits until every task is gone and with it the port.
        std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(10))).join().unwrap();
    }

    /// State of the connector and of its tasks, in order.
    pub(crate) async fn states(&self, name: &str) -> Vec<String> {
        let answer = self.rest.get(&format!("/connectors/{name}/status")).await;
        if answer.status != 200 {
            return Vec::new();
        }
        let state = |json: &Value| json["state"].as_str().unwrap_or_default().to_owned();
        let mut states = vec![state(&answer.body["connector"])];
        states.extend(answer.body["tasks"].as_array().unwrap().iter().map(state));
        states
    }

    pub(crate) async fn wait_states(&self, name: &str, wanted: &[&str]) {
        let what = format!("{name} is {wanted:?}");
        wait_until(&what, SOON, || async { self.states(name).await == wanted }).await;
    }

    /// The trace of the first task, once it has failed.
    pub(crate) async fn wait_trace(&self, name: &str) -> String {
        wait_until_some("the task fails", SOON, || async {
            let status = self.rest.get(&format!("/connectors/{name}/status")).await.body;
            status["tasks"][0]["trace"].as_str().map(str::to_owned)
        })
        .await
    }

    pub(crate) async fn put(&self, name: &str, config: &[(&str, &str)]) -> Value {
        let body: serde_json::Map<String, Value> = config.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        self.rest.put(&format!("/connectors/{name}/config"), &Value::Object(body)).await.good()
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
