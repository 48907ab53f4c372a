//! The connector, which gives every task the same settings, and the task, which feeds the lanes.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};
use twinstream_connect_api::{
    Connector, ConnectorContext, Fate, RawConfig, SinkRecord, SinkTask, SinkTaskContext, TaskError, async_trait,
};
use twinstream_model::{Offset, TopicPartition};

use crate::client::Client;
use crate::config::{Settings, config_def, cross_check};
use crate::lane::{Entry, Lane, Queue, Shared, held};
use crate::metrics::METRICS;
use crate::request::{Operation, operation};
use crate::retry::{RequestError, backoff};

/// How long a commit waits for the lanes to run empty, to commit as far as possible.
const COMMIT_WAIT: Duration = Duration::from_millis(500);
const FULL_RETRY: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub struct ElasticsearchSinkConnector {
    config: RawConfig,
}

#[async_trait]
impl Connector for ElasticsearchSinkConnector {
    async fn validate(&self, config: &RawConfig) -> BTreeMap<String, Vec<String>> {
        let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, message) in cross_check(config) {
            errors.entry(key.to_owned()).or_default().push(message);
        }
        errors
    }

    async fn start(&mut self, context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        let def = config_def();
        for key in def.keys().iter().filter(|key| config.contains_key(&key.name)) {
            if let Fate::NoSuchPart(why) = key.fate {
                info!(connector = context.connector(), setting = key.name, "setting has no effect: {why}");
            }
        }
        self.config = config;
        Ok(())
    }

    async fn task_configs(&mut self, max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        Ok(vec![self.config.clone(); max_tasks])
    }
}

#[derive(Default)]
pub struct ElasticsearchSinkTask {
    running: Option<Running>,
}

struct Running {
    shared: Arc<Shared>,
    queues: Vec<Arc<Queue>>,
    lanes: JoinSet<()>,
}

#[async_trait]
impl SinkTask for ElasticsearchSinkTask {
    async fn start(&mut self, context: Arc<dyn SinkTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        let settings = Settings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the search sink").caused_by(cause))?;
        let client = Client::new(&settings)
            .map_err(|cause| TaskError::fatal("connect to the search cluster").caused_by(cause))?;
        find_server(&client, &settings).await?;
        let n_lanes = settings.lanes;
        let shared = Arc::new(Shared::new(settings, client, context));
        let queues: Vec<Arc<Queue>> = (0..n_lanes).map(|_| Arc::default()).collect();
        let mut lanes = JoinSet::new();
        for queue in &queues {
            lanes.spawn(Lane { shared: Arc::clone(&shared), queue: Arc::clone(queue) }.run());
        }
        self.running = Some(Running { shared, queues, lanes });
        Ok(())
    }

    async fn open(&mut self, _partitions: &[TopicPartition]) -> Result<(), TaskError> {
        // A new assignment starts unpaused; whether it must pause shows at the next put.
        self.running()?.shared.forget_pause();
        Ok(())
    }

    async fn put(&mut self, records: Vec<Arc<SinkRecord>>) -> Result<(), TaskError> {
        let running = self.running()?;
        let shared = &running.shared;
        shared.check_failure()?;
        shared.regulate();
        if !records.is_empty() && shared.is_full() {
            return Err(TaskError::retriable(
                "the search cluster is slower than the topics; records wait for room in the buffer",
            )
            .retry_after(FULL_RETRY));
        }
        // Everything that can fail comes before anything is queued, so that a repeated put repeats nothing.
        let mut made = Vec::with_capacity(records.len());
        for record in records {
            if let Some(operation) = convert(shared, &record).await? {
                made.push((record, operation));
            }
        }
        for (record, operation) in made {
            let ticket = held(&shared.offsets).begin(&record.topic_partition(), record.offset.0);
            let lane = lane_of(&operation, running.queues.len());
            let entry = Entry { ticket, record, operation };
            shared.admit(&entry);
            running.queues[lane].push(entry);
        }
        shared.regulate();
        Ok(())
    }

    async fn pre_commit(
        &mut self,
        delivered: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, TaskError> {
        let shared = &self.running()?.shared;
        shared.check_failure()?;
        shared.drained(Instant::now() + COMMIT_WAIT.min(shared.settings.flush_timeout)).await;
        let safe = held(&shared.offsets).committable(delivered);
        Ok(safe)
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        let Some(running) = &self.running else { return Ok(()) };
        let shared = &running.shared;
        let timeout = shared.settings.flush_timeout;
        if shared.close(partitions, Instant::now() + timeout).await {
            return Ok(());
        }
        Err(TaskError::fatal(format!(
            "bulk requests did not end within flush.timeout.ms ({} ms) while partitions were closed",
            timeout.as_millis()
        )))
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.lanes.shutdown().await;
        }
    }
}

impl ElasticsearchSinkTask {
    fn running(&self) -> Result<&Running, TaskError> {
        self.running.as_ref().ok_or_else(|| TaskError::fatal("the task was not started"))
    }
}

/// Asks the server what it is, as patiently as the settings say.
async fn find_server(client: &Client, settings: &Settings) -> Result<(), TaskError> {
    let mut attempt = 0;
    loop {
        let error = match client.dialect().await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let waits = match &error {
            RequestError::Pressure { .. } => true,
            RequestError::Broken { .. } => attempt < settings.retries_max,
            RequestError::TooLarge { .. } | RequestError::Refused { .. } => false,
        };
        if !waits {
            return Err(TaskError::fatal(format!("cannot use the search cluster of connection.url: {error}")));
        }
        warn!(server = client.name(), %error, "search cluster does not answer yet");
        sleep(backoff(settings.backoff, attempt, rand::random())).await;
        attempt += 1;
    }
}

/// The operation of a record; `None` when the record is finished without one.
async fn convert(shared: &Shared, record: &Arc<SinkRecord>) -> Result<Option<Operation>, TaskError> {
    let connector = shared.context.connector();
    let cause = match operation(&shared.settings, record) {
        Ok(Some(operation)) => return Ok(Some(operation)),
        Ok(None) => {
            METRICS.records.with_label_values(&[connector, "ignored"]).inc();
            return Ok(None);
        }
        Err(cause) => cause,
    };
    let place = format!("{} offset {}", record.topic_partition(), record.offset);
    if shared.settings.drop_invalid {
        warn!(connector, %cause, "record at {place} dropped");
    } else {
        let error = TaskError::fatal(format!("record at {place} cannot become a document: {cause}")).caused_by(cause);
        shared.context.report(record, error).await?;
        debug!(connector, "record at {place} reported");
    }
    METRICS.records.with_label_values(&[connector, "refused"]).inc();
    Ok(None)
}

/// All writes to one document go through one lane; those without an id may go through any.
fn lane_of(operation: &Operation, n_lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    operation.index.hash(&mut hasher);
    match &operation.id {
        Some(id) => id.hash(&mut hasher),
        None => operation.lines.as_ptr().hash(&mut hasher),
    }
    usize::try_from(hasher.finish() % n_lanes.max(1) as u64).unwrap_or(0)
}
