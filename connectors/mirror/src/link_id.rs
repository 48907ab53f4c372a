//! The id of a link, which marks its mirror topics on the target. Pure.
//!
//! Picture: a name-based id (RFC 9562, version 5) of who copies from where to where. Every worker that runs the link computes
//! the same, so a link moves between workers without leaving anything behind, and no two links write to one mirror.
//! Invariant: it never changes between releases; a mirror of an older one would be a stranger's.
//! Not here: topics, which carry their own names in their marks; one link has one id for all.

use uuid::{Uuid, uuid};

/// Ours alone; made once by chance.
const NAMESPACE: Uuid = uuid!("cc2860b9-790d-48f1-bab0-105e8611f427");

/// Cluster ids are those that the clusters tell; aliases are the link's own names for them.
pub(crate) fn link_id(source_cluster: &str, target_cluster: &str, source_alias: &str, target_alias: &str) -> Uuid {
    let mut name = Vec::new();
    for part in [source_cluster, target_cluster, source_alias, target_alias] {
        // With its length in front, so that no two different links have one name.
        name.extend((part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_one_id_for_ever() {
        let id = link_id("cGFsZSBibHVlIGRvdCBBQQ", "cGFsZSBibHVlIGRvdCBCQg", "east", "west");
        assert_eq!(id.to_string(), "d1ef5050-ab29-52b3-a260-d7f047b6cd97");
    }

    #[test]
    fn whatever_differs_makes_another_link() {
        let parts = ["a", "b", "c", "d"];
        let of = |parts: [&str; 4]| link_id(parts[0], parts[1], parts[2], parts[3]);
        let mut ids = vec![of(parts), of(["ab", "", "c", "d"]), of(["b", "a", "d", "c"])];
        for at in 0..4 {
            let mut other = parts;
            other[at] = "x";
            ids.push(of(other));
        }
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| !id.is_nil()));
    }
}
