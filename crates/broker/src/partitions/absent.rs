//! Partitions whose log may lie in a directory that could not be opened at the start (KIP-858's offline directories).
//!
//! Picture: with a directory out of sight this broker cannot tell a partition that is new to it from one whose log is
//! there. What the first image with its own registration wants here, and no directory that works has, it therefore takes
//! for hidden: it tells the controller before it is let in, so that such a copy is neither elected nor counted, and makes
//! no empty log in its place. What comes later is new.
//!
//! Invariants: nothing is made before it is known what is hidden; what is hidden stays so until the process starts again.

use std::collections::HashSet;
use std::sync::OnceLock;

use twinstream_metadata::Image;
use twinstream_model::{NodeId, PartitionIndex, TopicId, TopicPartition};

#[derive(Debug, Default)]
pub(crate) struct Absent {
    /// Directories that could not be opened.
    unseen: usize,
    /// Partitions with a folder in one of the others.
    held: HashSet<TopicPartition>,
    hidden: OnceLock<HashSet<(TopicId, PartitionIndex)>>,
}

impl Absent {
    pub(super) fn new(unseen: usize, held: HashSet<TopicPartition>) -> Absent {
        Absent { unseen, held, hidden: OnceLock::new() }
    }

    /// Directories that could not be opened at the start.
    pub(crate) fn unseen(&self) -> usize {
        self.unseen
    }

    /// What may be hidden, by an image that has this run's registration. The first answer counts.
    pub(crate) fn settle(&self, image: &Image, node: NodeId) -> Vec<(TopicId, PartitionIndex)> {
        let hidden = self.hidden.get_or_init(|| if self.unseen == 0 { HashSet::new() } else { self.look(image, node) });
        hidden.iter().copied().collect()
    }

    fn look(&self, image: &Image, node: NodeId) -> HashSet<(TopicId, PartitionIndex)> {
        let mut hidden = HashSet::new();
        for topic in image.topics() {
            for (index, partition) in topic.iter().filter(|(_, partition)| partition.replicas.contains(&node)) {
                if !partition.replicas.is_empty()
                    && !self.held.contains(&TopicPartition::new(topic.name.clone(), index))
                {
                    hidden.insert((topic.id, index));
                }
            }
        }
        hidden
    }

    /// Whether a log may be made for a partition that has no folder.
    pub(super) fn may_make(&self, topic: TopicId, index: PartitionIndex) -> bool {
        match self.hidden.get() {
            _ if self.unseen == 0 => true,
            Some(hidden) => !hidden.contains(&(topic, index)),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use twinstream_metadata::{PartitionImage, Record};
    use twinstream_model::TopicName;
    use uuid::Uuid;

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn image(topics: &[(&str, u128)]) -> Image {
        let mut image = Image::default();
        for (name, id) in topics {
            let topic_id = TopicId(Uuid::from_u128(*id));
            let partition = PartitionImage { replicas: vec![NODE], isr: vec![NODE], ..PartitionImage::default() };
            image.apply(&Record::Topic { name: TopicName::parse(name).unwrap(), topic_id }).unwrap();
            image.apply(&Record::Partition { topic_id, partition: PartitionIndex(0), image: partition }).unwrap();
        }
        image
    }

    fn held(topic: &str) -> HashSet<TopicPartition> {
        [TopicPartition::new(TopicName::parse(topic).unwrap(), PartitionIndex(0))].into()
    }

    fn id(id: u128) -> TopicId {
        TopicId(Uuid::from_u128(id))
    }

    #[test]
    fn with_all_directories_in_sight_nothing_is_hidden() {
        let absent = Absent::new(0, HashSet::new());
        assert!(absent.may_make(id(1), PartitionIndex(0)));
        assert!(absent.settle(&image(&[("a", 1)]), NODE).is_empty());
    }

    #[test]
    fn what_has_no_folder_at_the_start_is_hidden_and_what_comes_later_is_new() {
        let absent = Absent::new(1, held("a"));
        assert!(!absent.may_make(id(2), PartitionIndex(0)), "nothing is made before it is known what is hidden");
        assert_eq!(absent.settle(&image(&[("a", 1), ("b", 2)]), NODE), [(id(2), PartitionIndex(0))]);
        assert_eq!(absent.settle(&image(&[("a", 1), ("b", 2), ("c", 3)]), NODE), [(id(2), PartitionIndex(0))]);
        assert!(!absent.may_make(id(2), PartitionIndex(0)));
        assert!(absent.may_make(id(3), PartitionIndex(0)));
        assert!(absent.settle(&image(&[]), NodeId(2)).len() == 1);
    }
}
