//! Client quotas: which entities and values Kafka takes, and that a change is whole or none.

use super::*;
use crate::image::QuotaValue;

fn alteration(entity: &[(&str, Option<&str>)], changes: &[(&str, Option<f64>)]) -> QuotaAlteration {
    QuotaAlteration {
        entity: entity.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect(),
        changes: changes.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
    }
}

fn alter(cluster: &mut Cluster, alterations: &[QuotaAlteration]) -> Vec<Result<(), QuotaError>> {
    let decision = cluster.controller.alter_client_quotas(alterations, Mode::Apply);
    cluster.commit(decision)
}

/// Every quota as text, in the order of the image.
fn stored(cluster: &Cluster) -> Vec<String> {
    let image = cluster.controller.image();
    let lines = image.client_quotas().flat_map(|(entity, quotas)| {
        quotas.map(|(key, QuotaValue(value))| format!("{entity}: {key}={value}")).collect::<Vec<_>>()
    });
    lines.collect()
}

#[test]
fn quotas_are_set_changed_and_removed() {
    let mut cluster = Cluster::of(1);
    let alice = [("user", Some("alice"))];
    let set = alteration(&alice, &[("producer_byte_rate", Some(1000.0)), ("request_percentage", Some(12.5))]);
    let defaults = alteration(&[("user", Some("alice")), ("client-id", None)], &[("consumer_byte_rate", Some(5.0))]);
    let address = alteration(&[("ip", None)], &[("connection_creation_rate", Some(10.0))]);
    assert_eq!(alter(&mut cluster, &[set, defaults, address]), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(
        stored(&cluster),
        [
            "user=alice: producer_byte_rate=1000",
            "user=alice: request_percentage=12.5",
            "user=alice client-id=<default>: consumer_byte_rate=5",
            "ip=<default>: connection_creation_rate=10",
        ]
    );
    let change = alteration(&alice, &[("producer_byte_rate", Some(7.0)), ("request_percentage", None)]);
    assert_eq!(alter(&mut cluster, &[change]), [Ok(())]);
    assert_eq!(stored(&cluster)[0], "user=alice: producer_byte_rate=7");
    assert_eq!(stored(&cluster).len(), 3);
    let absent = alteration(&alice, &[("controller_mutation_rate", None)]);
    let decision = cluster.controller.alter_client_quotas(&[absent], Mode::Apply);
    assert!(decision.answer[0].is_ok() && decision.records.is_empty(), "removing what is not there is fine");
}

#[test]
fn a_change_that_is_only_tried_out_stores_nothing() {
    let cluster = Cluster::of(1);
    let set = alteration(&[("user", None)], &[("producer_byte_rate", Some(1.0))]);
    let decision = cluster.controller.alter_client_quotas(&[set], Mode::ValidateOnly);
    assert!(decision.answer[0].is_ok() && decision.records.is_empty());
}

#[test]
fn what_kafka_refuses_is_refused() {
    let user = [("user", Some("alice"))];
    let cases = [
        (alteration(&[], &[]), "Invalid empty client quota entity"),
        (alteration(&[("team", None)], &[]), "Unhandled client quota entity type: team"),
        (alteration(&[("client-id", Some(""))], &[]), "Empty client-id not supported"),
        (alteration(&[("ip", None), ("user", None)], &[]), "Invalid quota entity combination"),
        (alteration(&user, &[("connection_creation_rate", Some(1.0))]), "Invalid configuration key"),
        (alteration(&[("ip", None)], &[("producer_byte_rate", Some(1.0))]), "Invalid configuration key"),
        (alteration(&user, &[("producer_byte_rate", Some(0.0))]), "must be greater than 0"),
        (alteration(&user, &[("request_percentage", Some(f64::NAN))]), "must be greater than 0"),
        (alteration(&user, &[("producer_byte_rate", Some(1.5))]), "cannot be a fractional value"),
        (alteration(&user, &[("producer_byte_rate", Some(1e30))]), "too large for a LONG"),
        (alteration(&[("ip", None)], &[("connection_creation_rate", Some(3e9))]), "too large for an INT"),
        (
            alteration(&user, &[("producer_byte_rate", Some(1.0)), ("producer_byte_rate", Some(2.0))]),
            "Duplicate quota key",
        ),
    ];
    let mut cluster = Cluster::of(1);
    for (alteration, words) in cases {
        let error = alter(&mut cluster, std::slice::from_ref(&alteration)).remove(0).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
        assert!(error.to_string().contains(words), "{alteration:?}: {error}");
    }
    assert!(stored(&cluster).is_empty());
}

#[test]
fn of_an_entity_that_is_named_twice_the_first_change_counts() {
    let mut cluster = Cluster::of(1);
    let set = |value| alteration(&[("user", Some("alice"))], &[("producer_byte_rate", Some(value))]);
    let answers = alter(&mut cluster, &[set(1.0), set(2.0)]);
    assert!(answers[0].is_ok() && matches!(answers[1], Err(QuotaError::DuplicateEntity(_))));
    assert_eq!(stored(&cluster), ["user=alice: producer_byte_rate=1"]);
}

#[test]
fn very_many_entities_and_keys_are_decided_as_fast_as_they_are_read() {
    // If each were looked for among all before it, so many would take hours.
    const MANY: usize = 200_000;
    let cluster = Cluster::of(1);
    let decide = |alterations: &[QuotaAlteration]| cluster.controller.alter_client_quotas(alterations, Mode::Apply);
    let rate = [("producer_byte_rate", Some(1.0))];
    let of_user = |number: usize| alteration(&[("user", Some(&format!("u{number}")))], &rate);
    let mut alterations: Vec<QuotaAlteration> = (0..MANY).map(of_user).collect();
    alterations.push(of_user(7));
    let decision = decide(&alterations);
    let refused = decision.answer.iter().enumerate().filter(|(_, answer)| answer.is_err());
    assert_eq!(refused.map(|(at, _)| at).collect::<Vec<_>>(), [MANY], "the first of two counts");
    assert_eq!(decision.records.len(), MANY);

    let mut whole = alteration(&[("user", Some("alice"))], &[]);
    whole.changes = (0..MANY).map(|number| (format!("k{number}"), None)).collect();
    assert_eq!(decide(std::slice::from_ref(&whole)).answer, [Ok(())]);
    whole.changes.push(("k7".to_owned(), None));
    assert_eq!(decide(&[whole]).answer, [Err(QuotaError::DuplicateKey("k7".to_owned()))]);
}
