//! The rim of a task: carries out what the engine decides, and tells it what came of it.
//!
//! Picture: fetches and questions are tokio tasks in one set, which survive a dropped `poll`. `poll` waits for the next one
//! that is back. Of a fetch, the engine hears first how far each partition got, and the next fetch to that leader leaves;
//! then its batches are made ready and handed to the worker.
//! Invariants: C1 nothing is awaited between taking a result out of the set and returning what it brought, so a poll may be
//! dropped at any await. C2 a partition with more than [`UNDER_WAY_MAX`] not acknowledged is not fetched, so that one slow
//! leader of the target does not fill the worker's memory for all.
//! Not here: what an answer means (`engine`), what becomes of a batch (`request`, `aligned::run`), handing it on ([`handing`]).

mod handing; // from what came to what leaves
mod held; // what waits for its turn

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};
use twinstream_client::raw::{FetchOptions, FetchedPartition};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{RawBatch, RawLane, RawObserver, TaskError};
use twinstream_model::{LeaderEpoch, Offset, TopicName, TopicPartition};

use self::handing::Brought;
use self::held::Ends;
use crate::aligned::footing::{Footing, Target};
use crate::aligned::parting::{self, Parting};
use crate::away::{Absence, may_pass};
use crate::config::Settings;
use crate::engine::standing::{Begin, Standing};
use crate::engine::{Answer, At, Engine, Found, News, Place, Stop};
use crate::figures::{self, Heard, LinkFigures, Mode};
use crate::fleet::{Fleet, Return};
use crate::metrics::PartitionMetrics;
use crate::observer::{Closed, Observer, is_too_large};
use crate::pace::Pace;
use crate::provenance::Path;
use crate::questions::{self, Answered, Bounds, Named, Refused};
use crate::request::reach;

/// How long a poll waits for something to come back.
const POLL_WAIT: Duration = Duration::from_secs(1);
/// Of one partition, not acknowledged by the target: enough to keep a target busy that is 50 ms away at 160 MB/s.
const UNDER_WAY_MAX: usize = 8 << 20;
/// Partitions in one question; more go into several, which are answered one by one.
const ASKED_AT_ONCE: usize = 2_000;
/// How often the target is asked how large a batch it takes.
const LIMITS_EVERY: Duration = Duration::from_secs(60);
/// The same while it did not answer.
const LIMITS_AGAIN: Duration = Duration::from_secs(1);
/// Kafka's default for `max.message.bytes`, for topics that the target says nothing of.
const BATCH_BYTES_DEFAULT: usize = 1_048_588;

pub(crate) struct Copying {
    settings: Settings,
    options: FetchOptions,
    client: Option<RawClient>,
    /// What records take along, once the source is known; and the id of where they go.
    path: Option<Path>,
    target_cluster: Option<String>,
    target: Target,
    link: Arc<LinkFigures>,
    engine: Engine,
    observer: Arc<Observer>,
    fleet: Fleet,
    under_way: JoinSet<Event>,
    /// Partitions that a question is under way for.
    asked: BTreeSet<At>,
    held: BTreeSet<At>,
    pace: Pace,
    ends: Ends,
    limits: Limits,
    /// The log start and the epoch that a mirror was last told, by partition.
    told: Vec<(Offset, LeaderEpoch)>,
    began: Instant,
    away: Absence,
}

/// A partition that is to be copied.
pub(crate) struct Assigned {
    pub name: TopicPartition,
    pub place: Place,
    pub lane: Arc<RawLane>,
    pub metrics: Arc<PartitionMetrics>,
}

/// Largest batches of the target's topics.
struct Limits {
    /// By partition.
    bytes: Vec<usize>,
    /// Nothing is fetched before the target has answered, be it that it does not tell.
    known: bool,
    asking: bool,
    next: Instant,
}

enum Event {
    Fetched(Return),
    Footings(Answered<Result<Footing, Refused>>),
    Parting(Answered<Result<Option<Parting>, Refused>>),
    Leaders(Answered<Result<Found, Refused>>),
    Beginnings(Answered<Result<Offset, Refused>>),
    Bounds(Answered<Result<Bounds, Refused>>),
    Ends(Answered<Result<Offset, Refused>>),
    Limits(Result<BTreeMap<TopicName, usize>, ClientError>),
}

impl Copying {
    /// `target_cluster` is the target's id, if it tells one.
    pub(crate) fn new(
        settings: Settings,
        assigned: Vec<Assigned>,
        observer: Arc<Observer>,
        target_cluster: Option<String>,
    ) -> Copying {
        let fetch = &settings.fetch;
        let options = FetchOptions {
            wait_max: fetch.wait_max,
            bytes_min: fetch.bytes_min,
            bytes_max: fetch.bytes_max,
            partition_bytes_max: fetch.partition_bytes_max,
            read_committed: fetch.read_committed,
            rack: fetch.rack.clone(),
        };
        let now = Instant::now();
        let aliases = (settings.source_alias.as_str(), settings.target_alias.as_str());
        let mut copying = Copying {
            target: Target::new(settings.target.clone(), settings.link_mode, aliases),
            link: figures::link(aliases.0, aliases.1),
            pace: Pace::new(aliases.0, aliases.1, &settings.pace),
            ends: Ends::new(now),
            engine: Engine::new(settings.policies),
            settings,
            options,
            client: None,
            path: None,
            target_cluster,
            observer,
            fleet: Fleet::default(),
            under_way: JoinSet::new(),
            asked: BTreeSet::new(),
            held: BTreeSet::new(),
            limits: Limits { bytes: Vec::new(), known: false, asking: false, next: now },
            told: Vec::new(),
            began: now,
            away: Absence::default(),
        };
        assigned.into_iter().for_each(|one| copying.add(one));
        copying
    }

    /// Takes a partition on. The others are not disturbed.
    pub(crate) fn add(&mut self, one: Assigned) {
        self.pace.add(&one.name.topic);
        let at = self.engine.add(one.name.clone(), one.place);
        self.observer.add(one.name, one.lane, one.metrics);
        self.limits.bytes.push(BATCH_BYTES_DEFAULT);
        self.limits.next = Instant::now();
        self.told.push((Offset(0), LeaderEpoch(0)));
        self.shows(at, self.engine.standing(at), "", (0, 0));
    }

    /// Lets go of a partition, without waiting for what is under way.
    pub(crate) fn remove(&mut self, name: &TopicPartition) {
        let Some(at) = self.engine.at(name) else { return };
        self.engine.remove(at);
        self.observer.remove(at);
        self.held.remove(&at);
        self.pace.forget(at);
    }

    /// What is copied.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.engine.present().map(|(name, _)| name)
    }

    pub(crate) fn observer(&self) -> Arc<dyn RawObserver> {
        Arc::clone(&self.observer) as Arc<dyn RawObserver>
    }

    pub(crate) async fn stop(&mut self) {
        self.under_way.shutdown().await;
    }

    /// The next batches; none when nothing came for a while.
    pub(crate) async fn poll(&mut self) -> Result<Vec<RawBatch>, TaskError> {
        let until = Instant::now() + POLL_WAIT;
        if self.engine.len() == 0 {
            sleep_until(until).await;
            return Ok(Vec::new());
        }
        let client = match &self.client {
            Some(client) => client.clone(),
            None => match RawClient::connect(&self.settings.source).await {
                Ok(client) => {
                    self.answers_again();
                    self.path = self.path_from(&client)?;
                    self.client.insert(client).clone()
                }
                Err(cause) => return Err(self.unreachable(cause)),
            },
        };
        loop {
            self.engine.tick(self.now());
            self.take_back()?;
            self.finish_cuts();
            for at in self.engine.take_jumps() {
                self.observer.renew(at);
                self.held.remove(&at);
            }
            self.release();
            self.ask(&client);
            self.send_fetches(&client);
            self.tell_news();
            let rest = self.engine.next_deadline().map_or(until, |rest| (self.began + rest).min(until));
            let rest = self.pace.next_free().map_or(rest, |free| free.min(rest));
            let observer = Arc::clone(&self.observer);
            let event = tokio::select! {
                biased;
                Some(event) = self.under_way.join_next() => event,
                () = observer.news.notified(), if self.waits_for_target() => continue,
                () = sleep_until(rest) => {
                    if Instant::now() >= until {
                        return self.nothing_came();
                    }
                    continue;
                }
            };
            let event =
                event.map_err(|cause| TaskError::fatal("a fetch panicked, the log has the place").caused_by(cause))?;
            let batches = self.take_in(&client, event)?;
            if !batches.is_empty() {
                return Ok(batches);
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn target_of(&self, at: At) -> Option<TopicPartition> {
        self.observer.partition(at).map(|partition| partition.target.clone())
    }

    /// In the figures; with how many records were lost, and how many diverged.
    fn shows(&self, at: At, standing: Standing, cause: &str, (lost, diverged): (i64, i64)) {
        if let Some(partition) = self.observer.partition(at) {
            partition.metrics.stands(standing, cause, lost, diverged);
        }
    }

    /// Asks what the engine has to know, in questions of their own.
    fn ask(&mut self, client: &RawClient) {
        let news = |asked: &BTreeSet<At>, at: &At| !asked.contains(at);
        let unfooted: Vec<At> = self.engine.unfooted().filter(|at| news(&self.asked, at)).collect();
        for some in self.named(unfooted) {
            let pair = |(at, name): (At, TopicPartition)| Some((at, name.topic, self.target_of(at)?));
            let asking = self.target.clone().footings(some.into_iter().filter_map(pair).collect());
            self.under_way.spawn(async move { Event::Footings(asking.await) });
        }
        // What is under way belongs to the log as it was.
        let is_due = |at: &At| news(&self.asked, at) && self.observer.is_clear(*at);
        let parting: Vec<At> = self.engine.parting().filter(is_due).collect();
        for (at, there) in self.named(parting).into_iter().flatten() {
            let Some(here) = self.target_of(at) else { continue };
            let asking = parting::find(client.clone(), self.target.clone(), at, there, here);
            self.under_way.spawn(async move { Event::Parting(asking.await) });
        }
        let homeless: Vec<At> = self.engine.homeless().filter(|at| news(&self.asked, at)).collect();
        for some in self.named(homeless) {
            let client = client.clone();
            self.under_way.spawn(async move { Event::Leaders(questions::leaders(client, some).await) });
        }
        for begin in [Begin::Earliest, Begin::Latest] {
            let seeking = self.engine.seeking().filter(|(at, wanted)| *wanted == begin && news(&self.asked, at));
            let seeking: Vec<At> = seeking.map(|(at, _)| at).collect();
            for some in self.named(seeking) {
                let client = client.clone();
                self.under_way
                    .spawn(async move { Event::Beginnings(questions::beginnings(client, some, begin).await) });
            }
        }
        let doubtful: Vec<At> = self.engine.doubtful().filter(|at| news(&self.asked, at)).collect();
        for some in self.named(doubtful) {
            let client = client.clone();
            self.under_way.spawn(async move { Event::Bounds(questions::bounds(client, some).await) });
        }
        self.ask_ends(client);
        if !self.limits.asking && Instant::now() >= self.limits.next {
            self.limits.asking = true;
            let topics = self.engine.present().filter_map(|(_, at)| Some(self.target_of(at)?.topic)).collect();
            let asking = questions::limits(self.settings.target.clone(), topics);
            self.under_way.spawn(async move { Event::Limits(asking.await) });
        }
    }

    /// Notes these as asked for, in groups of a bounded size.
    fn named(&mut self, partitions: Vec<At>) -> Vec<Named> {
        self.asked.extend(&partitions);
        let named = |some: &[At]| some.iter().map(|at| (*at, self.engine.name(*at).clone())).collect();
        partitions.chunks(ASKED_AT_ONCE).map(named).collect()
    }

    fn send_fetches(&mut self, client: &RawClient) {
        for order in self.engine.take_orders() {
            let at = order.at();
            self.fleet.order(self.engine.name(at), order);
        }
        if self.limits.known && self.pace.whole_link_waits().is_none() {
            for trip in self.fleet.trips(client, &self.options) {
                self.under_way.spawn(async move { Event::Fetched(trip.fetch().await) });
            }
        }
    }

    /// What the target did not take.
    fn take_back(&mut self) -> Result<(), TaskError> {
        let now = self.now();
        for Closed { at, back_to, complaint } in self.observer.reopen() {
            if let Some(position) = back_to.filter(|_| self.engine.tie(at).is_none()) {
                self.engine.go_back(at, position);
            }
            if is_too_large(complaint.code) {
                let partition = self.engine.name(at);
                warn!(%partition, "the target takes smaller batches only than it said, they are made anew");
                (self.limits.known, self.limits.next) = (false, Instant::now());
                continue;
            }
            self.engine.complained(at, complaint, now).map_err(|stop| self.stopped(stop))?;
        }
        Ok(())
    }

    /// Lets mirrors go on that have given up what is not the source's.
    fn finish_cuts(&mut self) {
        let done: Vec<At> = self.engine.cutting().filter(|at| self.observer.is_clear(*at)).collect();
        done.into_iter().for_each(|at| self.engine.cut_is_done(at));
    }

    /// Whether something goes on only when the target has answered.
    fn waits_for_target(&self) -> bool {
        !self.held.is_empty() || self.engine.parting().next().is_some() || self.engine.cutting().next().is_some()
    }

    /// Lets partitions go on whose batches have arrived, and whose turn it is.
    fn release(&mut self) {
        let (pace, observer) = (&mut self.pace, &self.observer);
        let is_free = |at: &At| pace.is_free(*at) && observer.under_way(*at) < UNDER_WAY_MAX / 2;
        let free: Vec<At> = self.held.iter().copied().filter(is_free).collect();
        for at in free {
            self.held.remove(&at);
            self.engine.release(at);
        }
    }

    fn take_in(&mut self, client: &RawClient, event: Event) -> Result<Vec<RawBatch>, TaskError> {
        let now = self.now();
        match event {
            Event::Fetched(back) => return self.fetched(client, back),
            Event::Footings(answer) => self.footed(client, answer, now)?,
            Event::Parting(answer) => return self.parted(answer, now),
            Event::Leaders(answer) => self.settle(answer, |engine, at, found| engine.placed(at, found, now))?,
            Event::Beginnings(answer) => self.settle(answer, |engine, at, found| engine.began(at, found, now))?,
            Event::Bounds(answer) => self.settle(answer, |engine, at, found| engine.bounded(at, found, now))?,
            Event::Ends(answer) => self.learn_ends(answer),
            Event::Limits(limits) => self.learn_limits(limits),
        }
        Ok(Vec::new())
    }

    fn settle<T>(
        &mut self,
        answer: Answered<T>,
        mut tell: impl FnMut(&mut Engine, At, T) -> Result<(), Stop>,
    ) -> Result<(), TaskError> {
        for at in &answer.asked {
            self.asked.remove(at);
        }
        match answer.result {
            Ok(found) => {
                self.answers_again();
                for (at, found) in found {
                    tell(&mut self.engine, at, found).map_err(|stop| self.stopped(stop))?;
                }
            }
            Err(cause) if may_pass(&cause) => {
                let now = self.now();
                self.engine.unanswered(&answer.asked, &cause.to_string(), now);
                self.no_answer(&cause);
            }
            Err(cause) => return Err(TaskError::fatal("ask the source about partitions").caused_by(cause)),
        }
        Ok(())
    }

    fn footed(
        &mut self,
        client: &RawClient,
        answer: Answered<Result<Footing, Refused>>,
        now: Duration,
    ) -> Result<(), TaskError> {
        let cluster = client.cluster_id();
        for (at, footing) in self.of_target(answer, now)? {
            let footing = footing.map(|footing| match footing {
                Footing::Aligned(ground) if cluster.as_ref() != Some(&ground.cluster) => Footing::Refused(format!(
                    "it is a mirror of cluster {}, the source is cluster {}",
                    ground.cluster,
                    cluster.as_deref().unwrap_or("without an id")
                )),
                footing => footing,
            });
            if let Ok(footing @ (Footing::Generic | Footing::Aligned(_))) = &footing {
                let aligned = matches!(footing, Footing::Aligned(_));
                if let Some(partition) = self.observer.partition(at) {
                    partition.metrics.copied_as(if aligned { Mode::Aligned } else { Mode::Generic });
                }
            }
            self.engine.grounded(at, footing, now).map_err(|stop| self.stopped(stop))?;
        }
        Ok(())
    }

    fn parted(
        &mut self,
        answer: Answered<Result<Option<Parting>, Refused>>,
        now: Duration,
    ) -> Result<Vec<RawBatch>, TaskError> {
        let mut out = Vec::new();
        for (at, found) in self.of_target(answer, now)? {
            if let Some(parting) = self.engine.parted(at, found, now).map_err(|stop| self.stopped(stop))? {
                self.cut(at, parting, &mut out);
            }
        }
        Ok(out)
    }

    /// Answers that the target had a part in.
    fn of_target<T>(&mut self, answer: Answered<T>, now: Duration) -> Result<Vec<(At, T)>, TaskError> {
        for at in &answer.asked {
            self.asked.remove(at);
        }
        match answer.result {
            Ok(found) => Ok(found),
            Err(cause) if may_pass(&cause) => {
                self.engine.unanswered(&answer.asked, &format!("the target: {cause}"), now);
                Ok(Vec::new())
            }
            Err(cause) => Err(TaskError::fatal("ask the target about partitions").caused_by(cause)),
        }
    }

    fn learn_limits(&mut self, limits: Result<BTreeMap<TopicName, usize>, ClientError>) {
        self.limits.asking = false;
        self.limits.next = Instant::now() + if limits.is_ok() { LIMITS_EVERY } else { LIMITS_AGAIN };
        match limits {
            Ok(limits) => {
                self.limits.known = true;
                for (at, bytes) in self.limits.bytes.iter_mut().enumerate() {
                    let known = self.observer.partition(at).and_then(|one| limits.get(&one.target.topic).copied());
                    *bytes = known.unwrap_or(BATCH_BYTES_DEFAULT);
                }
            }
            // What was known may be too much: that was told by a batch that was refused.
            Err(cause) if may_pass(&cause) => {
                debug!(%cause, known = self.limits.known, "the target does not say now how large batches may be");
            }
            Err(cause) => {
                self.limits.known = true;
                warn!(%cause, "the target does not say how large batches may be, what was known counts on");
            }
        }
    }

    fn fetched(&mut self, client: &RawClient, mut back: Return) -> Result<Vec<RawBatch>, TaskError> {
        let place = back.place;
        let leader = place.0;
        let answers = match back.take_result() {
            Ok(answers) => answers,
            Err(cause) if may_pass(&cause) => {
                self.fleet.lost(back);
                let now = self.now();
                self.engine.leader_lost(leader, &cause.to_string(), now);
                self.no_answer(&cause);
                return Ok(Vec::new());
            }
            Err(cause) => return Err(TaskError::fatal(format!("fetch from source broker {leader}")).caused_by(cause)),
        };
        self.fleet.back(back);
        self.answers_again();
        self.link.heard_from(leader);
        let now = self.now();
        let brought_bytes = answers.iter().map(|answer| answer.batches.len()).sum();
        let mut brought = Vec::with_capacity(answers.len());
        for answer in answers {
            let Some(at) = self.engine.at(&answer.partition) else { continue };
            let Some(asked) = self.fleet.asked(place, at) else { continue };
            let told = self.judged(at, asked, &answer)?;
            let last_epoch = self.engine.last_epoch(at);
            let position = self.engine.answered(at, leader, &told, now).map_err(|stop| self.stopped(stop))?;
            let bytes = answer.batches.len();
            let behind = self.engine.position(at).map_or(0, |next| answer.high_watermark.0 - next.0);
            let waits = position.is_some() && self.pace.took(at, behind, bytes);
            if waits || position.is_some() && self.observer.under_way(at) + bytes > UNDER_WAY_MAX {
                self.held.insert(at);
                self.engine.hold(at);
            }
            let reached = told.reached.map(|(_, epoch)| (self.engine.topic_id(at), epoch));
            brought.push(Brought { at, position, last_epoch, reached, answer });
        }
        self.send_fetches(client);
        let mut out = Vec::new();
        for mut brought in brought {
            brought.unpin(brought_bytes, self.observer.under_way(brought.at));
            let Brought { at, position, answer, .. } = &brought;
            match (*position, self.engine.tie(*at).is_some()) {
                (Some(position), false) => self.hand_on(*at, position, brought.reached, answer, &mut out)?,
                (_, true) => self.hand_on_aligned(&brought, &mut out)?,
                (None, false) => {}
            }
            if let (Some(next), true) = (self.engine.position(*at), answer.high_watermark >= Offset(0)) {
                let heard = Heard {
                    leader,
                    source_end: answer.high_watermark,
                    log_start: answer.log_start_offset.max(Offset(0)),
                    offsets: position.map_or(0, |position| next.0 - position.0),
                    bytes: answer.batches.len(),
                };
                self.observer.fetched(*at, next, &heard);
            }
        }
        Ok(out)
    }

    fn judged(&self, at: At, asked: Offset, answer: &FetchedPartition) -> Result<Answer, TaskError> {
        let reached = reach(&answer.batches, asked).map_err(|cause| self.unreadable(at, cause))?;
        Ok(Answer {
            asked,
            error: answer.error,
            topic_id: answer.topic_id,
            diverging: answer.diverging,
            read_from: answer.read_from,
            reached,
        })
    }

    fn unreadable(&self, at: At, cause: crate::request::RequestError) -> TaskError {
        TaskError::fatal(format!("source partition {} cannot be copied", self.engine.name(at))).caused_by(cause)
    }

    fn stopped(&mut self, stop: Stop) -> TaskError {
        if let (Some(at), Some(standing)) = (self.engine.at(&stop.partition), stop.standing) {
            self.shows(at, standing, &stop.why, (0, 0));
        }
        TaskError::fatal(stop.to_string())
    }

    /// Counts each change, and logs what happened to many partitions at once in one line.
    fn tell_news(&mut self) {
        let mut lines: BTreeMap<(Standing, String), (usize, At, i64, i64)> = BTreeMap::new();
        for News { at, standing, cause, lost, diverged } in self.engine.take_news() {
            self.shows(at, standing, &cause, (lost, diverged));
            let line = lines.entry((standing, cause)).or_insert((0, at, 0, 0));
            (line.0, line.2, line.3) = (line.0 + 1, line.2 + lost, line.3 + diverged);
        }
        for ((standing, cause), (partitions, first, lost, diverged)) in lines {
            let first = self.engine.name(first);
            match standing {
                Standing::Starting | Standing::Copying => info!(%standing, partitions, %first, "partitions are copied"),
                Standing::Away => warn!(%standing, partitions, %first, cause, "partitions wait for the source"),
                Standing::Promoted => warn!(%standing, partitions, %first, cause, "partitions are not copied any more"),
                Standing::Refused => {
                    error!(%standing, partitions, %first, cause, "the target does not take partitions")
                }
                _ => error!(%standing, partitions, %first, cause, lost, diverged, "source and copy do not fit"),
            }
        }
    }

    fn answers_again(&mut self) {
        let was_told = self.away.shown(self.now()).is_some();
        if let Some(away) = self.away.answered(self.now()).filter(|_| was_told) {
            info!(source = self.settings.source_alias, away_ms = away.as_millis(), "source answers again");
        }
    }

    /// One broker of several may be away for long: that is told of its partitions. That none answers is told by polls.
    fn no_answer(&mut self, cause: &ClientError) {
        if self.away.failed(self.now(), trace_of(cause)) {
            debug!(source = self.settings.source_alias, %cause, "a broker of the source does not answer");
        }
    }

    /// A poll's time is over: there is nothing new at the source, or no answer.
    fn nothing_came(&self) -> Result<Vec<RawBatch>, TaskError> {
        let Some((away, cause)) = self.away.shown(self.now()) else { return Ok(Vec::new()) };
        let (alias, seconds) = (&self.settings.source_alias, away.as_secs());
        let error = TaskError::retriable(format!("source cluster '{alias}' has not answered for {seconds} s"));
        // What is asked meanwhile has its pauses already.
        Err(error.caused_by(cause.to_owned()).retry_after(Duration::ZERO))
    }

    /// Not one broker could be reached.
    fn unreachable(&mut self, cause: ClientError) -> TaskError {
        let alias = self.settings.source_alias.clone();
        if !may_pass(&cause) {
            let text = format!("source cluster '{alias}' cannot be used; check source.cluster.bootstrap.servers");
            return TaskError::fatal(text).caused_by(cause);
        }
        self.no_answer(&cause);
        self.engine.none_begins(&format!("no broker of the source answers: {cause}"));
        self.tell_news();
        let pause = self.away.next_pause();
        TaskError::retriable(format!("source cluster '{alias}' does not answer")).caused_by(cause).retry_after(pause)
    }
}
