//! Finalized levels of features: a new cluster has the newest, and a level changes only to one that is served.

use super::*;
use crate::features::{self, METADATA_VERSION, served};

const OWN: NodeId = NodeId(1);

fn update(name: &str, level: i16, upgrade_type: UpgradeType) -> FeatureUpdate {
    FeatureUpdate { name: name.into(), level, upgrade_type }
}

fn refusal(cluster: &Cluster, update: FeatureUpdate) -> String {
    let decision = cluster.controller.update_features(&[update], Mode::Apply, OWN);
    assert!(decision.records.is_empty());
    let error = decision.answer.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidUpdateVersion);
    error.to_string()
}

#[test]
fn a_new_cluster_has_the_newest_levels_and_producer_ids_of_its_own() {
    let controller = Controller::new(Image::default(), ControllerSettings::default(), Instant::now());
    let mut cluster = Cluster { controller, now: Instant::now(), next_id: 1 };
    let decision = cluster.controller.found_cluster(ClusterId::from("c1"));
    cluster.commit(decision);
    let image = cluster.controller.image();
    assert_eq!(image.cluster_id().map(ClusterId::as_str), Some("c1"));
    assert!(served().all(|feature| image.feature_level(feature.name) == feature.max));
    assert!(image.next_producer_id() >= 1 << 40, "Kafka's own ids lie below");
    let epoch = cluster.register(1, 1).expect("a free node id");
    let first = cluster.controller.image().next_producer_id();
    let decision = cluster.controller.allocate_producer_ids(OWN, epoch);
    assert_eq!(cluster.commit(decision).expect("registered").first, ProducerId(first));
    assert_eq!(cluster.controller.image().next_producer_id(), first + 1000);
}

#[test]
fn a_range_of_producer_ids_ends_before_the_next_one() {
    for (last, fits) in [((1 << 40) - 1000, true), ((1 << 40) - 999, false)] {
        let mut cluster = Cluster::of(1);
        let used = Record::ProducerIds { node_id: OWN, broker_epoch: 0, next_producer_id: last };
        cluster.controller.replay(&[used]).expect("a number that grows");
        let decision = cluster.controller.allocate_producer_ids(OWN, cluster.epoch_of(1));
        assert_eq!(cluster.commit(decision).is_ok(), fits, "{last}");
    }
}

#[test]
fn what_is_not_served_is_refused_in_the_words_of_kafka() {
    let cluster = Cluster::of(1);
    use UpgradeType::{SafeDowngrade, Unknown, Upgrade};
    let newest = features::find(METADATA_VERSION).expect("a feature").max;
    let cases = [
        (update("no.such.feature", 1, Upgrade), "Local controller 1 does not support this feature."),
        (update(METADATA_VERSION, newest + 1, Upgrade), "Local controller 1 only supports versions 30-30"),
        (update(METADATA_VERSION, 7, SafeDowngrade), "Local controller 1 only supports versions 30-30"),
        (update(METADATA_VERSION, newest, Unknown), "The controller does not support the given upgrade type."),
        (update(METADATA_VERSION, -1, Upgrade), "A feature version cannot be less than 0."),
    ];
    for (update, reason) in cases {
        let expected = format!("Invalid update version {} for feature {}. {reason}", update.level, update.name);
        assert_eq!(refusal(&cluster, update), expected);
    }
}

#[test]
fn one_bad_update_keeps_the_others_back() {
    let cluster = Cluster::of(1);
    let newest = features::find(METADATA_VERSION).expect("a feature").max;
    let updates =
        [update(METADATA_VERSION, newest, UpgradeType::Upgrade), update("no.such.feature", 1, UpgradeType::Upgrade)];
    let decision = cluster.controller.update_features(&updates, Mode::Apply, OWN);
    assert!(decision.answer.is_err() && decision.records.is_empty());
}
