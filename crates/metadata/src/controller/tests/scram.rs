//! SCRAM credentials: what is kept, and what Kafka refuses.

use super::*;
use crate::image::{ScramMechanism, ScramUser};

const SHA_256: i8 = 1;
const SHA_512: i8 = 2;

fn upsertion(user: &str, mechanism: i8, iterations: i32) -> ScramUpsertion {
    let (salt, salted_password) = (vec![1], vec![2]);
    ScramUpsertion { user: user.into(), mechanism, iterations, salt, salted_password }
}

fn deletion(user: &str, mechanism: i8) -> ScramDeletion {
    ScramDeletion { user: user.into(), mechanism }
}

fn alter(
    cluster: &mut Cluster,
    deletions: &[ScramDeletion],
    upsertions: &[ScramUpsertion],
) -> Vec<(String, ErrorCode)> {
    let keys = |mechanism: ScramMechanism, password: &[u8]| ScramKeys {
        stored: [password, &[mechanism as u8]].concat(),
        server: password.to_vec(),
    };
    let decision = cluster.controller.alter_scram_credentials(deletions, upsertions, keys);
    let answers = cluster.commit(decision).into_iter();
    answers.map(|(user, answer)| (user, answer.map_or_else(ScramError::code, |()| ErrorCode::None))).collect()
}

fn one(cluster: &mut Cluster, deletions: &[ScramDeletion], upsertions: &[ScramUpsertion]) -> ErrorCode {
    let answers = alter(cluster, deletions, upsertions);
    assert_eq!(answers.len(), 1, "each user is answered once");
    answers[0].1
}

#[test]
fn a_user_may_have_a_credential_of_each_mechanism_and_the_password_is_not_kept() {
    let mut cluster = Cluster::of(1);
    for mechanism in [SHA_256, SHA_512] {
        assert_eq!(one(&mut cluster, &[], &[upsertion("alice", mechanism, 4096)]), ErrorCode::None);
    }
    let stored = |cluster: &Cluster, mechanism| {
        let user = ScramUser { name: "alice".into(), mechanism };
        cluster.controller.image().scram_credential(&user).cloned()
    };
    let credential = stored(&cluster, ScramMechanism::Sha512).expect("it was set");
    assert_eq!((credential.stored_key, credential.server_key, credential.iterations), (vec![2, 2], vec![2], 4096));
    assert_eq!(one(&mut cluster, &[deletion("alice", SHA_512)], &[]), ErrorCode::None);
    assert_eq!(stored(&cluster, ScramMechanism::Sha512), None);
    assert!(stored(&cluster, ScramMechanism::Sha256).is_some());
}

#[test]
fn what_kafka_refuses_is_refused() {
    let mut cluster = Cluster::of(1);
    let cases = [
        (upsertion("", SHA_256, 4096), ErrorCode::UnacceptableCredential),
        (upsertion("alice", 0, 4096), ErrorCode::UnsupportedSaslMechanism),
        (upsertion("alice", SHA_512, 4095), ErrorCode::UnacceptableCredential),
        (upsertion("alice", SHA_512, 16_385), ErrorCode::UnacceptableCredential),
    ];
    for (upsertion, code) in cases {
        assert_eq!(one(&mut cluster, &[], &[upsertion]), code);
    }
    let empty = ScramUpsertion { salted_password: vec![], ..upsertion("alice", SHA_256, 4096) };
    assert_eq!(one(&mut cluster, &[], &[empty]), ErrorCode::UnacceptableCredential);
    assert_eq!(one(&mut cluster, &[deletion("alice", SHA_256)], &[]), ErrorCode::ResourceNotFound);
    assert_eq!(cluster.controller.image().scram_credentials().count(), 0);
}

#[test]
fn who_is_named_twice_gets_nothing_and_the_others_what_they_want() {
    let mut cluster = Cluster::of(1);
    let both = [upsertion("alice", SHA_256, 4096), upsertion("alice", SHA_512, 4096), upsertion("bob", SHA_256, 5000)];
    let answers = alter(&mut cluster, &[], &both);
    assert_eq!(answers, [("alice".into(), ErrorCode::DuplicateResource), ("bob".into(), ErrorCode::None)]);
    let users: Vec<&str> = cluster.controller.image().scram_credentials().map(|(user, _)| user.name.as_str()).collect();
    assert_eq!(users, ["bob"]);
    let twice = [deletion("bob", SHA_256)];
    assert_eq!(one(&mut cluster, &twice, &[upsertion("bob", SHA_256, 4096)]), ErrorCode::DuplicateResource);
    let not_there = [deletion("carol", SHA_256)];
    let code = one(&mut cluster, &not_there, &[upsertion("carol", SHA_256, 4096)]);
    assert_eq!(code, ErrorCode::ResourceNotFound, "the first mistake is told");
}
