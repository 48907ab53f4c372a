//! Random histories of clients, coordinators that die, and partitions that remember what became of each record.
//!
//! Picture: three clients, two of which fight for one transactional id, write numbered transactions into four
//! partitions. The partitions do what a log does: fence older epochs, hold a transaction open until its marker
//! comes. Between any two steps the coordinator may die, with what it had appended but not committed; the next one
//! loads what is left. Answers get lost, records are refused, markers come twice and late, time passes. In the end
//! all is calm, and then every transaction must have one outcome in all of its partitions, the one that its client was
//! told, and none may be open.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId};

use super::super::*;
use super::context::{TIMEOUT_MS, TestContext, adding, ending, init, partition};
use TransactionVersion::{V0, V2};

const PARTITIONS: usize = 4;
const IDS: [&str; 3] = ["shared", "shared", "own"];

/// The number of a transaction, in the order in which clients begin them.
type Txn = usize;

#[derive(Clone, Copy, Debug)]
enum Step {
    Init { client: usize, goes_on: bool },
    Write { client: usize, partition: usize },
    End { client: usize, commit: bool },
    Mark { is_reported: bool },
    MarkLate,
    RepeatOldRequest { which: usize },
    HoldCommits,
    Commit,
    Refuse { appends: bool },
    Restart { lost: usize },
    Pass { ms: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let client = 0..IDS.len();
    prop_oneof![
        2 => (client.clone(), any::<bool>()).prop_map(|(client, goes_on)| Step::Init { client, goes_on }),
        8 => (client.clone(), 0..PARTITIONS).prop_map(|(client, partition)| Step::Write { client, partition }),
        5 => (client, any::<bool>()).prop_map(|(client, commit)| Step::End { client, commit }),
        6 => any::<bool>().prop_map(|is_reported| Step::Mark { is_reported }),
        1 => Just(Step::MarkLate),
        2 => (0..1_000usize).prop_map(|which| Step::RepeatOldRequest { which }),
        3 => Just(Step::HoldCommits),
        2 => Just(Step::Commit),
        1 => any::<bool>().prop_map(|appends| Step::Refuse { appends }),
        2 => (0..3usize).prop_map(|lost| Step::Restart { lost }),
        1 => (1..40_000u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// One partition, as far as its log knows producers.
#[derive(Default)]
struct Partition {
    producers: BTreeMap<ProducerId, LogProducer>,
    outcomes: BTreeMap<Txn, bool>,
}

struct LogProducer {
    epoch: ProducerEpoch,
    open: BTreeSet<Txn>,
}

impl Partition {
    fn has_open(&self, producer: Producer) -> bool {
        self.producers.get(&producer.id).is_some_and(|known| !known.open.is_empty())
    }

    fn append(&mut self, producer: Producer, txn: Txn) {
        let new = || LogProducer { epoch: producer.epoch, open: BTreeSet::new() };
        let known = self.producers.entry(producer.id).or_insert_with(new);
        if producer.epoch < known.epoch {
            return; // fenced
        }
        assert!(producer.epoch == known.epoch || known.open.is_empty(), "an open transaction got a new epoch");
        assert!(known.open.iter().all(|open| *open == txn), "transaction {txn} goes on with {:?}", known.open);
        known.epoch = producer.epoch;
        known.open.insert(txn);
    }

    fn mark(&mut self, markers: &WriteMarkers) {
        let marker = markers.producer;
        let new = || LogProducer { epoch: marker.epoch, open: BTreeSet::new() };
        let known = self.producers.entry(marker.id).or_insert_with(new);
        let is_late = if markers.version.bumps_epoch() {
            marker.epoch < known.epoch || (marker.epoch == known.epoch && !known.open.is_empty())
        } else {
            marker.epoch < known.epoch
        };
        if is_late {
            return; // what it would end has ended before
        }
        known.epoch = marker.epoch;
        for txn in std::mem::take(&mut known.open) {
            let before = self.outcomes.insert(txn, markers.commit);
            assert!(before.is_none_or(|outcome| outcome == markers.commit), "transaction {txn} ends both ways");
        }
    }
}

struct Client {
    version: TransactionVersion,
    id: &'static str,
    producer: Option<Producer>,
    open: Option<Open>,
}

/// A transaction as its client sees it.
struct Open {
    txn: Txn,
    /// Whether any partition was asked for.
    has_partitions: bool,
    /// What the client wants, from when on it does not write any more.
    end: Option<bool>,
}

struct World {
    context: TestContext,
    clients: Vec<Client>,
    partitions: Vec<Partition>,
    next_txn: Txn,
    told: BTreeMap<Txn, bool>,
    wanted: BTreeMap<Txn, bool>,
    /// Who was given what.
    given: BTreeMap<Producer, usize>,
    old_requests: Vec<Request>,
    late_markers: Vec<WriteMarkers>,
    committed: usize,
}

impl World {
    fn new(server: TransactionVersion, versions: [TransactionVersion; 3]) -> World {
        let client = |(version, id)| Client { version, id, producer: None, open: None };
        World {
            context: TestContext::of_version(server),
            clients: versions.into_iter().zip(IDS).map(client).collect(),
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            next_txn: 0,
            told: BTreeMap::new(),
            wanted: BTreeMap::new(),
            given: BTreeMap::new(),
            old_requests: Vec::new(),
            late_markers: Vec::new(),
            committed: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Init { client, goes_on } => self.init(client, goes_on),
            Step::Write { client, partition } => self.write(client, partition),
            Step::End { client, commit } => self.end(client, commit),
            Step::Mark { is_reported } => self.mark(is_reported),
            Step::MarkLate => {
                let late = self.late_markers.pop();
                late.into_iter().for_each(|markers| mark_all(&mut self.partitions, &markers));
            }
            Step::RepeatOldRequest { which } => {
                if !self.old_requests.is_empty() {
                    let request = self.old_requests[which % self.old_requests.len()].clone();
                    self.context.request(request);
                }
            }
            Step::HoldCommits if self.context.holds_commits => (),
            Step::HoldCommits => {
                self.context.holds_commits = true;
                self.committed = self.context.log.len();
            }
            Step::Commit => self.context.commit(),
            Step::Refuse { appends } => {
                self.context.append_error = appends.then_some(ErrorCode::NotEnoughReplicas);
            }
            Step::Restart { lost } => self.restart(lost),
            Step::Pass { ms } => self.context.advance(ms),
        }
    }

    fn init(&mut self, number: usize, goes_on: bool) {
        let client = &mut self.clients[number];
        let known = client.producer.filter(|_| goes_on && client.open.is_none());
        client.open = None; // a new instance knows nothing, and one that goes on has nothing
        let id = client.id;
        client.producer = match self.context.ask_with_ids(|fresh| init(id, known, fresh)) {
            Some(Answer::InitProducerId(Ok(producer))) => Some(producer),
            _ => None,
        };
        self.give(number);
    }

    /// No pair may belong to two clients.
    fn give(&mut self, number: usize) {
        if let Some(producer) = self.clients[number].producer {
            let owner = *self.given.entry(producer).or_insert(number);
            assert_eq!(owner, number, "{producer} is given to two clients");
        }
    }

    fn write(&mut self, number: usize, into: usize) {
        let client = &mut self.clients[number];
        let Some(producer) = client.producer else { return };
        let open = client.open.get_or_insert_with(|| {
            self.next_txn += 1;
            Open { txn: self.next_txn, has_partitions: false, end: None }
        });
        if open.end.is_some() {
            return;
        }
        open.has_partitions = true;
        let txn = open.txn;
        let add = AddPartitions { version: client.version, ..adding(client.id, producer, &[into as i32]) };
        match self.add(add.clone()) {
            Some(ErrorCode::None) => (),
            error => return self.note_failure(number, error),
        }
        let verify = AddPartitions { verify_only: true, ..add };
        let needs_check = !self.partitions[into].has_open(producer);
        if !needs_check || self.add(verify) == Some(ErrorCode::None) {
            self.partitions[into].append(producer, txn);
        }
    }

    fn add(&mut self, add: AddPartitions) -> Option<ErrorCode> {
        if add.version.bumps_epoch() {
            self.old_requests.push(Request::AddPartitions(add.clone()));
        }
        let wanted = add.partitions.first().expect("one").clone();
        let token = self.context.request(Request::AddPartitions(add));
        match self.context.answer(token)? {
            Answer::AddPartitions(answer) => Some(answer.of(&wanted)),
            answer => panic!("{answer:?}"),
        }
    }

    fn end(&mut self, number: usize, commit: bool) {
        let client = &mut self.clients[number];
        let (Some(producer), Some(open)) = (client.producer, &mut client.open) else { return };
        if !open.has_partitions {
            client.open = None;
            return;
        }
        let commit = *open.end.get_or_insert(commit);
        let txn = open.txn;
        self.wanted.insert(txn, commit);
        let (version, id) = (client.version, client.id);
        if version.bumps_epoch() {
            self.old_requests.push(ending(version, id, producer, commit, None));
        }
        let answer = self.context.ask_with_ids(|fresh| ending(version, id, producer, commit, fresh));
        match answer {
            Some(Answer::EndTxn(Ok(next))) => {
                self.told.insert(txn, commit);
                let client = &mut self.clients[number];
                client.producer = Some(next);
                client.open = None;
                self.give(number);
            }
            Some(Answer::EndTxn(Err(refusal))) => {
                let Refusal::Error(error) = refusal else { panic!("an id is still needed") };
                self.note_failure(number, Some(error));
            }
            Some(answer) => panic!("{answer:?}"),
            None => (), // the answer is lost, the client asks again
        }
    }

    /// A client that hears something final gives up; it may be initialized again.
    fn note_failure(&mut self, number: usize, error: Option<ErrorCode>) {
        match error {
            None
            | Some(
                ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator,
            ) => (),
            Some(_) => {
                self.clients[number].producer = None;
                self.clients[number].open = None;
            }
        }
    }

    /// Writes one marker that is asked for, and perhaps forgets to tell.
    fn mark(&mut self, is_reported: bool) {
        let Some(mut markers) = self.context.effects.pop_front() else { return };
        let first = markers.partitions.first().expect("never empty").clone();
        self.partitions[first.partition.0 as usize].mark(&markers);
        if is_reported {
            self.context.report_any(&markers, [first.clone()].into());
            markers.partitions.remove(&first);
        }
        if !markers.partitions.is_empty() {
            self.context.effects.push_back(markers);
        }
    }

    fn restart(&mut self, lost: usize) {
        // What a coordinator has sent out may arrive after it died. Only the new protocol can tell.
        let late = self.context.effects.iter().filter(|markers| markers.version.bumps_epoch());
        self.late_markers.extend(late.cloned());
        let end = self.context.log.len();
        let kept = if self.context.holds_commits { end.saturating_sub(lost).max(self.committed) } else { end };
        self.context.append_error = None;
        self.context.restart_with(kept);
    }

    /// Nothing fails any more, clients end what they began, and time passes.
    fn calm_down(&mut self) {
        self.context.append_error = None;
        self.context.commit();
        for _ in 0..6 {
            self.carry_out();
            for number in 0..IDS.len() {
                self.end(number, true);
            }
            self.carry_out();
            self.context.advance(TIMEOUT_MS as u64 + 10_000);
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(markers) = self.context.effects.pop_front() {
            mark_all(&mut self.partitions, &markers);
            let partitions = markers.partitions.clone();
            self.context.report_any(&markers, partitions);
        }
    }

    fn check(&self) {
        let states = self.context.engine.shard().count_by_state();
        assert!(states.keys().all(|state| state.is_idle()), "{states:?}");
        let mut outcomes: BTreeMap<Txn, bool> = BTreeMap::new();
        for partition in &self.partitions {
            assert!(partition.producers.values().all(|known| known.open.is_empty()), "a transaction hangs");
            for (txn, committed) in &partition.outcomes {
                let other = *outcomes.entry(*txn).or_insert(*committed);
                assert_eq!(other, *committed, "transaction {txn} is torn");
            }
        }
        for (txn, committed) in outcomes {
            if let Some(told) = self.told.get(&txn) {
                assert_eq!(committed, *told, "the client of transaction {txn} was told otherwise");
            }
            if committed {
                assert_eq!(self.wanted.get(&txn), Some(&true), "nobody wanted to commit transaction {txn}");
            }
        }
    }
}

fn mark_all(partitions: &mut [Partition], markers: &WriteMarkers) {
    for (number, log) in partitions.iter_mut().enumerate() {
        if markers.partitions.contains(&partition(number as i32)) {
            log.mark(markers);
        }
    }
}

fn run(server: TransactionVersion, versions: [TransactionVersion; 3], steps: &[Step]) -> World {
    let mut world = World::new(server, versions);
    for step in steps {
        world.step(*step);
    }
    world.calm_down();
    world.check();
    world
}

/// Two transactions of one client, and another one that takes its place in the third.
const LIFE: [Step; 16] = [
    Step::Init { client: 0, goes_on: false },
    Step::Write { client: 0, partition: 0 },
    Step::Write { client: 0, partition: 1 },
    Step::Write { client: 0, partition: 0 },
    Step::End { client: 0, commit: true },
    Step::Mark { is_reported: true },
    Step::Mark { is_reported: false },
    Step::Mark { is_reported: true },
    Step::Write { client: 0, partition: 1 },
    Step::End { client: 0, commit: false },
    Step::Mark { is_reported: true },
    Step::Write { client: 0, partition: 2 },
    Step::Init { client: 1, goes_on: false },
    Step::Mark { is_reported: true },
    Step::Init { client: 1, goes_on: false },
    Step::Write { client: 1, partition: 2 },
];

#[test]
fn without_faults_clients_get_what_they_want() {
    for (server, client) in [(V0, V0), (V2, V0), (V2, V2)] {
        let world = run(server, [client; 3], &LIFE);
        let outcomes: Vec<_> = world.partitions.iter().map(|partition| partition.outcomes.clone()).collect();
        let expected = [[(1, true)].into(), [(1, true), (2, false)].into(), [(3, false), (4, true)].into(), [].into()];
        assert_eq!(outcomes, expected);
    }
}

/// And nothing of what it appended since any step before need have been committed.
#[test]
fn coordinator_may_die_after_any_step() {
    for (server, client) in [(V0, V0), (V2, V0), (V2, V2)] {
        for dies_at in 0..=LIFE.len() {
            for holds_from in 0..=dies_at {
                for lost in 0..=3 {
                    let mut steps = LIFE.to_vec();
                    steps.insert(dies_at, Step::Restart { lost });
                    steps.insert(holds_from, Step::HoldCommits);
                    run(server, [client; 3], &steps);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_transaction_of_the_new_protocol_has_one_outcome(steps in prop::collection::vec(any_step(), 0..120)) {
        run(V2, [V2, V2, V2], &steps);
    }

    #[test]
    fn every_transaction_of_an_old_client_on_a_new_cluster_has_one_outcome(
        steps in prop::collection::vec(any_step(), 0..120),
    ) {
        run(V2, [V0, V2, V0], &steps);
    }

    #[test]
    fn every_transaction_of_the_old_protocol_has_one_outcome(steps in prop::collection::vec(any_step(), 0..120)) {
        run(V0, [V0, V0, V0], &steps);
    }
}
