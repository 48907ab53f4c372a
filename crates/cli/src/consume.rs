//! `twinstream consume`: records on stdout.
//!
//! Picture: without a group every partition of the topics is assigned, from its first or behind its last record; with a
//! group the topics are subscribed and what was printed is committed. The command ends after `--max` records, with
//! `--exit` at the end of all partitions, when its reader goes away, or on Ctrl-C; each is a success.
//! Invariants: an offset is committed only after its record was written to stdout and flushed.

mod show; // one record as text or JSON

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use twinstream_client::{Admin, CommitOffset, Consumer, ConsumerEvent, ConsumerRecord, StartAt};
use twinstream_model::{Offset, TopicPartition};

use crate::admin::no_such_topic;
use crate::arguments::{Consume, OutputFormat};
use crate::bootstrap::{block_on, failed, settings};
use crate::failure::Failure;
use crate::output;
use crate::topic::topic_name;

use show::Show;

/// Printed records between two commits of a group.
const COMMIT_EVERY: usize = 500;

pub(crate) fn run(options: Consume, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        let show = Show::new(&options, format)?;
        let mut session = Session::open(&options, show).await?;
        let ended = session.run().await;
        let closed = session.close().await;
        ended.and(closed).map(|()| ExitCode::SUCCESS)
    })
}

struct Session<'a> {
    options: &'a Consume,
    show: Show,
    consumer: Consumer,
    /// Partitions whose end was not seen since their last record.
    open: BTreeSet<TopicPartition>,
    assigned: bool,
    uncommitted: BTreeMap<TopicPartition, CommitOffset>,
    since_commit: usize,
    printed: u64,
}

impl<'a> Session<'a> {
    async fn open(options: &'a Consume, show: Show) -> Result<Self, Failure> {
        let reset = if options.from_beginning { "earliest" } else { "latest" };
        let mut defaults = vec![
            ("client.id", "twinstream-consume"),
            ("auto.offset.reset", reset),
            ("librdkafka.enable.partition.eof", "true"),
        ];
        defaults.extend(options.group.as_deref().map(|group| ("group.id", group)));
        let settings = settings(&options.cluster, &defaults)?;
        let client_failed = |error| failed(&options.cluster, &error);
        let admin = Admin::connect(&settings).await.map_err(client_failed)?;
        let partitions = partitions(options, &admin).await?;
        let consumer = Consumer::new(&settings).map_err(client_failed)?;
        let mut open = BTreeSet::new();
        if options.group.is_some() {
            consumer.subscribe(&options.topics).await.map_err(client_failed)?;
        } else {
            let start = if options.from_beginning { StartAt::Beginning } else { StartAt::End };
            let assignment: Vec<_> = partitions.iter().map(|partition| (partition.clone(), start)).collect();
            consumer.assign(&assignment).await.map_err(client_failed)?;
            open.extend(partitions);
        }
        let assigned = options.group.is_none();
        let uncommitted = BTreeMap::new();
        Ok(Self { options, show, consumer, open, assigned, uncommitted, since_commit: 0, printed: 0 })
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        while !self.is_done() {
            tokio::select! {
                biased;
                _ = &mut interrupted => return Ok(()),
                event = self.consumer.next() => match event {
                    Some(event) => self.handle(event).await?,
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let enough = self.options.max.is_some_and(|max| self.printed >= max);
        enough || (self.options.exit && self.assigned && self.open.is_empty())
    }

    async fn handle(&mut self, event: ConsumerEvent) -> Result<(), Failure> {
        match event {
            ConsumerEvent::Record(record) => self.print(&record).await?,
            ConsumerEvent::EndOfPartition(partition) => {
                self.open.remove(&partition);
                // Whoever watches a quiet topic sees each record at once.
                output::flush()?;
            }
            ConsumerEvent::Assigned(partitions) => {
                self.assigned = true;
                self.open.extend(partitions);
            }
            ConsumerEvent::Revoked(revocation) => {
                if !revocation.lost {
                    self.commit().await?;
                }
                for partition in &revocation.partitions {
                    self.open.remove(partition);
                    self.uncommitted.remove(partition);
                }
            }
            ConsumerEvent::Error { error, fatal: true } => return Err(failed(&self.options.cluster, &error)),
            ConsumerEvent::Error { error, fatal: false } => tracing::warn!(%error, "consumer goes on"),
        }
        Ok(())
    }

    async fn print(&mut self, record: &ConsumerRecord) -> Result<(), Failure> {
        let partition = record.topic_partition();
        self.show.record(record).await?;
        self.printed += 1;
        self.open.insert(partition.clone());
        if self.options.group.is_some() {
            self.uncommitted.insert(partition, CommitOffset::from(Offset(record.offset.0 + 1)));
            self.since_commit += 1;
            if self.since_commit >= COMMIT_EVERY {
                self.commit().await?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        output::flush()?;
        self.since_commit = 0;
        let offsets = std::mem::take(&mut self.uncommitted);
        self.consumer.commit(&offsets).await.map_err(|error| failed(&self.options.cluster, &error))
    }

    async fn close(mut self) -> Result<(), Failure> {
        self.commit().await?;
        self.consumer.close().await.map_err(|error| failed(&self.options.cluster, &error))
    }
}

/// All partitions of the topics; a topic that does not exist is an error rather than a long wait.
async fn partitions(options: &Consume, admin: &Admin) -> Result<Vec<TopicPartition>, Failure> {
    let mut partitions = Vec::new();
    for name in &options.topics {
        let name = topic_name(name)?;
        let topic = admin.topic(&name).await.map_err(|error| failed(&options.cluster, &error))?;
        let Some(topic) = topic else { return Err(no_such_topic(&options.cluster, admin, &name).await) };
        partitions.extend(topic.partitions.keys().map(|index| TopicPartition::new(name.clone(), *index)));
    }
    Ok(partitions)
}
