//! Changes of configs: operations on lists, all or nothing per resource, refusals.

use super::*;

/// If each were looked for among all others, so many would take hours.
const MANY: usize = 200_000;

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    use ConfigOperation::{Append, Delete, Set, Subtract};
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let mut policy = |operation, value| cluster.alter(topic_resource("a"), &[("cleanup.policy", operation, value)]);
    // The default is "delete", and appending what is there changes nothing.
    policy(Append, Some("compact")).expect("a list");
    policy(Append, Some("compact")).expect("a list");
    assert_eq!(cluster.config("a", "cleanup.policy"), Some("delete,compact"));
    let mut policy = |operation, value| cluster.alter(topic_resource("a"), &[("cleanup.policy", operation, value)]);
    policy(Subtract, Some("delete")).expect("a list");
    assert_eq!(cluster.config("a", "cleanup.policy"), Some("compact"));
    let mut alter = |name, operation, value| cluster.alter(topic_resource("a"), &[(name, operation, value)]);
    assert_eq!(alter("retention.ms", Append, Some("1")).unwrap_err().code(), ErrorCode::InvalidConfig);
    assert_eq!(alter("retention.ms", Set, None).unwrap_err().code(), ErrorCode::InvalidRequest);
    alter("cleanup.policy", Delete, None).expect("it is set");
    alter("cleanup.policy", Delete, None).expect("deleting a default is fine");
    alter("no.such.config", Delete, None).expect("what nobody knows is not there either, as in Kafka");
    assert_eq!(cluster.config("a", "cleanup.policy"), None);
}

#[test]
fn a_resource_changes_wholly_or_not_at_all() {
    use ConfigOperation::Set;
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let settings = [("retention.ms", Set, Some("1")), ("segment.bytes", Set, Some("1"))];
    assert_eq!(cluster.alter(topic_resource("a"), &settings).unwrap_err().code(), ErrorCode::InvalidConfig);
    assert_eq!(cluster.config("a", "retention.ms"), None);
    let twice = [("retention.ms", Set, Some("1")), ("retention.ms", Set, Some("2"))];
    assert_eq!(cluster.alter(topic_resource("a"), &twice).unwrap_err().code(), ErrorCode::InvalidRequest);
}

#[test]
fn configs_of_what_does_not_exist_are_refused() {
    use ConfigOperation::Set;
    let mut cluster = Cluster::of(1);
    let settings = [("retention.ms", Set, Some("1"))];
    assert_eq!(cluster.alter(topic_resource("a"), &settings).unwrap_err().code(), ErrorCode::UnknownTopicOrPartition);
    let unknown = ConfigResource::Broker(NodeId(9));
    assert_eq!(cluster.alter(unknown, &settings).unwrap_err().code(), ErrorCode::InvalidRequest);
    let static_setting = [("static.setting", Set, Some("1"))];
    let error = cluster.alter(ConfigResource::BrokerDefault, &static_setting).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (ErrorCode::InvalidRequest, "static.setting needs a restart")
    );
}

#[test]
fn replacing_configs_drops_what_is_not_named() {
    use ConfigOperation::Set;
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    cluster.alter(topic_resource("a"), &[("retention.ms", Set, Some("1"))]).expect("a good value");
    let change = alteration(topic_resource("a"), &[("retention.bytes", Set, Some("2"))]);
    let decision = cluster.controller.replace_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
    assert!(cluster.commit(decision)[0].is_ok());
    assert_eq!(cluster.config("a", "retention.ms"), None);
    assert_eq!(cluster.config("a", "retention.bytes"), Some("2"));
}

#[test]
fn groups_and_subscriptions_have_rules_of_their_own() {
    use ConfigOperation::{Append, Delete, Set};
    let mut cluster = Cluster::of(1);
    let group = || ConfigResource::Group("readers".into());
    let session = "consumer.session.timeout.ms";
    cluster.alter(group(), &[(session, Set, Some("50000"))]).expect("a good value");
    assert_eq!(cluster.controller.image().config(&group(), session), Some("50000"));
    for (name, value) in [(session, "60001"), ("retention.ms", "1"), ("consumer.heartbeat.interval.ms", "50001")] {
        let error = cluster.alter(group(), &[(name, Set, Some(value))]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig, "{name}={value}");
    }
    assert_eq!(cluster.alter(group(), &[(session, Append, Some("1"))]).unwrap_err().code(), ErrorCode::InvalidConfig);
    cluster.alter(group(), &[(session, Delete, None)]).expect("it is set");
    assert_eq!(cluster.controller.image().config_resources().count(), 0);

    let basic = || ConfigResource::ClientMetrics("basic".into());
    cluster.alter(basic(), &[("metrics", Append, Some("a.,b."))]).expect("a list");
    cluster.alter(basic(), &[("metrics", Append, Some("c."))]).expect("a list");
    assert_eq!(cluster.controller.image().config(&basic(), "metrics"), Some("a.,b.,c."));
    let error = cluster.alter(basic(), &[("interval.ms", Set, Some("1"))]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
}

#[test]
fn very_many_resources_settings_and_items_are_decided_as_fast_as_they_are_read() {
    use ConfigOperation::{Append, Delete, Set, Subtract};
    let mut cluster = Cluster::of(1);
    cluster.create_one(topic("a", 1)).expect("a good topic");
    let group = |number: usize| ConfigResource::Group(format!("g{number}"));
    let session = [("consumer.session.timeout.ms", Set, Some("50000"))];
    let mut changes: Vec<AlterResource> = (0..MANY).map(|number| alteration(group(number), &session)).collect();
    changes.push(alteration(group(7), &session));
    let decide = |cluster: &Cluster, changes: &[AlterResource]| {
        cluster.controller.alter_configs(changes, Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults)
    };
    let decision = decide(&cluster, &changes);
    let refused = decision.answer.iter().enumerate().filter(|(_, answer)| answer.is_err());
    assert_eq!(refused.map(|(at, _)| at).collect::<Vec<_>>(), [7, MANY], "what is named twice, each time");
    assert_eq!(decision.records.len(), MANY - 1);

    let gone = |number: usize| ConfigSetting { name: format!("c{number}"), operation: Delete, value: None };
    let mut change = AlterResource { resource: topic_resource("a"), settings: (0..MANY).map(gone).collect() };
    assert_eq!(decide(&cluster, std::slice::from_ref(&change)).answer, [Ok(())]);
    change.settings.push(gone(7));
    assert_eq!(decide(&cluster, &[change]).answer, [Err(AlterError::DuplicateName("c7".to_owned()))]);

    let metrics = || ConfigResource::ClientMetrics("basic".into());
    let items: Vec<String> = (0..MANY).map(|number| format!("m{number}.")).collect();
    let (first, others) = (items[0].as_str(), items[1..].join(","));
    for (operation, given, left) in
        [(Append, first, first.to_owned()), (Append, &others, items.join(",")), (Subtract, &others, first.to_owned())]
    {
        let decision = decide(&cluster, &[alteration(metrics(), &[("metrics", operation, Some(given))])]);
        cluster.controller.replay(&decision.records).expect("records that fit");
        assert!(cluster.controller.image().config(&metrics(), "metrics") == Some(left.as_str()), "{operation:?}");
    }
}
