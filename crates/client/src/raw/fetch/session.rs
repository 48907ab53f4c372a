//! What is wanted of one leader, and what of it the leader knows: a fetch session, seen from its client (KIP-227).
//!
//! Picture: the leader remembers the partitions that it was told. A request says what changed since, by [`Ask`]; the
//! leader serves all that it remembers. Work is by what changed, not by what is wanted.
//! Rules: epoch 0 asks for a new session with everything in it, and ends the one whose id it names; an answer with id 0
//! means that there is no session, so that the next request tells everything again; each request that was answered raises
//! the epoch by one, from the largest to 1. A request without an answer may have reached the leader or not: a new
//! session is the only way to be sure.
//! A leader takes in what is new before it drops what is to be forgotten, so no request does both to one partition.
//! Not here: connections, which id a topic has.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::{ErrorCode, TopicId, TopicName, TopicPartition};

use super::FetchFrom;

/// "No session", in requests and answers.
const NO_SESSION: i32 = 0;
/// Asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// Asks for no session, and ends the one that is named.
const FINAL_EPOCH: i32 = -1;

/// What one request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) session_id: i32,
    pub(super) epoch: i32,
    pub(super) partitions: Vec<Asked>,
    pub(super) forgotten: Vec<(TopicPartition, TopicId)>,
}

/// One partition of a request, and the id by which its topic is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: FetchFrom,
    pub(super) id: TopicId,
}

impl Ask {
    /// A request that has nothing to do with a session.
    pub(super) fn once(wanted: &[FetchFrom]) -> Self {
        let partitions = wanted.iter().map(|from| Asked { from: from.clone(), id: TopicId::NONE }).collect();
        Self { session_id: NO_SESSION, epoch: FINAL_EPOCH, partitions, forgotten: Vec::new() }
    }
}

/// What an answer means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The partitions of the answer count.
    Answered,
    /// The leader has lost track of the session; the same request in a new one will do.
    AskAnew,
    /// The leader refused.
    Refused(ErrorCode),
}

#[derive(Debug)]
struct Entry {
    from: FetchFrom,
    /// By which its topic is asked; [`TopicId::NONE`] asks by name.
    id: TopicId,
    /// The id under which the leader knows this partition, if it does.
    told: Option<TopicId>,
}

impl Entry {
    fn asked(&self) -> Asked {
        Asked { from: self.from.clone(), id: self.id }
    }
}

#[derive(Debug)]
pub(super) struct Session {
    id: i32,
    /// Of the next request.
    epoch: i32,
    wanted: BTreeMap<TopicPartition, Entry>,
    /// Among the wanted: what the leader does not know yet.
    changed: BTreeSet<TopicPartition>,
    /// What the leader knows and is not wanted any more.
    forgotten: BTreeSet<(TopicPartition, TopicId)>,
    /// Of the topics that the leader is asked by id.
    names: BTreeMap<TopicId, TopicName>,
    /// A request was made and its answer not taken in.
    is_asking: bool,
    /// Without a session everybody's turn comes only if requests begin behind whoever got records last.
    served_last: Option<TopicPartition>,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            id: NO_SESSION,
            epoch: INITIAL_EPOCH,
            wanted: BTreeMap::new(),
            changed: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            names: BTreeMap::new(),
            is_asking: false,
            served_last: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The id by which the topic of a partition is asked.
    pub(super) fn asked_by(&self, partition: &TopicPartition) -> Option<TopicId> {
        self.wanted.get(partition).map(|entry| entry.id)
    }

    pub(super) fn wanted_partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.wanted.keys()
    }

    /// The names of the topics that answers may name by id.
    pub(super) fn names(&self) -> &BTreeMap<TopicId, TopicName> {
        &self.names
    }

    /// Adds or moves a partition, whose topic is asked by this id.
    pub(super) fn want(&mut self, from: FetchFrom, id: TopicId) {
        let partition = from.partition.clone();
        match self.wanted.get_mut(&partition) {
            Some(entry) if entry.id == id && entry.from == from => return,
            Some(entry) if entry.id == id => {
                entry.from = from;
                self.changed.insert(partition);
                return;
            }
            Some(_) => self.unwant(&partition),
            None => {}
        }
        if !id.is_none() {
            self.names.insert(id, partition.topic.clone());
        }
        let told = self.forgotten.remove(&(partition.clone(), id)).then_some(id);
        self.wanted.insert(partition.clone(), Entry { from, id, told });
        self.changed.insert(partition);
    }

    pub(super) fn unwant(&mut self, partition: &TopicPartition) {
        let Some(entry) = self.wanted.remove(partition) else { return };
        self.changed.remove(partition);
        if let Some(id) = entry.told {
            self.forgotten.insert((partition.clone(), id));
        }
        self.forget_name(&partition.topic, entry.id);
    }

    /// Drops the name of an id under which nothing is wanted any more.
    fn forget_name(&mut self, topic: &TopicName, id: TopicId) {
        let first = TopicPartition::new(topic.clone(), i32::MIN);
        let of_topic = self.wanted.range(first..).take_while(|(partition, _)| partition.topic == *topic);
        if !of_topic.into_iter().any(|(_, entry)| entry.id == id) {
            self.names.remove(&id);
        }
    }

    /// The next request. Until [`Self::answered`] takes in its answer, whatever else happens begins a new session.
    pub(super) fn ask(&mut self) -> Ask {
        if self.is_asking {
            self.lost();
        }
        self.is_asking = true;
        let partitions = if self.epoch == INITIAL_EPOCH { self.everything() } else { self.news() };
        let forgotten = std::mem::take(&mut self.forgotten).into_iter().collect();
        Ask { session_id: self.id, epoch: self.epoch, partitions, forgotten }
    }

    fn everything(&mut self) -> Vec<Asked> {
        self.changed.clear();
        self.forgotten.clear();
        for entry in self.wanted.values_mut() {
            entry.told = Some(entry.id);
        }
        let mut partitions: Vec<Asked> = self.wanted.values().map(Entry::asked).collect();
        if let Some(last) = &self.served_last {
            let behind = partitions.partition_point(|asked| asked.from.partition <= *last);
            partitions.rotate_left(behind);
        }
        partitions
    }

    fn news(&mut self) -> Vec<Asked> {
        let mut partitions = Vec::with_capacity(self.changed.len());
        for partition in std::mem::take(&mut self.changed) {
            let Some(entry) = self.wanted.get_mut(&partition) else { continue };
            entry.told = Some(entry.id);
            partitions.push(entry.asked());
        }
        partitions
    }

    /// Takes in the head of an answer.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) -> Outcome {
        match error {
            ErrorCode::None => {
                self.is_asking = false;
                self.id = session_id;
                match session_id {
                    NO_SESSION => self.begin_anew(),
                    _ => self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 },
                }
                return Outcome::Answered;
            }
            ErrorCode::FetchSessionIdNotFound => {
                self.id = NO_SESSION;
                self.lost();
                return Outcome::AskAnew;
            }
            ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError => {
                self.lost();
                return Outcome::AskAnew;
            }
            _ => {}
        }
        self.lost();
        Outcome::Refused(error)
    }

    /// Says which partition of the last answer that brought records came last.
    pub(super) fn served(&mut self, last: Option<&TopicPartition>) {
        if let Some(last) = last {
            self.served_last = Some(last.clone());
        }
    }

    /// Gives back everything that is wanted, for topics to be asked in another way from now on.
    pub(super) fn take_all(&mut self) -> Vec<FetchFrom> {
        self.lost();
        self.changed.clear();
        self.names.clear();
        std::mem::take(&mut self.wanted).into_values().map(|entry| entry.from).collect()
    }

    /// What the leader knows is not certain any more: begins a new session, which ends the old one.
    pub(super) fn lost(&mut self) {
        self.is_asking = false;
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.epoch = INITIAL_EPOCH;
        self.forgotten.clear();
        for entry in self.wanted.values_mut() {
            entry.told = None;
        }
    }

    #[cfg(test)]
    pub(super) fn set_epoch(&mut self, epoch: i32) {
        self.epoch = epoch;
    }

    /// The request that ends the session, if there is one.
    pub(super) fn end(&mut self) -> Option<Ask> {
        let session_id = std::mem::replace(&mut self.id, NO_SESSION);
        self.lost();
        let (partitions, forgotten) = (Vec::new(), Vec::new());
        (session_id != NO_SESSION).then_some(Ask { session_id, epoch: FINAL_EPOCH, partitions, forgotten })
    }
}
