//! One way to lose an answer after the other, with one partition and one batch at a time, or five.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use twinstream_client::raw::kafka_protocol::messages::ProduceRequest;
use twinstream_client::raw::kafka_protocol::protocol::Request;
use twinstream_model::ErrorCode;

use super::producer::Producer;
use super::{Row, Stage, nothing_tried};
use crate::nemesis::{Act, files};
use crate::operator::Operator;

/// Longer than any answer to one batch.
const ANSWER_BYTES: usize = 80;
/// What brokers remember of a producer, and clients have in flight.
const WINDOW: usize = 5;

type Steps<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

pub struct Scene {
    pub name: &'static str,
    pub brokers: usize,
    first_sequence: i32,
    steps: for<'a> fn(&'a mut Player<'_>) -> Steps<'a>,
}

const SCENE: Scene = Scene { name: "", brokers: 1, first_sequence: 0, steps: cut_answers };

pub const SCENES: &[Scene] = &[
    Scene { name: "connection reset after each number of bytes of an answer", ..SCENE },
    Scene { name: "five batches in flight, reset in the middle of their answers", steps: cut_windows, ..SCENE },
    Scene { name: "batch repeated that is older than the five that are remembered", steps: too_old, ..SCENE },
    Scene { name: "answer lost, broker killed", steps: killed, ..SCENE },
    Scene { name: "answer lost, broker stopped, producer snapshots removed", steps: snapshots_removed, ..SCENE },
    Scene { name: "answer lost, broker killed, producer snapshots damaged", steps: snapshots_damaged, ..SCENE },
    Scene {
        name: "sequences that wrap at 2^31-1, repeated and over a restart",
        first_sequence: i32::MAX - 16,
        steps: wrapped,
        ..SCENE
    },
    Scene { name: "answer lost, another broker leads", brokers: 3, steps: led_by_others, ..SCENE },
    Scene {
        name: "answer lost, leader gone, its snapshots removed, it leads again",
        brokers: 3,
        steps: there_and_back,
        ..SCENE
    },
];

/// A producer and what happens to its broker.
struct Player<'a> {
    stage: &'a mut Stage,
    operator: Operator,
    topic: String,
    producer: Producer,
    note: String,
    /// What a scene has done to its brokers. One that did nothing of the kind has tried nothing.
    done: usize,
}

impl Scene {
    pub async fn play(&self, stage: &mut Stage) -> Row {
        let place = SCENES.iter().position(|scene| scene.name == self.name).expect("a scene of the list");
        let topic = format!("repeats-{place}");
        stage.create_topic(&topic, 1).await;
        let (bootstrap, size) = (stage.subject.bootstrap(), stage.subject.size());
        let operator = Operator::connect(&bootstrap, size).await;
        let producer = Producer::start(&bootstrap, &topic, self.first_sequence).await;
        let mut player = Player { stage, operator, topic, producer, note: String::new(), done: 0 };
        (self.steps)(&mut player).await;
        let Player { stage, operator, topic, producer, note, done: _ } = player;
        operator.wait_whole(&topic, 1).await;
        let mut replicas = operator.partition(&topic, 0).await.replicas;
        replicas.sort_unstable();
        let faults = producer.end(&replicas).await;
        Row { subject: stage.subject.name(), what: self.name.to_owned(), faults, note }
    }
}

impl Player<'_> {
    /// The next answer to a produce request is cut after so many bytes.
    fn cut_next(&self, bytes: usize) {
        for proxy in &self.stage.proxies {
            let mut left = 1;
            proxy.rule(move |asked| {
                if asked.key != ProduceRequest::KEY || left == 0 {
                    return Act::Pass;
                }
                left -= 1;
                Act::CutAnswer(bytes)
            });
        }
    }

    fn pass(&self) {
        for proxy in &self.stage.proxies {
            proxy.rule(|_| Act::Pass);
        }
    }

    /// A batch whose answer is lost.
    async fn lose(&mut self, records: i32) -> super::producer::Sent {
        let sent = self.producer.batch(records);
        self.cut_next(0);
        self.producer.send_in_vain(&sent).await;
        self.pass();
        sent
    }

    async fn good(&mut self, records: i32) -> super::producer::Sent {
        let sent = self.producer.batch(records);
        self.producer.deliver(&sent).await;
        sent
    }

    async fn leader(&self) -> usize {
        self.operator.leader(&self.topic, 0).await
    }

    async fn start(&mut self, id: usize) {
        self.stage.subject.spawn(id);
        self.stage.subject.wait_for_port(id).await;
    }

    fn snapshots(&self, id: usize) -> Vec<PathBuf> {
        let folder = self.stage.subject.log_dir(id, &self.topic, 0).join(format!("{}-0", self.topic));
        let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|found| found == "snapshot");
        files::files_below(&folder).into_iter().filter(is_snapshot).collect()
    }

    fn remove_snapshots(&mut self, id: usize) {
        for file in self.snapshots(id) {
            std::fs::remove_file(&file).unwrap_or_else(|error| panic!("remove {}: {error}", file.display()));
            self.done += 1;
        }
    }

    fn damage_snapshots(&mut self, id: usize) {
        for file in self.snapshots(id) {
            let length = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
            if length > 0 {
                files::flip_bit(&file, length / 2);
                self.done += 1;
            }
        }
    }

    /// Tells how often the scene did what it is there for.
    fn has_done(&mut self, what: &str) {
        self.note = format!("{} {what}", self.done);
        self.producer.complain(nothing_tried(self.done, what).into_iter().collect());
    }
}

fn cut_answers<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        for bytes in 0..ANSWER_BYTES {
            let sent = player.producer.batch(1 + (bytes % 3) as i32);
            player.cut_next(bytes);
            // The last ones are longer than the answer, which then is whole before the reset.
            player.producer.deliver(&sent).await;
        }
        player.pass();
        player.note = format!("{ANSWER_BYTES} batches");
    })
}

fn cut_windows<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        for passed in 0..WINDOW {
            let batches: Vec<_> = (0..WINDOW).map(|index| player.producer.batch(1 + index as i32)).collect();
            for proxy in &player.stage.proxies {
                let mut produced = 0;
                proxy.rule(move |asked| {
                    produced += usize::from(asked.key == ProduceRequest::KEY);
                    if asked.key == ProduceRequest::KEY && produced == passed + 1 {
                        Act::CutAnswer(7)
                    } else {
                        Act::Pass
                    }
                });
            }
            player.done += player.producer.deliver_together(&batches).await;
            player.pass();
            player.producer.reconnect().await;
            for sent in &batches {
                player.producer.deliver(sent).await;
            }
        }
        player.has_done("answers lost");
    })
}

fn too_old<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        let first = player.good(2).await;
        for _ in 0..WINDOW {
            player.good(2).await;
        }
        let code = player.producer.refused(&first.bytes).await;
        player.note = format!("told {}", code.map_or("nothing", ErrorCode::name));
        player.good(1).await;
        let hole = player.producer.batch_after_a_hole(1);
        player.producer.refused(&hole).await;
        player.good(1).await;
    })
}

fn killed<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        for _ in 0..2 {
            player.good(3).await;
            let lost = player.lose(2).await;
            player.stage.subject.kill(1);
            player.start(1).await;
            player.producer.deliver(&lost).await;
            player.good(1).await;
        }
    })
}

fn snapshots_removed<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        player.good(3).await;
        let lost = player.lose(2).await;
        player.stage.subject.stop(1).await;
        player.remove_snapshots(1);
        player.start(1).await;
        player.producer.deliver(&lost).await;
        let hole = player.producer.batch_after_a_hole(4);
        player.producer.refused(&hole).await;
        player.good(1).await;
        player.has_done("snapshots removed");
    })
}

fn snapshots_damaged<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        // A clean stop leaves a snapshot for the next start, and a kill nothing newer.
        player.good(3).await;
        player.stage.subject.stop(1).await;
        player.start(1).await;
        player.good(2).await;
        let lost = player.lose(2).await;
        player.stage.subject.kill(1);
        player.damage_snapshots(1);
        player.start(1).await;
        player.producer.deliver(&lost).await;
        player.good(1).await;
        player.has_done("snapshots damaged");
    })
}

/// Batches of five from 17 below the end of the numbers: one of them spans it.
fn wrapped<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        for _ in 0..6 {
            let lost = player.lose(5).await;
            player.producer.deliver(&lost).await;
            let hole = player.producer.batch_after_a_hole(3);
            player.producer.refused(&hole).await;
        }
        let lost = player.lose(5).await;
        player.stage.subject.kill(1);
        player.start(1).await;
        player.producer.deliver(&lost).await;
        player.good(5).await;
        // Exactly at the end, another producer.
        let bootstrap = player.stage.subject.bootstrap();
        let topic = format!("{}-end", player.topic);
        player.stage.create_topic(&topic, 1).await;
        let mut other = Producer::start(&bootstrap, &topic, i32::MAX - 4).await;
        for _ in 0..2 {
            let sent = other.batch(5);
            other.deliver(&sent).await;
            other.deliver(&sent).await;
        }
        let faults = other.end(&[player.operator.leader(&topic, 0).await]).await;
        player.producer.complain(faults);
    })
}

fn led_by_others<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        player.good(1).await;
        for round in 0..4 {
            let leader = player.leader().await;
            let lost = player.lose(1 + round).await;
            let followers = player.operator.partition(&player.topic, 0).await.followers();
            let next = followers[round as usize % followers.len()];
            player.operator.lead_by(&player.topic, 0, next).await;
            player.producer.deliver(&lost).await;
            player.good(2).await;
            player.note = format!("{}{leader}->{next} ", player.note);
        }
    })
}

fn there_and_back<'a>(player: &'a mut Player<'_>) -> Steps<'a> {
    Box::pin(async move {
        player.good(2).await;
        for kill in [true, false] {
            let leader = player.leader().await;
            let lost = player.lose(2).await;
            if kill {
                player.stage.subject.kill(leader);
            } else {
                player.stage.subject.stop(leader).await; // it writes a snapshot, which it then misses
            }
            player.producer.deliver(&lost).await;
            let again = player.lose(3).await;
            player.remove_snapshots(leader);
            player.start(leader).await;
            player.operator.wait_whole(&player.topic, 1).await;
            player.operator.lead_by(&player.topic, 0, leader).await;
            player.producer.deliver(&again).await;
            player.good(1).await;
        }
        player.has_done("snapshots removed");
    })
}
