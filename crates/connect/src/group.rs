//! The worker's place in its group: one worker per `group.id`.
//!
//! Picture: the worker is a member of a Kafka group of protocol type `connect`, so that tools list it and the broker's
//! session time-out tells a live worker from a dead one. It is a *static* member, named after its advertised address: the
//! same worker started again after a crash takes its place at once, while a worker at another address sees a live member
//! and is refused.
//! Invariants: at most one worker of a group is past [`Membership::join`]. A member that loses its place (fenced by a worker
//! with the same address, or another one came in while its session was over) says so through [`Membership::lost`], and
//! the worker stops.
//! Not here: assignments. A Java worker that tries to join is refused by the broker, since it shares no protocol with us.

mod place;
pub(crate) mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use twinstream_client::raw::kafka_protocol::messages::leave_group_request::MemberIdentity;
use twinstream_client::raw::kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use twinstream_client::raw::kafka_protocol::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use twinstream_client::raw::{Node, RawClient, kafka_protocol};
use twinstream_client::{ClientError, ClientSettings};
use twinstream_model::{ErrorCode, GroupId};
use twinstream_telemetry::{Metrics, Reading};

use kafka_protocol::protocol::StrBytes;

pub(crate) use self::place::Place;

const PROTOCOL_TYPE: &str = "connect";
/// Our own protocol, so that no Java worker can come in and wait for an assignment that we never make.
const PROTOCOL: &str = "twinstream";
/// How long a connection to another member's address may take to count as "somebody is there".
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// Version 5 carries a reason, which nobody here has.
const LEAVE_VERSION_MAX: i16 = 4;
/// Instance ids follow the rules of topic names (249 characters); this leaves room for the checksum.
const INSTANCE_LEN_MAX: usize = 200;
const POLL_PAUSE: Duration = Duration::from_millis(500);
/// Beyond the session time-out, what the coordinator may need to notice a dead member.
const EXPIRY_SLACK: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error(
        "group.id '{group}' already has a worker at {url}: this release runs one worker per group, stop that one or choose another group.id"
    )]
    Taken { group: String, url: String },
    #[error("group.id '{group}' is in use by a group of type '{kind}': choose another group.id")]
    OtherKind { group: String, kind: String },
    #[error("another worker with the same address took over group.id '{group}'")]
    Fenced { group: String },
    #[error("cannot join group '{group}'")]
    Client { group: String, source: ClientError },
}

/// What a worker tells its group.
#[derive(Clone)]
pub(crate) struct GroupOptions {
    pub(crate) group: String,
    /// `http://host:port/`, for those who are refused because of us.
    pub(crate) url: String,
    /// Made from `host:port`, our identity over restarts.
    pub(crate) instance: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) heartbeat: Duration,
}

/// A place in the group, kept by heartbeats until it is left or lost.
pub(crate) struct Membership {
    member: Member,
    generation: watch::Receiver<i32>,
    lost: watch::Receiver<Option<String>>,
    place: Place,
    keeper: AbortHandle,
}

impl Membership {
    /// Joins, or says who is there already. A dead member's place is waited for until its session is over.
    pub(crate) async fn join(settings: &ClientSettings, options: GroupOptions) -> Result<Self, GroupError> {
        let failed = |source| GroupError::Client { group: options.group.clone(), source };
        let client = RawClient::connect(settings).await.map_err(failed)?;
        let mut member = Member {
            client,
            options,
            member_id: String::new(),
            generation: -1,
            coordinator: None,
            joins: Arc::default(),
        };
        member.wait_for_place().await?;
        member.join().await?;
        let (generation_in, generation) = watch::channel(member.generation);
        let (lost_in, lost) = watch::channel(None);
        let (place, asks) = Place::new(&member.options);
        let keeper = tokio::spawn(member.clone().keep(generation_in, lost_in, asks)).abort_handle();
        Ok(Self { member, generation, lost, place, keeper })
    }

    /// For whoever must know that the place is still there.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    pub(crate) fn generation(&self) -> i32 {
        *self.generation.borrow()
    }

    /// Shows how the place in the group is kept.
    pub(crate) fn declare(&self, metrics: &Metrics) {
        let (generation, under_way) = (self.generation.clone(), Arc::clone(&self.member.joins));
        let completed = Arc::clone(&under_way);
        metrics.declare(Reading::gauge(
            "kafka_connect_worker_rebalance_rebalancing",
            "1 while this worker joins its group again, else 0.",
            move || f64::from(u8::from(under_way.under_way.load(Ordering::Relaxed))),
        ));
        metrics.declare(Reading::counter(
            "kafka_connect_worker_rebalance_completed_rebalances_total",
            "Times that this worker got its place in the group, the first one included.",
            move || completed.completed.load(Ordering::Relaxed) as f64,
        ));
        metrics.declare(Reading::gauge(
            "kafka_connect_worker_rebalance_epoch",
            "Generation of the group in which this worker has its place.",
            move || f64::from(*generation.borrow()),
        ));
    }

    /// Completes when the place is lost, with the reason.
    pub(crate) async fn lost(&mut self) -> String {
        match self.lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the group's heartbeat ended".to_owned(),
        }
    }

    /// Gives the place back, so that the next worker need not wait for the session time-out.
    pub(crate) async fn leave(mut self) {
        self.keeper.abort();
        self.member.leave().await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Whether the worker is joining, and how often it has joined; for metrics.
#[derive(Debug, Default)]
struct Joins {
    under_way: AtomicBool,
    completed: AtomicU64,
}

#[derive(Clone)]
struct Member {
    client: RawClient,
    options: GroupOptions,
    member_id: String,
    generation: i32,
    coordinator: Option<twinstream_model::NodeId>,
    joins: Arc<Joins>,
}

impl Member {
    fn failed(&self, source: ClientError) -> GroupError {
        GroupError::Client { group: self.options.group.clone(), source }
    }

    fn group_id(&self) -> kafka_protocol::messages::GroupId {
        kafka_protocol::messages::GroupId(text(&self.options.group))
    }

    async fn coordinator(&mut self) -> Result<Node, ClientError> {
        let id = match self.coordinator {
            Some(id) => id,
            None => self.client.find_coordinator(&GroupId::from(self.options.group.as_str())).await?,
        };
        self.coordinator = Some(id);
        Ok(Node::Id(id))
    }

    /// Until no other member is in the group. Somebody who answers at another member's address is alive: that is an error.
    async fn wait_for_place(&mut self) -> Result<(), GroupError> {
        let deadline = Instant::now() + self.options.session_timeout + EXPIRY_SLACK;
        let mut said = false;
        while let Some(url) = self.other_member().await? {
            if Instant::now() >= deadline || is_reachable(&url).await {
                return Err(GroupError::Taken { group: self.options.group.clone(), url });
            }
            if !said {
                let within = self.options.session_timeout;
                tracing::info!(%url, ?within, "group has a member that does not answer, waiting for its session to end");
                said = true;
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ok(())
    }

    /// The URL of a member that is not us.
    async fn other_member(&mut self) -> Result<Option<String>, GroupError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![self.group_id()]);
        let deadline = Instant::now() + self.options.rebalance_timeout;
        let group = loop {
            let answer = match self.coordinator().await {
                Ok(node) => self.client.request(node, &request).await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(answer) => match answer.groups.into_iter().next() {
                    Some(group) if group.error_code == 0 => break group,
                    Some(group) => code(group.error_code),
                    None => return Ok(None),
                },
                Err(error) => Err(error),
            };
            match error {
                Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Ok(None),
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    self.coordinator = None;
                    tokio::time::sleep(POLL_PAUSE).await;
                }
                Err(error) => return Err(self.failed(error)),
                Ok(()) => return Ok(None),
            }
        };
        let kind = group.protocol_type.as_str();
        if !group.members.is_empty() && kind != PROTOCOL_TYPE && !kind.is_empty() {
            return Err(GroupError::OtherKind { group: self.options.group.clone(), kind: kind.to_owned() });
        }
        let instance = self.options.instance.as_str();
        let is_us = |id: &Option<StrBytes>| id.as_ref().is_some_and(|id| id.as_str() == instance);
        let other = group
            .members
            .iter()
            .find(|member| !is_us(&member.group_instance_id) && member.member_id.as_str() != self.member_id);
        Ok(other.map(|member| wire::url_of(&member.member_metadata, member.client_host.as_str())))
    }

    /// Joins and syncs; retries what may pass. Afterwards we are the group's only member.
    async fn join(&mut self) -> Result<(), GroupError> {
        let deadline = Instant::now() + self.options.rebalance_timeout;
        self.joins.under_way.store(true, Ordering::Relaxed);
        loop {
            match self.join_once().await {
                Ok(()) => {
                    self.joins.completed.fetch_add(1, Ordering::Relaxed);
                    self.joins.under_way.store(false, Ordering::Relaxed);
                    return Ok(());
                }
                Err(JoinError::Final(error)) => return Err(error),
                Err(JoinError::Again(error)) if Instant::now() < deadline => {
                    tracing::debug!(%error, "joining the group is tried again");
                    self.coordinator = None;
                    tokio::time::sleep(POLL_PAUSE).await;
                }
                Err(JoinError::Again(error)) => return Err(self.failed(error)),
            }
        }
    }

    async fn join_once(&mut self) -> Result<(), JoinError> {
        let node = self.coordinator().await.map_err(JoinError::Again)?;
        let joined = self.client.request(node, &self.join_request()).await.map_err(JoinError::Again)?;
        match ErrorCode::from_code(joined.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::MemberIdRequired) => {
                self.member_id = joined.member_id.to_string();
                return Err(JoinError::Again(ClientError::broker("join", ErrorCode::MemberIdRequired)));
            }
            Some(ErrorCode::UnknownMemberId) => {
                self.member_id.clear();
                return Err(JoinError::Again(ClientError::broker("join", ErrorCode::UnknownMemberId)));
            }
            Some(ErrorCode::FencedInstanceId) => return Err(JoinError::Final(self.fenced())),
            Some(ErrorCode::InconsistentGroupProtocol) => {
                let other = self.other_member().await.map_err(JoinError::Final)?;
                let url = other.unwrap_or_else(|| "an unknown address".to_owned());
                return Err(JoinError::Final(GroupError::Taken { group: self.options.group.clone(), url }));
            }
            Some(error) => return Err(self.classify(ClientError::broker("join the group", error))),
            None => return Err(self.classify(ClientError::broker("join the group", ErrorCode::UnknownServerError))),
        }
        self.member_id = joined.member_id.to_string();
        self.generation = joined.generation_id;
        if joined.leader != joined.member_id {
            // Two started at once; whoever leads was first.
            let url = self.other_member().await.map_err(JoinError::Final)?;
            self.leave().await;
            let url = url.unwrap_or_else(|| "an unknown address".to_owned());
            return Err(JoinError::Final(GroupError::Taken { group: self.options.group.clone(), url }));
        }
        self.sync(node).await
    }

    async fn sync(&mut self, node: Node) -> Result<(), JoinError> {
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(Some(text(&self.options.instance)))
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(PROTOCOL)))
            .with_assignments(vec![
                SyncGroupRequestAssignment::default()
                    .with_member_id(text(&self.member_id))
                    .with_assignment(wire::metadata(&self.options.url)),
            ]);
        let synced = self.client.request(node, &request).await.map_err(JoinError::Again)?;
        match ErrorCode::from_code(synced.error_code) {
            Some(ErrorCode::None) => Ok(()),
            Some(ErrorCode::FencedInstanceId) => Err(JoinError::Final(self.fenced())),
            // Somebody else is at the door; the next round tells.
            Some(
                error @ (ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId),
            ) => Err(JoinError::Again(ClientError::broker("sync the group", error))),
            Some(error) => Err(self.classify(ClientError::broker("sync the group", error))),
            None => Err(self.classify(ClientError::broker("sync the group", ErrorCode::UnknownServerError))),
        }
    }

    fn join_request(&self) -> JoinGroupRequest {
        use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(PROTOCOL))
            .with_metadata(wire::metadata(&self.options.url));
        JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(self.options.session_timeout))
            .with_rebalance_timeout_ms(millis(self.options.rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(Some(text(&self.options.instance)))
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![protocol])
    }

    fn fenced(&self) -> GroupError {
        GroupError::Fenced { group: self.options.group.clone() }
    }

    fn classify(&self, error: ClientError) -> JoinError {
        if error.is_retriable() { JoinError::Again(error) } else { JoinError::Final(self.failed(error)) }
    }

    /// Heartbeats, and joins again when the group asks for it, until the place is lost.
    async fn keep(
        mut self,
        generation: watch::Sender<i32>,
        lost: watch::Sender<Option<String>>,
        mut asks: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        loop {
            let mut asking = place::next_heartbeat(self.options.heartbeat, &mut asks).await;
            let problem = match self.heartbeat().await {
                Ok(ErrorCode::None) => {
                    asking.drain(..).for_each(|ask| _ = ask.send(())); // who asked may have gone
                    continue;
                }
                Ok(ErrorCode::FencedInstanceId) => Err(self.fenced()),
                Ok(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => self.join().await,
                Ok(ErrorCode::UnknownMemberId) => self.come_back().await,
                Ok(code) => {
                    tracing::debug!(code = code.name(), "heartbeat refused, looking for the coordinator");
                    self.coordinator = None;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "heartbeat failed");
                    self.coordinator = None;
                    continue;
                }
            };
            match problem {
                Ok(()) => _ = generation.send_replace(self.generation),
                // The cluster is away: go on heartbeating, somebody else will hardly get in meanwhile.
                Err(GroupError::Client { source, .. }) if source.is_retriable() => {
                    tracing::warn!(error = %source, "cannot join the group again yet");
                }
                Err(error) => {
                    lost.send_replace(Some(twinstream_connect_api::error::trace_of(&error)));
                    return;
                }
            }
        }
    }

    /// After our session was over: join again unless somebody else is there.
    async fn come_back(&mut self) -> Result<(), GroupError> {
        self.member_id.clear();
        self.wait_for_place().await?;
        self.join().await
    }

    async fn heartbeat(&mut self) -> Result<ErrorCode, ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(Some(text(&self.options.instance)));
        let node = self.coordinator().await?;
        let answer = self.client.request(node, &request).await?;
        Ok(ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError))
    }

    async fn leave(&mut self) {
        let group = GroupId::from(self.options.group.as_str());
        if let Err(error) = leave_group(&self.client, &group, &self.member_id, &self.options.instance).await {
            tracing::warn!(%error, "did not leave the group, the next worker waits for the session time-out");
        }
    }
}

enum JoinError {
    Again(ClientError),
    Final(GroupError),
}

fn code(number: i16) -> Result<(), ClientError> {
    match ErrorCode::from_code(number).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::broker("describe the group", code)),
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Takes a static member out of its group; its client does not do that by itself.
pub(crate) async fn leave_group(
    client: &RawClient,
    group: &GroupId,
    member_id: &str,
    instance: &str,
) -> Result<(), ClientError> {
    let identity =
        MemberIdentity::default().with_member_id(text(member_id)).with_group_instance_id(Some(text(instance)));
    // From version 3 on members leave by a list, and the field of the only member must be empty.
    let request = LeaveGroupRequest::default()
        .with_group_id(kafka_protocol::messages::GroupId(text(group.as_str())))
        .with_members(vec![identity]);
    let coordinator = client.find_coordinator(group).await?;
    let left = client.request_capped(Node::Id(coordinator), &request, LEAVE_VERSION_MAX).await?;
    let code = left.members.first().map_or(left.error_code, |member| member.error_code);
    match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
        // Out already, by a session that ended or a successor.
        ErrorCode::None | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => Ok(()),
        code => Err(ClientError::broker(format!("leave group {group}"), code)),
    }
}

/// A legal `group.instance.id` of these parts, the same for the same parts.
///
/// What is not legal in one becomes `_`, and a checksum keeps names apart that only differ there.
pub(crate) fn instance_id(parts: &[&str]) -> String {
    let joined = parts.join("-");
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if joined.len() <= INSTANCE_LEN_MAX && joined.chars().all(legal) {
        return joined;
    }
    let clean: String = joined.chars().map(|c| if legal(c) { c } else { '_' }).take(INSTANCE_LEN_MAX).collect();
    // FNV-1a: stable over releases, which a restarted worker depends on.
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = joined.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    format!("{clean}-{sum:016x}")
}

/// Whether something listens at a URL's host and port.
async fn is_reachable(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let connecting = tokio::net::TcpStream::connect(authority.to_owned());
    matches!(tokio::time::timeout(PROBE_WITHIN, connecting).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::instance_id;

    #[test]
    fn instance_ids_are_legal_stable_and_apart() {
        assert_eq!(instance_id(&["g", "search", "0"]), "g-search-0");
        let odd = instance_id(&["g", "a/b c", "0"]);
        assert_eq!(odd, "g-a_b_c-0-110ff09aec63ff59");
        assert_ne!(odd, instance_id(&["g", "a_b c", "0"]));
        let long = instance_id(&["g", &"x".repeat(400), "0"]);
        assert!(long.len() <= 249);
        assert_ne!(long, instance_id(&["g", &"x".repeat(400), "1"]));
    }
}
