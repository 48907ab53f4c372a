//! The rim of a task: carries out what the engine decides, and tells it what came of it.
//!
//! Picture: fetches and questions are tokio tasks in one set, which survive a dropped `poll`. `poll` waits for the next one
//! that is back. Of a fetch, the engine hears first how far each partition got, and the next fetch to that leader leaves;
//! then its batches are made ready and handed to the worker.
//! Invariants: C1 nothing is awaited between taking a result out of the set and returning what it brought, so a poll may be
//! dropped at any await. C2 a partition with more than [`UNDER_WAY_MAX`] not acknowledged is not fetched, so that one slow
//! leader of the target does not fill the worker's memory for all.
//! Not here: what an answer means (`engine`), what becomes of a batch (`request`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};
use twinstream_client::raw::{FetchOptions, FetchedPartition};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::{Placement, RawBatch, RawObserver, TaskError};
use twinstream_model::{Offset, TopicName, TopicPartition};

use crate::config::Settings;
use crate::engine::standing::{Begin, Standing};
use crate::engine::{Answer, At, Engine, Found, News, REST_FIRST, REST_MAX, Stop};
use crate::fleet::{Fleet, Return};
use crate::observer::{Observer, now_ms};
use crate::questions::{self, Answered, Bounds, Named, Refused};
use crate::request::{prepare, reach};

/// How long a poll waits for something to come back.
const POLL_WAIT: Duration = Duration::from_secs(1);
/// A link may be down for long and heal by itself; beyond this somebody should look at it.
const AWAY_MAX: Duration = Duration::from_secs(30 * 60);
/// Of one partition, not acknowledged by the target: enough to keep a target busy that is 50 ms away at 160 MB/s.
const UNDER_WAY_MAX: usize = 8 << 20;
/// Partitions in one question; more go into several, which are answered one by one.
const ASKED_AT_ONCE: usize = 2_000;
/// How often the target is asked how large a batch it takes.
const LIMITS_EVERY: Duration = Duration::from_secs(60);
/// Kafka's default for `max.message.bytes`, for topics that the target says nothing of.
const BATCH_BYTES_DEFAULT: usize = 1_048_588;

pub(crate) struct Copying {
    settings: Settings,
    options: FetchOptions,
    client: Option<RawClient>,
    engine: Engine,
    observer: Arc<Observer>,
    fleet: Fleet,
    under_way: JoinSet<Event>,
    /// Partitions that a question is under way for.
    asked: BTreeSet<At>,
    held: BTreeSet<At>,
    limits: Limits,
    began: Instant,
    away: Option<Away>,
}

/// Largest batches of the target's topics.
struct Limits {
    /// By partition.
    bytes: Vec<usize>,
    /// Nothing is fetched before the first answer, which may be that there is none.
    known: bool,
    asking: bool,
    next: Instant,
}

/// Since when nothing answered.
struct Away {
    since: Instant,
    pause: Duration,
}

enum Event {
    Fetched(Return),
    Leaders(Answered<Result<Found, Refused>>),
    Beginnings(Answered<Result<Offset, Refused>>),
    Bounds(Answered<Result<Bounds, Refused>>),
    Limits(Result<BTreeMap<TopicName, usize>, ClientError>),
}

impl Copying {
    pub(crate) fn new(
        settings: Settings,
        assigned: Vec<(TopicPartition, Option<Offset>)>,
        observer: Arc<Observer>,
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
        let engine = Engine::new(settings.policies, assigned);
        let limits = Limits { bytes: vec![BATCH_BYTES_DEFAULT; engine.len()], known: false, asking: false, next: now };
        for at in 0..engine.len() {
            observer.metrics(at).stands(engine.standing(at), 0, 0);
        }
        Copying {
            settings,
            options,
            client: None,
            engine,
            observer,
            fleet: Fleet::default(),
            under_way: JoinSet::new(),
            asked: BTreeSet::new(),
            held: BTreeSet::new(),
            limits,
            began: now,
            away: None,
        }
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
                Ok(client) => self.client.insert(client).clone(),
                Err(cause) => return Err(self.source_away(cause)),
            },
        };
        loop {
            self.engine.tick(self.now());
            self.take_back();
            self.release();
            self.ask(&client);
            self.send_fetches(&client);
            self.tell_news();
            let rest = self.engine.next_deadline().map_or(until, |rest| (self.began + rest).min(until));
            let observer = Arc::clone(&self.observer);
            let event = tokio::select! {
                biased;
                Some(event) = self.under_way.join_next() => event,
                () = observer.news.notified(), if !self.held.is_empty() => continue,
                () = sleep_until(rest) => {
                    if Instant::now() >= until {
                        return Ok(Vec::new());
                    }
                    continue;
                }
            };
            let event =
                event.map_err(|cause| TaskError::fatal("a fetch panicked, the log has the place").caused_by(cause))?;
            let batches = self.take_in(&client, event)?;
            self.check_away()?;
            if !batches.is_empty() {
                return Ok(batches);
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks what the engine has to know, in questions of their own.
    fn ask(&mut self, client: &RawClient) {
        let news = |asked: &BTreeSet<At>, at: &At| !asked.contains(at);
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
        if !self.limits.asking && Instant::now() >= self.limits.next {
            self.limits.asking = true;
            let topics = (0..self.engine.len()).map(|at| self.observer.target(at).topic.clone()).collect();
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
        if self.limits.known {
            for trip in self.fleet.trips(client, &self.options) {
                self.under_way.spawn(async move { Event::Fetched(trip.fetch().await) });
            }
        }
    }

    /// What the target found too large comes again, when the target has said what it takes now.
    fn take_back(&mut self) {
        for (at, position) in self.observer.reopen() {
            let partition = self.engine.name(at);
            warn!(%partition, %position, "the target takes smaller batches only than it said, they are made anew");
            self.engine.go_back(at, position);
            (self.limits.known, self.limits.next) = (false, Instant::now());
        }
    }

    /// Lets partitions go on whose batches have arrived.
    fn release(&mut self) {
        let free: Vec<At> =
            self.held.iter().copied().filter(|at| self.observer.under_way(*at) < UNDER_WAY_MAX / 2).collect();
        for at in free {
            self.held.remove(&at);
            self.engine.release(at);
        }
    }

    fn take_in(&mut self, client: &RawClient, event: Event) -> Result<Vec<RawBatch>, TaskError> {
        let now = self.now();
        match event {
            Event::Fetched(back) => return self.fetched(client, back),
            Event::Leaders(answer) => self.settle(answer, |engine, at, found| engine.placed(at, found, now))?,
            Event::Beginnings(answer) => self.settle(answer, |engine, at, found| engine.began(at, found, now))?,
            Event::Bounds(answer) => self.settle(answer, |engine, at, found| engine.bounded(at, found, now))?,
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
            Err(cause) if cause.is_retriable() => {
                let now = self.now();
                self.engine.unanswered(&answer.asked, &cause.to_string(), now);
                self.no_answer(cause);
            }
            Err(cause) => return Err(TaskError::fatal("ask the source about partitions").caused_by(cause)),
        }
        Ok(())
    }

    fn learn_limits(&mut self, limits: Result<BTreeMap<TopicName, usize>, ClientError>) {
        (self.limits.known, self.limits.asking, self.limits.next) = (true, false, Instant::now() + LIMITS_EVERY);
        match limits {
            Ok(limits) => {
                for (at, bytes) in self.limits.bytes.iter_mut().enumerate() {
                    *bytes = *limits.get(&self.observer.target(at).topic).unwrap_or(&BATCH_BYTES_DEFAULT);
                }
            }
            Err(cause) => {
                warn!(%cause, "the target does not say how large batches may be, what was known counts on");
            }
        }
    }

    fn fetched(&mut self, client: &RawClient, mut back: Return) -> Result<Vec<RawBatch>, TaskError> {
        let leader = back.leader;
        let answers = match back.take_result() {
            Ok(answers) => answers,
            Err(cause) if cause.is_retriable() => {
                self.fleet.lost(back);
                let now = self.now();
                self.engine.leader_lost(leader, &cause.to_string(), now);
                self.no_answer(cause);
                return Ok(Vec::new());
            }
            Err(cause) => return Err(TaskError::fatal(format!("fetch from source broker {leader}")).caused_by(cause)),
        };
        self.fleet.back(back);
        self.answers_again();
        let now = self.now();
        let mut brought = Vec::with_capacity(answers.len());
        for answer in answers {
            let Some(at) = self.engine.at(&answer.partition) else { continue };
            let Some(asked) = self.fleet.asked(leader, at) else { continue };
            let told = self.judged(at, asked, &answer)?;
            let position = self.engine.answered(at, leader, &told, now).map_err(|stop| self.stopped(stop))?;
            let ahead = self.engine.position(at).map_or(0, |position| answer.high_watermark.0 - position.0);
            self.observer.metrics(at).lag(ahead.max(0));
            if let Some(position) = position {
                if self.observer.under_way(at) + answer.batches.len() > UNDER_WAY_MAX {
                    self.held.insert(at);
                    self.engine.hold(at);
                }
                brought.push((at, position, answer));
            }
        }
        self.send_fetches(client);
        let mut out = Vec::new();
        for (at, position, answer) in brought {
            self.hand_on(at, position, &answer, &mut out)?;
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

    /// Makes batches of what a partition brought.
    fn hand_on(
        &self,
        at: At,
        position: Offset,
        answer: &FetchedPartition,
        out: &mut Vec<RawBatch>,
    ) -> Result<(), TaskError> {
        let prepared = prepare(&answer.batches, &answer.aborted, position, self.limits.bytes[at])
            .map_err(|cause| self.unreadable(at, cause))?;
        let metrics = self.observer.metrics(at);
        if prepared.aborted > 0 {
            metrics.aborted(prepared.aborted);
        }
        if let Some(last) = prepared.batches.last() {
            metrics.handed_on((now_ms() - last.max_timestamp).max(0));
        }
        for mut ready in prepared.batches {
            let Some(lane) = self.observer.handed_on(at, &mut ready) else { break };
            out.push(RawBatch {
                lane,
                bytes: ready.bytes,
                records: ready.records,
                next: ready.next.0,
                placement: Placement::Assigned,
            });
        }
        Ok(())
    }

    fn unreadable(&self, at: At, cause: crate::request::RequestError) -> TaskError {
        TaskError::fatal(format!("source partition {} cannot be copied", self.engine.name(at))).caused_by(cause)
    }

    fn stopped(&mut self, stop: Stop) -> TaskError {
        if let (Some(at), Some(standing)) = (self.engine.at(&stop.partition), stop.standing) {
            self.observer.metrics(at).stands(standing, 0, 0);
        }
        TaskError::fatal(stop.to_string())
    }

    /// Counts each change, and logs what happened to many partitions at once in one line.
    fn tell_news(&mut self) {
        let mut lines: BTreeMap<(Standing, String), (usize, At, i64, i64)> = BTreeMap::new();
        for News { at, standing, cause, lost, diverged } in self.engine.take_news() {
            self.observer.metrics(at).stands(standing, lost, diverged);
            let line = lines.entry((standing, cause)).or_insert((0, at, 0, 0));
            (line.0, line.2, line.3) = (line.0 + 1, line.2 + lost, line.3 + diverged);
        }
        for ((standing, cause), (partitions, first, lost, diverged)) in lines {
            let first = self.engine.name(first);
            match standing {
                Standing::Starting | Standing::Copying => info!(%standing, partitions, %first, "partitions are copied"),
                Standing::Away => warn!(%standing, partitions, %first, cause, "partitions wait for the source"),
                _ => error!(%standing, partitions, %first, cause, lost, diverged, "source and copy do not fit"),
            }
        }
    }

    fn answers_again(&mut self) {
        if let Some(away) = self.away.take() {
            let away_ms = away.since.elapsed().as_millis();
            info!(source = self.settings.source_alias, away_ms, "source answers again");
        }
    }

    fn no_answer(&mut self, cause: ClientError) {
        if self.away.is_none() {
            warn!(source = self.settings.source_alias, %cause, "source does not answer");
            self.away = Some(Away { since: Instant::now(), pause: REST_FIRST });
        }
    }

    fn check_away(&self) -> Result<(), TaskError> {
        match &self.away {
            Some(away) if away.since.elapsed() >= AWAY_MAX => Err(self.given_up()),
            _ => Ok(()),
        }
    }

    fn given_up(&self) -> TaskError {
        let (alias, minutes) = (&self.settings.source_alias, AWAY_MAX.as_secs() / 60);
        TaskError::fatal(format!(
            "source cluster '{alias}' cannot be used, or did not answer for {minutes} minutes; check source.cluster.bootstrap.servers, then restart the task"
        ))
    }

    /// Not one broker could be reached.
    fn source_away(&mut self, cause: ClientError) -> TaskError {
        let away = self.away.get_or_insert_with(|| Away { since: Instant::now(), pause: REST_FIRST });
        let pause = away.pause;
        away.pause = (away.pause * 2).min(REST_MAX);
        if !cause.is_retriable() || away.since.elapsed() >= AWAY_MAX {
            return self.given_up().caused_by(cause);
        }
        let alias = &self.settings.source_alias;
        TaskError::retriable(format!("source cluster '{alias}' does not answer")).caused_by(cause).retry_after(pause)
    }
}
