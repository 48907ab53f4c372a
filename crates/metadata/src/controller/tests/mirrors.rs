//! Mirrors: they are made as such, promoted for good and at once, and their epochs follow those of the source.

use super::*;
use crate::{
    features,
    image::{Mirror, MirrorState, mirror},
};

fn mirroring() -> Mirror {
    Mirror {
        link: Uuid::from_u128(7),
        cluster: "upstream".into(),
        topic: name("orders"),
        topic_id: TopicId(Uuid::from_u128(8)),
        state: MirrorState::Mirroring,
    }
}

fn mirror_of(topic_name: &str, partitions: i32) -> NewTopic {
    NewTopic { mirror: Some(mirroring()), ..topic(topic_name, partitions) }
}

/// Brokers 1 to 3 with the feature, and a mirror of three partitions.
fn cluster() -> Cluster {
    let mut cluster = Cluster::of(3);
    let level = Record::FeatureLevel { name: features::MIRROR.into(), level: 1 };
    cluster.controller.replay(&[level]).expect("a level that is served");
    cluster.create_one(mirror_of("m", 3)).expect("a good mirror");
    cluster
}

fn set(cluster: &mut Cluster, config: &str, value: &str) -> Result<(), AlterError> {
    cluster.alter(topic_resource("m"), &[(config, ConfigOperation::Set, Some(value))])
}

fn mark(cluster: &Cluster) -> Mirror {
    let topic = cluster.controller.image().topic(&name("m")).expect("a known topic");
    topic.mirror.as_deref().expect("a mirror").clone()
}

fn epochs(cluster: &Cluster) -> Vec<(i32, i32)> {
    let topic = cluster.controller.image().topic(&name("m")).expect("a known topic");
    topic.partitions.iter().map(|partition| (partition.leader_epoch.0, partition.partition_epoch)).collect()
}

fn raise(cluster: &mut Cluster, from: i32, to: i32) -> Result<PartitionImage, ErrorCode> {
    let partition = cluster.first("m");
    let leader = partition.leader.expect("a leader");
    let wanted = EpochRaise {
        topic_id: cluster.controller.image().topic(&name("m")).expect("a known topic").id,
        partition: PartitionIndex(0),
        leader_epoch: LeaderEpoch(from),
        to: LeaderEpoch(to),
    };
    let decision = cluster.controller.raise_epochs(leader, cluster.epoch_of(leader.0), &[wanted]);
    cluster.commit(decision).expect("a registered leader").remove(0)
}

#[test]
fn a_topic_is_a_mirror_from_its_first_moment() {
    let cluster = cluster();
    assert_eq!(mark(&cluster), mirroring());
    assert!(mark(&cluster).is_read_only());
    let bytes = cluster.controller.image().to_snapshot();
    assert_eq!(&Image::from_snapshot(&bytes).expect("our own bytes"), cluster.controller.image());
}

#[test]
fn without_the_feature_there_are_no_mirrors() {
    let mut cluster = Cluster::of(1);
    assert_eq!(code(cluster.create_one(mirror_of("m", 1))), ErrorCode::UnsupportedVersion);
    assert!(cluster.controller.image().topic(&name("m")).is_none());
}

#[test]
fn topics_of_the_cluster_itself_are_no_mirrors() {
    assert_eq!(code(cluster().create_one(mirror_of("__consumer_offsets", 1))), ErrorCode::InvalidTopicException);
}

#[test]
fn the_feature_stays_as_long_as_there_are_mirrors() {
    let mut cluster = cluster();
    let wish = FeatureUpdate { name: features::MIRROR.into(), level: 0, upgrade_type: UpgradeType::SafeDowngrade };
    let judge = |cluster: &Cluster| {
        cluster.controller.update_features(std::slice::from_ref(&wish), Mode::Apply, NodeId(1)).answer
    };
    assert!(judge(&cluster).unwrap_err().to_string().contains("delete them first"));
    let decision = cluster.controller.delete_topics(&[DeleteTarget::Name("m".into())]);
    cluster.commit(decision).remove(0).expect("a known topic");
    assert_eq!(judge(&cluster), Ok(()));
}

#[test]
fn promotion_raises_every_partition_above_every_epoch_of_the_topic() {
    let mut cluster = cluster();
    raise(&mut cluster, 0, 40).expect("a wish of the leader");
    assert_eq!(epochs(&cluster), [(40, 1), (0, 0), (0, 0)]);
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
    assert_eq!(
        mark(&cluster).promoted_in(),
        Some(LeaderEpoch(1_024)),
        "with room for elections of the site that is cut off"
    );
    assert_eq!(epochs(&cluster), [(1_024, 2), (1_024, 1), (1_024, 1)]);
}

fn whole_mark(link: &'static str) -> [(&'static str, ConfigOperation, Option<&'static str>); 5] {
    [
        (mirror::LINK, link),
        (mirror::SOURCE_CLUSTER, "downstream"),
        (mirror::SOURCE_TOPIC, "m"),
        (mirror::SOURCE_TOPIC_ID, "AAAAAAAAAAAAAAAAAAAACQ"),
        (mirror::STATE, mirror::MIRRORING),
    ]
    .map(|(name, value)| (name, ConfigOperation::Set, Some(value)))
}

const BACK: &str = "00000000-0000-0000-0000-000000000009";

#[test]
fn a_topic_with_records_of_its_own_becomes_a_mirror_and_fences_who_wrote() {
    let mut cluster = cluster();
    cluster.create_one(topic("own", 2)).expect("a good topic");
    cluster.alter(topic_resource("own"), &whole_mark(BACK)).expect("a whole mark");
    let own = cluster.controller.image().topic(&name("own")).expect("a known topic").clone();
    let mark = own.mirror.as_deref().expect("a mirror");
    assert!(mark.is_read_only() && mark.link == Uuid::from_u128(9) && mark.cluster == "downstream");
    assert_eq!(mark.state, MirrorState::MirroringAgain { epoch: LeaderEpoch(1) });
    assert!(own.partitions.iter().all(|partition| partition.leader_epoch == LeaderEpoch(1)), "producers are fenced");
    let bytes = cluster.controller.image().to_snapshot();
    assert_eq!(&Image::from_snapshot(&bytes).expect("our own bytes"), cluster.controller.image());
    cluster.alter(topic_resource("own"), &whole_mark(BACK)).expect("the same mark once more");
    let after = cluster.controller.image().topic(&name("own")).expect("a known topic").clone();
    assert_eq!(after, own, "nothing new");
    let other = cluster.alter(topic_resource("own"), &whole_mark("00000000-0000-0000-0000-00000000000a"));
    assert_eq!(other, Err(MirrorError::Busy { topic: name("own"), link: Uuid::from_u128(9) }.into()));
}

#[test]
fn a_promoted_mirror_may_follow_another_source_and_be_promoted_again() {
    let mut cluster = cluster();
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
    cluster.alter(topic_resource("m"), &whole_mark(BACK)).expect("a whole mark");
    assert_eq!(mark(&cluster).state, MirrorState::MirroringAgain { epoch: LeaderEpoch(1_025) });
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
    assert_eq!(mark(&cluster).promoted_in(), Some(LeaderEpoch(3_072)), "the eras between are the other site's");
    let bytes = cluster.controller.image().to_snapshot();
    assert_eq!(&Image::from_snapshot(&bytes).expect("our own bytes"), cluster.controller.image());
}

#[test]
fn a_topic_that_is_promoted_again_keeps_its_own_unless_it_has_heard_of_the_other_sites_era() {
    for (heard, own) in [(None, Some(LeaderEpoch(1_025))), (Some(1_900), Some(LeaderEpoch(1_025))), (Some(2_048), None)]
    {
        let mut cluster = cluster();
        set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
        assert_eq!(mark(&cluster).own_below(), None, "all of it came over the link");
        cluster.alter(topic_resource("m"), &whole_mark(BACK)).expect("a whole mark");
        if let Some(epoch) = heard {
            raise(&mut cluster, 1_025, epoch).expect("a newer epoch");
        }
        set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
        assert_eq!(mark(&cluster).own_below(), own, "{heard:?}");
        let bytes = cluster.controller.image().to_snapshot();
        assert_eq!(&Image::from_snapshot(&bytes).expect("our own bytes"), cluster.controller.image());
    }
}

/// Neither has to hear of the other's promotions for it: a topic may rest from one change of places to the next.
#[test]
fn two_sites_are_never_promoted_in_the_same_era() {
    let eras = |source: &'static str| {
        let mut cluster = cluster();
        let mut mark_of = whole_mark(BACK);
        mark_of[1].2 = Some(source);
        set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
        let promoted = (0..8).map(|_| {
            cluster.alter(topic_resource("m"), &mark_of).expect("a whole mark");
            set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
            mark(&cluster).promoted_in().expect("promoted").0 / PROMOTION_STEP
        });
        promoted.collect::<Vec<_>>()
    };
    let (lower, higher) = (eras("d1"), eras("b1")); // the cluster itself is c1
    assert!(lower.windows(2).all(|two| two[0] < two[1]) && lower.iter().all(|era| era % 2 == 1), "{lower:?}");
    assert!(higher.windows(2).all(|two| two[0] < two[1]) && higher.iter().all(|era| era % 2 == 0), "{higher:?}");
}

#[test]
fn half_a_mark_and_values_that_are_none_are_refused_by_name() {
    let mut cluster = cluster();
    cluster.create_one(topic("own", 1)).expect("a good topic");
    for left_out in 0..4 {
        let mut some = whole_mark(BACK).to_vec();
        let (name, ..) = some.remove(left_out);
        let refused = cluster.alter(topic_resource("own"), &some);
        assert_eq!(refused, Err(MirrorError::Incomplete(name).into()));
        let mut wrong = whole_mark(BACK);
        wrong[left_out].2 = Some("");
        assert!(cluster.alter(topic_resource("own"), &wrong).unwrap_err().to_string().contains(name));
    }
    let mut old = Cluster::of(1);
    old.create_one(topic("own", 1)).expect("a good topic");
    assert_eq!(old.alter(topic_resource("own"), &whole_mark(BACK)), Err(MirrorError::NotServed.into()));
}

#[test]
fn promotion_may_be_asked_for_twice() {
    let mut cluster = cluster();
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
    let before = cluster.controller.image().clone();
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("what is so already");
    assert_eq!(cluster.controller.image(), &before);
    assert_eq!(
        set(&mut cluster, mirror::STATE, mirror::MIRRORING),
        Err(MirrorError::Incomplete(mirror::LINK).into()),
        "it takes a whole mark"
    );
}

#[test]
fn partitions_that_a_promoted_topic_gets_later_have_its_epoch_too() {
    let mut cluster = cluster();
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
    let more = NewPartitions { topic: "m".into(), count: 4, assignments: None };
    let decision = cluster.controller.create_partitions(&[more], Mode::Apply);
    cluster.commit(decision).remove(0).expect("one more");
    let bytes = cluster.controller.image().to_snapshot();
    assert_eq!(&Image::from_snapshot(&bytes).expect("our own bytes"), cluster.controller.image());
    assert_eq!(epochs(&cluster)[3], (1_024, 0));
}

#[test]
fn a_trial_promotes_nothing() {
    let cluster = cluster();
    let change = alteration(topic_resource("m"), &[(mirror::STATE, ConfigOperation::Set, Some(mirror::PROMOTED))]);
    let decision = cluster.controller.alter_configs(&[change], Mode::ValidateOnly, &AnyBrokerConfig, &NoBrokerDefaults);
    assert_eq!((decision.answer, decision.records), (vec![Ok(())], vec![]));
}

#[test]
fn what_a_topic_is_a_mirror_of_cannot_be_changed() {
    let mut cluster = cluster();
    for config in [mirror::LINK, mirror::SOURCE_CLUSTER, mirror::SOURCE_TOPIC, "twinstream.mirror.other"] {
        let refused = set(&mut cluster, config, "x").unwrap_err();
        assert_eq!(
            (refused.code(), refused.clone()),
            (ErrorCode::InvalidConfig, MirrorError::ReadOnly(config.into()).into())
        );
    }
    let deleted = cluster.alter(topic_resource("m"), &[(mirror::STATE, ConfigOperation::Delete, None)]);
    assert_eq!(deleted, Err(MirrorError::State.into()));
    cluster.create_one(topic("plain", 1)).expect("a good topic");
    let refused =
        cluster.alter(topic_resource("plain"), &[(mirror::STATE, ConfigOperation::Set, Some(mirror::PROMOTED))]);
    assert_eq!(refused, Err(MirrorError::NoMirror(name("plain")).into()));
}

#[test]
fn tools_may_set_back_what_they_have_read() {
    let mut cluster = cluster();
    let shown = mark(&cluster).shown();
    let mut settings: Vec<_> =
        shown.iter().map(|(name, value)| (*name, ConfigOperation::Set, Some(&**value))).collect();
    settings.push(("retention.ms", ConfigOperation::Set, Some("7")));
    let change = alteration(topic_resource("m"), &settings);
    let decision = cluster.controller.replace_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
    assert_eq!(cluster.commit(decision), [Ok(())]);
    assert_eq!(cluster.config("m", "retention.ms"), Some("7"));
    assert_eq!(mark(&cluster), mirroring());
}

#[test]
fn a_raised_epoch_keeps_the_leader_and_is_raised_once() {
    let mut cluster = cluster();
    let before = cluster.first("m");
    let raised = raise(&mut cluster, 0, 9).expect("a wish of the leader");
    let expected = PartitionImage { leader_epoch: LeaderEpoch(9), partition_epoch: 1, ..before };
    assert_eq!(raised, expected);
    assert_eq!(raise(&mut cluster, 0, 9), Ok(expected), "the same wish, sent again");
    assert_eq!(raise(&mut cluster, 0, 10), Err(ErrorCode::FencedLeaderEpoch));
}

#[test]
fn epochs_of_the_source_do_not_use_up_those_of_the_cluster() {
    let mut cluster = cluster();
    assert_eq!(raise(&mut cluster, 0, MIRROR_EPOCH_MAX.0 + 1), Err(ErrorCode::InvalidRequest));
    assert!(raise(&mut cluster, 0, MIRROR_EPOCH_MAX.0).is_ok());
}

#[test]
fn a_promoted_topic_follows_no_epochs() {
    let mut cluster = cluster();
    set(&mut cluster, mirror::STATE, mirror::PROMOTED).expect("a mirror");
    assert_eq!(raise(&mut cluster, 1_024, 1_030), Err(ErrorCode::InvalidRequest));
}

#[test]
fn a_mark_that_changes_what_it_is_of_is_not_replayed() {
    let mut cluster = cluster();
    let topic_id = cluster.controller.image().topic(&name("m")).expect("a known topic").id;
    cluster.create_one(topic("plain", 1)).expect("a good topic");
    let plain = cluster.controller.image().topic(&name("plain")).expect("a known topic").id;
    let other = Mirror { link: Uuid::from_u128(9), ..mirroring() };
    for (topic_id, mirror) in [(topic_id, other), (plain, mirroring())] {
        let mut image = cluster.controller.image().clone();
        assert!(image.apply(&Record::Mirror { topic_id, mirror }).is_err());
        assert_eq!(&image, cluster.controller.image());
    }
}
