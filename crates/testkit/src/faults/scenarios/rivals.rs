//! Producers with one transactional id, and one whose producer id is used up.

use std::time::Duration;

use twinstream_model::{PartitionIndex, TopicPartition};

use super::state_log::{STATE, Status, Tail};
use super::{GO_ON_WITHIN, RESTARTED_WITHIN, Steps};
use crate::faults::Trial;
use crate::load::{Author, Fence, Identity, Load, LoadOptions, Protocol, Refusal, TransactionLoad, Transactor};
use crate::operator::SETTLES_WITHIN;
use crate::records::topic_name;
use crate::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
/// How long rivals take a name from each other, before and after a coordinator dies.
const RIVALRY: Duration = Duration::from_secs(3);
/// The epoch that a log is made to tell: so many are left to producers, the last of which is [`LAST_EPOCH`].
const WORN_EPOCH: i16 = 32_763;
const LAST_EPOCH: i16 = 32_766;
/// More than there are epochs left.
const TRIES: usize = 8;

/// How far the older producer has come when the newer one takes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Older {
    Begun,
    Written,
    Committed,
}

pub(super) fn fenced(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for older in Protocol::ALL {
            for newer in Protocol::ALL {
                for moment in [Older::Begun, Older::Written, Older::Committed] {
                    take_over(trial, older, newer, moment).await;
                }
            }
        }
        // The load's own producers get rivals, which take their names whenever they lose them.
        let rivals = TransactionLoad { members: 0, ..trial.options.transactions.expect("a load of transactions") };
        let options = LoadOptions {
            native_rate: 0,
            raw: false,
            readers: false,
            transactions: Some(rivals),
            ..trial.options.clone()
        };
        trial.step("every producer has a rival");
        let rivals = Load::start(&trial.subject.bootstrap(), trial.recorder(), &options);
        trial.run_for(RIVALRY).await;
        let coordinator = trial.leader_of(STATE, 0).await;
        trial.kill(coordinator);
        trial.run_for(RIVALRY).await;
        trial.start_broker(coordinator).await;
        rivals.stop().await;
        trial.step("no producer has a rival");
        trial.all_writable(GO_ON_WITHIN).await;
        trial.wait_acknowledged(500).await;
    })
}

async fn take_over(trial: &mut Trial, older: Protocol, newer: Protocol, moment: Older) {
    let id = format!("{}-rival-{older:?}-{newer:?}-{moment:?}", trial.options.topic);
    trial.step(format!("{id}: a newer one comes"));
    let (mut one, mut other) = (author(trial, &id, older), author(trial, &id, newer));
    let first = init(&mut one).await;
    let partitions: Vec<TopicPartition> = (0..2).map(|index| partition(trial, index)).collect();
    if moment == Older::Committed {
        one.begin();
        write(&mut one, &partitions).await;
        expect_done(trial, &id, one.end(true).await);
    }
    one.begin();
    if moment == Older::Written {
        write(&mut one, &partitions[..1]).await;
    }
    let second = init(&mut other).await;
    if second.id == first.id && second.epoch <= first.epoch {
        trial.complain(format!("{id}: the newer one is {second:?}, the older one is {first:?}"));
    }
    other.begin();
    // The older one does not know yet, whatever it tries.
    expect_fenced(trial, &id, "write", Fence::Epoch, one.send(&partitions[1], 1).await);
    write(&mut other, &partitions).await;
    expect_fenced(trial, &id, "commit", Fence::Epoch, one.end(true).await);
    expect_done(trial, &id, other.end(true).await);
    one.begin();
    expect_fenced(trial, &id, "write again", Fence::Epoch, one.send(&partitions[0], 1).await);
    one.leave();
    other.begin();
    write(&mut other, &partitions).await;
    expect_done(trial, &id, other.end(true).await);
}

pub(super) fn epochs_exhausted(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let mut before = Vec::new();
        for protocol in Protocol::ALL {
            let id = format!("{}-worn-{protocol:?}", trial.options.topic);
            let mut author = author(trial, &id, protocol);
            let identity = init(&mut author).await;
            commit_one(trial, &id, &mut author).await;
            before.push((id, author, identity));
        }
        wear(trial, &before.iter().map(|(id, ..)| id.clone()).collect::<Vec<_>>()).await;
        for (id, author, identity) in before {
            wear_out(trial, &id, author, identity).await;
        }
    })
}

/// Lets the coordinator find records that say that these ids have hardly any epoch left.
async fn wear(trial: &mut Trial, ids: &[String]) {
    let dir = trial.subject.log_dir(1, STATE, 0);
    for id in ids {
        let tail = Tail::whole(&dir, STATE, 0);
        wait_until(&format!("the transaction of {id} is complete"), SETTLES_WITHIN, || async {
            tail.status(id) == Some(Status::Completed)
        })
        .await;
    }
    trial.kill(1);
    for id in ids {
        trial.step(format!("the log of the coordinator says that {id} has epoch {WORN_EPOCH}"));
        Tail::whole(&dir, STATE, 0).append_with_epoch(id, WORN_EPOCH);
    }
    trial.start_broker(1).await;
    trial.all_writable(RESTARTED_WITHIN).await;
}

/// Uses up what is left; the next producer id begins anew, and nobody goes on with the old one.
async fn wear_out(trial: &mut Trial, id: &str, mut oldest: Author, identity: Identity) {
    oldest.begin();
    let told = oldest.send(&partition(trial, 0), 1).await;
    expect_fenced(trial, id, "write with an epoch of long ago", Fence::Epoch, told);
    oldest.leave();
    let protocol = oldest.transactor.protocol();
    let mut last = author(trial, id, protocol);
    let mut at = init(&mut last).await;
    if at.id != identity.id || at.epoch.0 != WORN_EPOCH + 1 {
        trial.complain(format!("{id}: {at:?} comes after epoch {WORN_EPOCH} of {:?}", identity.id));
    }
    for _ in 0..TRIES {
        // In the second protocol the end of a transaction gives the next epoch, or the next id.
        commit_one(trial, id, &mut last).await;
        let next = last.transactor.identity();
        if next != at && follows(trial, id, at, next) {
            return commit_one(trial, id, &mut last).await;
        }
        let mut newer = author(trial, id, protocol);
        let taken = init(&mut newer).await;
        let zombie = std::mem::replace(&mut last, newer);
        if follows(trial, id, next, taken) {
            return is_alone(trial, id, zombie, last).await;
        }
        at = taken;
    }
    trial.complain(format!("{id}: no new producer id after {TRIES} more producers, but {at:?}"));
}

/// Whether the next identity has a new producer id; complains if it is not what may follow.
fn follows(trial: &mut Trial, id: &str, before: Identity, next: Identity) -> bool {
    let (epoch, is_new) = (next.epoch.0, next.id != before.id);
    trial.tell(format!("{id}: {:?} with epoch {epoch}", next.id));
    if epoch > LAST_EPOCH {
        trial.complain(format!("{id}: epoch {epoch} was given away"));
    }
    if is_new && epoch != 0 {
        trial.complain(format!("{id}: the new producer id begins with epoch {epoch}"));
    }
    if is_new && before.epoch.0 != LAST_EPOCH {
        trial.complain(format!("{id}: a new producer id after epoch {}", before.epoch.0));
    }
    if !is_new && next.epoch <= before.epoch {
        trial.complain(format!("{id}: epoch {epoch} comes after {}", before.epoch.0));
    }
    is_new
}

/// Who has the new producer id, and not who has the old one.
async fn is_alone(trial: &mut Trial, id: &str, mut zombie: Author, mut newest: Author) {
    zombie.begin();
    let told = zombie.send(&partition(trial, 1), 1).await;
    expect_fenced(trial, id, "write with the old producer id", Fence::Id, told);
    expect_fenced(trial, id, "commit with the old producer id", Fence::Id, zombie.end(true).await);
    commit_one(trial, id, &mut newest).await;
}

fn partition(trial: &Trial, index: i32) -> TopicPartition {
    TopicPartition::new(topic_name(&trial.options.topic), PartitionIndex(index))
}

fn author(trial: &Trial, id: &str, protocol: Protocol) -> Author {
    Author::new(Transactor::new(&trial.subject.bootstrap(), id, protocol, TIMEOUT), trial.recorder())
}

async fn init(author: &mut Author) -> Identity {
    author.transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal}"))
}

async fn write(author: &mut Author, partitions: &[TopicPartition]) {
    for partition in partitions {
        author.send(partition, 2).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}

async fn commit_one(trial: &mut Trial, id: &str, author: &mut Author) {
    author.begin();
    let partitions = [partition(trial, 0), partition(trial, 1)];
    write(author, &partitions).await;
    expect_done(trial, id, author.end(true).await);
}

fn expect_done(trial: &mut Trial, id: &str, told: Result<(), Refusal>) {
    if let Err(refusal) = told {
        trial.complain(format!("{id}: who has the name is refused: {refusal}"));
    }
}

fn expect_fenced(trial: &mut Trial, id: &str, what: &str, by: Fence, told: Result<(), Refusal>) {
    match told {
        Err(refusal) if refusal.fence() == Some(by) => {}
        Err(refusal) => trial.complain(format!("{id}: {what}: not fenced by {by:?}, but {refusal}")),
        Ok(()) => trial.complain(format!("{id}: {what}: taken from who has lost the name")),
    }
}
