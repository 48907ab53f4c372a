//! One leader, read over and over: the session, its connection, and the ids of the topics.
//!
//! States of a wanted partition: *asked* (in the session); *unresolved* (the id of its topic is not known, or the leader
//! did not know it), until the next fetch has looked it up; refused (no such topic), which is answered once and then not
//! wanted any more.
//! Invariants: one request is under way at most; a connection that failed takes the session with it. A call that is dropped
//! half-way harms nobody, but costs a new session.
//! Cost: by what changed and what was answered, not by what is wanted; a new session costs one request with everything.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tracing::debug;
use twinstream_model::{ErrorCode, NodeId, TopicId, TopicName, TopicPartition};

use super::session::{Ask, Outcome, Session};
use super::wire::{self, BY_NAME_MAX};
use super::{FETCH_GRACE, FetchFrom, FetchOptions, FetchedPartition};
use crate::error::ClientError;
use crate::raw::connection::Connection;
use crate::raw::{Node, RawClient};

/// Sessions that one call begins at most; a leader that loses track of each is not asked on and on.
const SESSIONS_MAX: usize = 3;
/// How long the end of a session may take: it only frees the leader's memory.
const END_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Fetches from one leader. Say what is wanted with [`Self::want`] and [`Self::unwant`], then [`Self::fetch_next`].
pub struct Fetcher {
    client: RawClient,
    leader: NodeId,
    options: FetchOptions,
    connection: Option<Connection>,
    session: Session,
    /// Whether topics are asked by id: the leader can, and the cluster's topics have ids.
    by_id: bool,
    unresolved: BTreeMap<TopicPartition, FetchFrom>,
    /// Topics whose id in the map the leader did not know.
    stale: BTreeSet<TopicName>,
}

impl Fetcher {
    /// `leader` may as well be a replica that a leader named, see [`FetchedPartition::read_from`].
    pub fn new(client: RawClient, leader: NodeId, options: FetchOptions) -> Self {
        Self {
            client,
            leader,
            options,
            connection: None,
            session: Session::new(),
            by_id: true,
            unresolved: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// Adds or moves a partition. It is fetched from here until it is moved or unwanted: positions do not move by
    /// themselves, and one that answers an error answers it again at once.
    pub fn want(&mut self, from: FetchFrom) {
        match self.id_of(&from) {
            Some(id) => {
                self.unresolved.remove(&from.partition);
                self.session.want(from, id);
            }
            None => {
                self.session.unwant(&from.partition);
                self.unresolved.insert(from.partition.clone(), from);
            }
        }
    }

    pub fn unwant(&mut self, partition: &TopicPartition) {
        self.session.unwant(partition);
        self.unresolved.remove(partition);
    }

    pub fn wants_nothing(&self) -> bool {
        self.session.is_empty() && self.unresolved.is_empty()
    }

    /// As [`Self::fetch_next`], of exactly these. Compares all of them with what was wanted before.
    pub async fn fetch(
        &mut self,
        wanted: &BTreeMap<TopicPartition, FetchFrom>,
    ) -> Result<Vec<FetchedPartition>, ClientError> {
        let before = self.session.wanted_partitions().chain(self.unresolved.keys());
        let gone: Vec<TopicPartition> = before.filter(|partition| !wanted.contains_key(*partition)).cloned().collect();
        gone.iter().for_each(|partition| self.unwant(partition));
        wanted.values().for_each(|from| self.want(from.clone()));
        self.fetch_next().await
    }

    /// What there is of the wanted partitions, as soon as there are `bytes_min` or an error, after `wait_max` at the latest.
    /// Partitions without news are not in the answer. While nothing is wanted it waits `wait_max` and answers nothing.
    ///
    /// After an error of the whole call nothing is lost: the next one connects anew and begins a new session.
    pub async fn fetch_next(&mut self) -> Result<Vec<FetchedPartition>, ClientError> {
        if self.wants_nothing() {
            tokio::time::sleep(self.options.wait_max).await;
            return Ok(Vec::new());
        }
        self.connect().await?;
        let refused = self.resolve().await?;
        if !refused.is_empty() {
            return Ok(refused);
        }
        let mut error = ErrorCode::None;
        for _ in 0..SESSIONS_MAX {
            let ask = self.session.ask();
            let answer = self.exchange(&ask).await?;
            error = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
            match self.session.answered(error, answer.session_id) {
                Outcome::Answered => return Ok(self.take_in(answer)),
                Outcome::AskAnew => debug!(leader = %self.leader, error = error.name(), "fetch session begins anew"),
                Outcome::Refused(_) => break,
            }
        }
        Err(ClientError::broker(format!("fetch from broker {}", self.leader), error))
    }

    /// Ends the session, so that the leader need not remember it. Dropping a fetcher does no harm either.
    pub async fn close(mut self) {
        let Some(ask) = self.session.end() else { return };
        let Some(connection) = self.connection.take().filter(Connection::is_open) else { return };
        let options = FetchOptions { wait_max: std::time::Duration::ZERO, ..self.options };
        let cap = if self.by_id { i16::MAX } else { BY_NAME_MAX };
        let Ok(version) = connection.version_of::<FetchRequest>(cap) else { return };
        let request = wire::request(&ask, &options, version);
        if let Err(error) = connection.call(&request, version, END_WITHIN).await {
            debug!(leader = %self.leader, %error, "fetch session was left to its end");
        }
    }

    /// The id to ask by, if that is known.
    fn id_of(&self, from: &FetchFrom) -> Option<TopicId> {
        if !self.by_id {
            return Some(TopicId::NONE);
        }
        if !from.topic_id.is_none() {
            return Some(from.topic_id);
        }
        if self.stale.contains(&from.partition.topic) {
            return None;
        }
        self.session.asked_by(&from.partition).or_else(|| {
            let view = self.client.view();
            view.topics.get(&from.partition.topic).map(|topic| topic.id).filter(|id| !id.is_none())
        })
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        if self.connection.as_ref().is_some_and(Connection::is_open) {
            return Ok(());
        }
        self.connection = None;
        self.session.lost();
        let connection = self.client.own_connection(self.leader).await?;
        let by_id = connection.version_of::<FetchRequest>(i16::MAX)? > BY_NAME_MAX;
        self.connection = Some(connection);
        self.ask_by(by_id);
        Ok(())
    }

    /// Changes how topics are asked; a session knows one way only, so this begins a new one.
    fn ask_by(&mut self, by_id: bool) {
        if self.by_id == by_id {
            return;
        }
        self.by_id = by_id;
        let wanted = self.session.take_all();
        wanted.into_iter().for_each(|from| self.want(from));
    }

    /// Finds the ids that are missing; partitions of topics that do not exist are given back as refused.
    async fn resolve(&mut self) -> Result<Vec<FetchedPartition>, ClientError> {
        if self.unresolved.is_empty() {
            return Ok(Vec::new());
        }
        let mut view = self.client.view();
        let is_unknown = |topic: &TopicName| self.stale.contains(topic) || !view.topics.contains_key(topic);
        let mut unknown: Vec<TopicName> = Vec::new();
        for topic in self.unresolved.keys().map(|partition| &partition.topic) {
            if unknown.last() != Some(topic) && is_unknown(topic) {
                unknown.push(topic.clone());
            }
        }
        if self.by_id && !unknown.is_empty() {
            view = self.client.refresh(&unknown).await?;
        }
        unknown.iter().for_each(|topic| _ = self.stale.remove(topic));
        // A cluster whose metadata is still of an older version serves new requests for topics without ids.
        let has_no_id = |topic: &TopicName| view.topics.get(topic).is_some_and(|topic| topic.id.is_none());
        if self.unresolved.keys().any(|partition| has_no_id(&partition.topic)) {
            self.ask_by(false);
        }
        let mut refused = Vec::new();
        for (partition, from) in std::mem::take(&mut self.unresolved) {
            match self.id_of(&from) {
                Some(id) => self.session.want(from, id),
                None => {
                    let error = view.topic_error(&partition.topic);
                    refused.push(FetchedPartition::refused(partition, TopicId::NONE, error));
                }
            }
        }
        Ok(refused)
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<FetchResponse, ClientError> {
        let Some(connection) = &self.connection else {
            return Err(ClientError::Closed { what: format!("fetch from broker {}", self.leader) });
        };
        let version = connection.version_of::<FetchRequest>(if self.by_id { i16::MAX } else { BY_NAME_MAX })?;
        let request = wire::request(ask, &self.options, version);
        let answer = connection.call(&request, version, self.options.wait_max + FETCH_GRACE).await;
        if let Err(error) = &answer {
            self.connection = None;
            self.session.lost();
            if matches!(error, ClientError::Connection { .. } | ClientError::Timeout { .. }) {
                self.client.shared.cluster.forget_node(Node::Id(self.leader));
            }
        }
        answer
    }

    fn take_in(&mut self, answer: FetchResponse) -> Vec<FetchedPartition> {
        let fetched = wire::fetched(answer.responses, self.session.names());
        let with_records = fetched.iter().rev().find(|partition| !partition.batches.is_empty());
        self.session.served(with_records.map(|partition| &partition.partition));
        for partition in &fetched {
            if partition.error == ErrorCode::None {
                continue;
            }
            self.client.note_fetched(partition);
            if matches!(partition.error, ErrorCode::UnknownTopicId | ErrorCode::InconsistentTopicId) {
                self.stale.insert(partition.partition.topic.clone());
            }
        }
        fetched
    }
}
