//! Links between brokers are cut, and answers to clients are lost.

use std::time::Duration;

use super::{GO_ON_WITHIN, MENDED_WITHIN, SILENT_WITHIN, Steps};
use crate::faults::Trial;
use crate::nemesis::End;

pub(super) fn leader_cut_from_followers(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.step(format!("cut {leader} from all brokers; clients reach it"));
            let links = trial.subject.network().links_to_brokers(leader);
            trial.subject.network().cut(&links);
            trial.all_writable(SILENT_WITHIN).await;
            // Long enough for another leader, also when the old one goes on to acknowledge what needs no other replica.
            let more = trial.dice.between(4_000, 5_000);
            trial.run_for(Duration::from_millis(more)).await;
            mend(trial).await;
        }
    })
}

pub(super) fn leader_cut_from_controller(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let controller = trial.operator.controller().await;
            let mut leader = trial.leader(partition).await;
            if leader == controller {
                let followers = trial.followers(partition).await;
                leader = *trial.dice.pick(&followers);
                trial.step(format!("broker {leader}, which does not lead the quorum, gets partition {partition}"));
                trial.operator.lead_by(&trial.options.topic, partition, leader).await;
            }
            trial.step(format!("cut {leader} from {controller}, which leads the quorum"));
            trial.subject.network().cut(&[(End::Broker(leader), End::Broker(controller))]);
            trial.all_writable(SILENT_WITHIN).await;
            mend(trial).await;
        }
    })
}

pub(super) fn bridges(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        for round in 0..4 {
            trial.breathe().await;
            let nodes = trial.dice.shuffled(&all);
            match round % 3 {
                0 => {
                    trial.step(format!("bridge: {:?} and {:?} meet only in {}", &nodes[..2], &nodes[3..], nodes[2]));
                    let links = nodes[..2].iter().flat_map(|one| {
                        nodes[3..].iter().map(|other| (End::Broker(*one), End::Broker(*other))) //
                    });
                    trial.subject.network().cut(&links.collect::<Vec<_>>());
                }
                1 => {
                    trial.step(format!("one way: nothing from {} arrives at other brokers", nodes[0]));
                    for (from, to) in trial.subject.network().links_to_brokers(nodes[0]) {
                        trial.subject.network().cut_one_way(from, to);
                    }
                }
                _ => {
                    let mut cuts = Vec::new();
                    for pair in nodes.windows(2) {
                        if trial.dice.coin() {
                            cuts.push((End::Broker(pair[0]), End::Broker(pair[1])));
                        }
                    }
                    trial.step(format!("cut {cuts:?}"));
                    trial.subject.network().cut(&cuts);
                }
            }
            let time = trial.dice.between(2_000, 6_000);
            trial.run_for(Duration::from_millis(time)).await;
            mend(trial).await;
        }
    })
}

/// Links work again, and nobody but the brokers does anything about what is left.
async fn mend(trial: &mut Trial) {
    trial.step("all links work");
    trial.subject.network().heal();
    trial.all_writable(MENDED_WITHIN).await;
    trial.whole().await;
}

/// As FoundationDB's: what fails one after the other and comes back in another order meets states that nobody thought of.
pub(super) fn swizzle_clog(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for round in 0..2 {
            trial.breathe().await;
            let mut links = all_links(trial.subject.size());
            if round > 0 {
                links.retain(|_| trial.dice.coin());
            }
            for link in trial.dice.shuffled(&links) {
                trial.step(format!("clog {link:?}"));
                trial.subject.network().cut(&[link]);
                let pause = trial.dice.between(50, 800);
                trial.run_for(Duration::from_millis(pause)).await;
            }
            let time = trial.dice.between(1_000, 4_000);
            trial.run_for(Duration::from_millis(time)).await;
            for link in trial.dice.shuffled(&links) {
                trial.step(format!("clear {link:?}"));
                trial.subject.network().mend(&[link]);
                let pause = trial.dice.between(50, 800);
                trial.run_for(Duration::from_millis(pause)).await;
            }
            trial.nobody_is_stuck(GO_ON_WITHIN).await;
            mend(trial).await;
        }
    })
}

/// Between brokers, and between each of them and the clients.
fn all_links(brokers: usize) -> Vec<(End, End)> {
    let mut links = Vec::new();
    for one in 1..=brokers {
        links.push((End::Broker(one), End::Clients));
        links.extend((one + 1..=brokers).map(|other| (End::Broker(one), End::Broker(other))));
    }
    links
}

pub(super) fn answers_lost(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for round in 0..4 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.step(format!("answers of {leader} are lost, its clients' connections are reset"));
            trial.subject.network().cut_one_way(End::Broker(leader), End::Clients);
            let time = trial.dice.between(50, 800);
            trial.run_for(Duration::from_millis(time)).await;
            trial.subject.network().reset_clients_of(leader);
            let time = trial.dice.between(50, 800);
            trial.run_for(Duration::from_millis(time)).await;
            if round % 2 == 1 {
                trial.kill(leader);
            }
            trial.step("all links work");
            trial.subject.network().heal();
            trial.all_writable(SILENT_WITHIN).await;
            if round % 2 == 1 {
                trial.start_broker(leader).await;
            }
            trial.whole().await;
        }
    })
}
