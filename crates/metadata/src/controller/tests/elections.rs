//! Elections by command and by the balance of leaders.

use super::*;

fn elect(cluster: &mut Cluster, kind: ElectionKind, partitions: Option<&[TopicPartition]>) -> Vec<ErrorCode> {
    let decision = cluster.controller.elect_leaders(kind, partitions);
    let answers = cluster.commit(decision);
    answers.into_iter().map(|(_, answer)| answer.map_or_else(|error| error.code(), |()| ErrorCode::None)).collect()
}

#[test]
fn leadership_goes_back_to_the_preferred_leader_once_it_is_in_sync() {
    use ElectionKind::Preferred;
    let mut cluster = Cluster::of(2);
    cluster.create_on("a", &[1, 2], "1");
    let a = [at("a", 0)];
    assert_eq!(elect(&mut cluster, Preferred, Some(&a)), [ErrorCode::ElectionNotNeeded]);
    cluster.kill(1);
    assert_eq!(elect(&mut cluster, Preferred, Some(&a)), [ErrorCode::PreferredLeaderNotAvailable]);
    cluster.restart(1);
    assert_eq!(elect(&mut cluster, Preferred, Some(&a)), [ErrorCode::PreferredLeaderNotAvailable], "not in sync");
    cluster.propose("a", &[2, 1]).expect("1 is up");
    assert_eq!(elect(&mut cluster, Preferred, Some(&a)), [ErrorCode::None]);
    assert_eq!(cluster.state("a"), "isr 2 1 | elr | leader 1");
    assert_eq!(
        elect(&mut cluster, Preferred, Some(&[at("b", 0), at("a", 7)])),
        [ErrorCode::UnknownTopicOrPartition; 2]
    );
}

#[test]
fn an_unclean_election_by_command_is_for_partitions_without_a_leader() {
    use ElectionKind::Unclean;
    let mut cluster = Cluster::of(2);
    cluster.create_on("a", &[1, 2], "1");
    let a = [at("a", 0)];
    assert_eq!(elect(&mut cluster, Unclean, Some(&a)), [ErrorCode::ElectionNotNeeded]);
    cluster.kill(2);
    cluster.kill(1);
    assert_eq!(elect(&mut cluster, Unclean, Some(&a)), [ErrorCode::EligibleLeadersNotAvailable]);
    cluster.restart(2);
    assert_eq!(cluster.state("a"), "isr | elr 1 | last 1");
    assert_eq!(elect(&mut cluster, Unclean, Some(&a)), [ErrorCode::None]);
    assert_eq!(cluster.state("a"), "isr 2 | elr | leader 2");
}

#[test]
fn asked_for_all_partitions_only_those_that_need_it_are_answered() {
    let mut cluster = Cluster::of(2);
    cluster.create_on("a", &[1, 2], "1");
    cluster.create_on("b", &[2, 1], "1");
    cluster.kill(1);
    cluster.restart(1);
    cluster.propose("a", &[2, 1]).expect("1 is up");
    let decision = cluster.controller.elect_leaders(ElectionKind::Preferred, None);
    assert_eq!(cluster.commit(decision), [(at("a", 0), Ok(()))]);
}

#[test]
fn leaders_are_balanced_when_a_broker_leads_too_little_of_what_it_should() {
    let mut cluster = Cluster::of(2);
    for topic in 0..10 {
        cluster.create_on(&format!("t{topic}"), &[1, 2], "1");
    }
    cluster.kill(1);
    cluster.restart(1);
    let balance = |cluster: &mut Cluster| {
        let decision = cluster.controller.balance_leaders(10);
        cluster.commit(decision)
    };
    assert_eq!(balance(&mut cluster), Balanced { moved: 0, more: false }, "nothing is in sync");
    for topic in 0..10 {
        cluster.propose(&format!("t{topic}"), &[2, 1]).expect("1 is up");
    }
    assert_eq!(balance(&mut cluster), Balanced { moved: 10, more: false });
    assert_eq!(cluster.leaders("t3"), [Some(1)]);
    // One of ten is ten percent, which is not more than ten.
    cluster.kill(1);
    cluster.restart(1);
    for topic in 0..10 {
        cluster.propose(&format!("t{topic}"), &[2, 1]).expect("1 is up");
    }
    let nine: Vec<TopicPartition> = (0..9).map(|topic| at(&format!("t{topic}"), 0)).collect();
    let decision = cluster.controller.elect_leaders(ElectionKind::Preferred, Some(&nine));
    cluster.commit(decision);
    assert_eq!(balance(&mut cluster), Balanced { moved: 0, more: false });
}
