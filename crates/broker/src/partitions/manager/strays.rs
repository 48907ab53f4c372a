//! Folders whose `partition.metadata` has another topic's id than the image has under that name (KIP-516).
//!
//! Picture: either the topic was deleted and made again while this broker was away, or the file changed on the disk.
//! Nothing tells the two apart for sure, so nothing is deleted: the folder is put aside under Kafka's name for it,
//! `<topic>-<n>.<unique>-stray`, stays until somebody removes it, and is counted and named at every start. An id that is one
//! byte away from the right one cannot be another topic's; the file is mended and the log goes on.
//!
//! Of folders of two topics in two directories that of the image's topic is used, and the other one is put aside.
//!
//! Invariants: nothing is decided before the image is known to be caught up, because in an old one the right id looks
//! wrong. A replica that counts as in sync while others could take over leaves ISR and ELR before an empty log takes the
//! place of the folder; one that is all there is of several replicas is not opened, because from an empty log the
//! others would copy that.

use std::sync::atomic::{AtomicBool, Ordering};

use twinstream_log::{Identity, LogError};
use twinstream_metadata::PartitionImage;
use twinstream_model::{TopicId, TopicPartition};

use super::super::directories::stray_name;
use super::opening::Wanted;
use super::{PartitionManager, PartitionsError};

/// How many of the folders from earlier runs are named at a start.
const NAMED_MAX: usize = 10;

/// What is known about folders of other topics.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    is_caught_up: AtomicBool,
    /// Whether some wait for that.
    wait: AtomicBool,
}

/// What to do with a folder of another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    PutAside,
    /// This replica leaves the in-sync replicas first.
    LeaveFirst,
    /// Nobody has more than the folder may have.
    Keep,
}

impl PartitionManager {
    /// Whether the folder that is there is that of the wanted partition. If not it is gone from its name afterwards.
    pub(super) fn is_ours(&self, wanted: &Wanted) -> Result<bool, PartitionsError> {
        let Wanted { at, topic_id, dir, .. } = wanted;
        let failed = |source| PartitionsError::Open { partition: at.clone(), source };
        let found = match self.directories.identity_of(*dir, at, *topic_id).map_err(failed)? {
            Identity::Same => return Ok(true),
            Identity::OneByteOff => {
                self.directories.restore_identity(*dir, at, *topic_id).map_err(failed)?;
                tracing::warn!(partition = %at, topic_id = %topic_id, "one byte of partition.metadata had changed, the topic id in it is mended");
                return Ok(true);
            }
            Identity::Other(found) => found,
        };
        let stranger = || PartitionsError::Stranger { partition: at.clone(), found };
        if !self.strangers.is_caught_up.load(Ordering::Acquire) {
            self.strangers.wait.store(true, Ordering::Release);
            return Err(stranger());
        }
        let image = self.newest_image();
        let topic = image.topic(&at.topic).filter(|topic| topic.id == *topic_id);
        let Some(known) = topic.and_then(|topic| topic.partition(at.partition)) else { return Err(stranger()) };
        match self.fate(known) {
            Fate::PutAside => self.put_aside(wanted, found).map(|()| false).map_err(failed),
            Fate::LeaveFirst => {
                self.failures.name(at);
                Err(stranger())
            }
            Fate::Keep => {
                let path = self.directories.paths().nth(*dir).map(|dir| dir.join(at.to_string())).unwrap_or_default();
                let what = format!(
                    "it has the id {found} of another topic than {topic_id}, and no other replica is in sync; restore partition.metadata with this id, or move the folder away to go on with an empty log"
                );
                Err(failed(LogError::Damaged { path, what }))
            }
        }
    }

    fn fate(&self, known: &PartitionImage) -> Fate {
        let counts = known.isr.contains(&self.node) || known.elr.contains(&self.node);
        let leads_or_led = known.leader.or(known.last_known_leader) == Some(self.node);
        let others_in_sync = known.isr.iter().any(|node| *node != self.node);
        match known.replicas.len() > 1 && (counts || leads_or_led) {
            true if others_in_sync => Fate::LeaveFirst,
            true => Fate::Keep,
            false => Fate::PutAside,
        }
    }

    fn put_aside(&self, wanted: &Wanted, found: TopicId) -> Result<(), LogError> {
        let Wanted { at, topic_id, dir, .. } = wanted;
        let folder = self.directories.rename_unopened(*dir, at, &stray_name(at))?;
        tracing::error!(
            partition = %at,
            found = %found,
            wanted = %topic_id,
            folder = %folder.display(),
            "a folder belongs to another topic than the one of its name, and was put aside: remove it if that topic was deleted; if partition.metadata was changed by mistake, stop the broker, correct the id in it and rename it back"
        );
        self.metrics.set_strays(self.directories.strays().len());
        Ok(())
    }

    /// A partition is open, and another directory has a folder of its name. Which of the two is the partition's was told by
    /// the topic of the image.
    pub(super) fn put_twins_aside(&self, at: &TopicPartition) {
        if !self.strangers.is_caught_up.load(Ordering::Acquire) || self.get(at).is_none() {
            return;
        }
        for dir in self.directories.holders(at) {
            match self.directories.rename_unopened(dir, at, &stray_name(at)) {
                Ok(folder) => {
                    tracing::error!(partition = %at, folder = %folder.display(), "a folder is not the one of this partition, which is in another directory, and was put aside: remove it if nobody needs it");
                    self.metrics.set_strays(self.directories.strays().len());
                }
                Err(error) => {
                    tracing::warn!(partition = %at, error = %error.chain(), "cannot put a folder aside that is not the one of this partition");
                }
            }
        }
    }

    /// From now on the image has everything that was decided before this process registered.
    pub(super) fn decide_about_strangers(&self) {
        self.strangers.is_caught_up.store(true, Ordering::Release);
        let strays = self.directories.strays();
        self.metrics.set_strays(strays.len());
        for folder in strays.iter().take(NAMED_MAX) {
            tracing::warn!(folder = %folder.display(), of = strays.len(), "a folder that was put aside is still there, remove it if nobody needs it");
        }
        if self.strangers.wait.swap(false, Ordering::AcqRel)
            && let Err(error) = self.open_wanted()
        {
            tracing::debug!(%error, "not all partitions could be opened");
        }
    }
}
