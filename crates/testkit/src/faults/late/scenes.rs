//! One late request after the other, on one broker, with nothing left to chance.
//!
//! A request that is held is one that is said later on a connection that was opened earlier: to the broker that is all the
//! same. In two scenes a proxy opened the connections in another order than the client.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::ledger::{Anomaly, Ledger, Outcome};
use super::producer::{Line, Producer, Protocol, Trouble};
use super::{Of, Row, Stage, storm};

const PARTITIONS: i32 = 3;
const PATIENT: Duration = Duration::from_secs(60);
/// A transaction that ends by itself while its scene waits.
const HASTY: Duration = Duration::from_millis(2_500);

/// In which order the broker got the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AsTheClient,
    OtherWayRound,
}

type Steps<'a> = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>>;

/// What happens, and in which protocols readers are promised that it does not show.
pub struct Scene {
    pub name: &'static str,
    order: Order,
    transactions_within: Duration,
    /// By our brokers; what a connection tells is all that they can know in the first protocol.
    promised_in_first: bool,
    steps: for<'a> fn(&'a mut Player) -> Steps<'a>,
}

const SCENE: Scene = Scene {
    name: "",
    order: Order::AsTheClient,
    transactions_within: PATIENT,
    promised_in_first: true,
    steps: late_commit,
};

pub const SCENES: &[Scene] = &[
    Scene { name: "commit arrives in the next transaction, which aborts", ..SCENE },
    Scene { name: "abort arrives in the next transaction, which commits", steps: late_abort, ..SCENE },
    Scene { name: "commit arrives between two transactions", steps: late_commit_between, ..SCENE },
    Scene {
        name: "added partition arrives after the end; producer pauses",
        transactions_within: HASTY,
        steps: late_add,
        ..SCENE
    },
    Scene { name: "added partition arrives in the next transaction", steps: late_add_in_next, ..SCENE },
    Scene {
        name: "commit in the next one, connections in another order",
        order: Order::OtherWayRound,
        promised_in_first: false,
        ..SCENE
    },
    Scene {
        name: "abort in the next one, connections in another order",
        order: Order::OtherWayRound,
        promised_in_first: false,
        steps: late_abort,
        ..SCENE
    },
];

/// A producer with the connection that it gave up, and the one that it uses.
struct Player {
    producer: Producer,
    old: Line,
    new: Line,
    ledger: Ledger,
}

impl Scene {
    pub async fn play(&self, stage: &Stage, of: Of, protocol: Protocol) -> Row {
        let place = SCENES.iter().position(|scene| scene.name == self.name).expect("a scene of the list");
        let name = format!("scene-{}-{place}", protocol.name());
        stage.create_topic(&name, PARTITIONS).await;
        let bootstrap = stage.subject.bootstrap();
        let mut player = Player::start(self, &bootstrap, &name, protocol).await;
        let result = (self.steps)(&mut player).await;
        let mut anomalies = Vec::new();
        if let Err(trouble) = &result {
            anomalies.push(Anomaly::Fenced(format!("{name}: {trouble}")));
        }
        // Whatever is open ends with the next life of the producer.
        Producer::init(&mut player.new, &name, &name, protocol, PATIENT).await.ok();
        let (seen, hanging) = storm::read_committed(&bootstrap, &name, PARTITIONS).await;
        anomalies.extend(hanging);
        anomalies.extend(player.ledger.judge(&seen));
        let promised = of == Of::Ours && (protocol == Protocol::Second || self.promised_in_first);
        let what = self.name.to_owned();
        Row { subject: stage.subject.name(), protocol, what, anomalies, promised, note: String::new() }
    }
}

impl Player {
    async fn start(scene: &Scene, bootstrap: &str, name: &str, protocol: Protocol) -> Self {
        let (mut one, mut other) = (Line::open(bootstrap).await, Line::open(bootstrap).await);
        let producer = Producer::init(&mut one, name, name, protocol, scene.transactions_within).await;
        let producer = producer.unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
        producer.greet(&mut one).await;
        producer.greet(&mut other).await;
        let (old, new) = if scene.order == Order::AsTheClient { (one, other) } else { (other, one) };
        Self { producer, old, new, ledger: Ledger::default() }
    }

    /// Adds a partition over the connection in use, in the protocol that does so, and writes a record.
    async fn write(&mut self, transaction: &str, partition: i32) -> Result<(), Trouble> {
        if self.producer.protocol == Protocol::First {
            self.producer.add(&mut self.new, partition).await?;
        }
        let value = format!("{transaction}:{partition}");
        self.ledger.wrote(transaction, &value);
        self.producer.write(&mut self.new, partition, &value).await
    }

    async fn end(&mut self, transaction: &str, commit: bool) -> Result<(), Trouble> {
        if commit {
            self.ledger.ended(transaction, Outcome::Unknown);
        }
        self.producer.end(&mut self.new, commit).await?;
        self.ledger.ended(transaction, if commit { Outcome::Committed } else { Outcome::Aborted });
        Ok(())
    }

    /// A first transaction, of whose end the first request is held.
    async fn first(&mut self, commit: bool) -> Result<Held, Trouble> {
        self.ledger.begin("one");
        self.write("one", 0).await?;
        self.write("one", 1).await?;
        let held = self.producer.end_request(commit);
        self.end("one", commit).await?;
        Ok(held)
    }
}

type Held = twinstream_client::raw::kafka_protocol::messages::EndTxnRequest;

fn late_commit(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.first(true).await?;
        player.ledger.begin("two");
        player.write("two", 0).await?;
        player.producer.say_late(&mut player.old, &held).await;
        player.write("two", 1).await?;
        player.end("two", false).await
    })
}

fn late_abort(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.first(false).await?;
        player.ledger.begin("two");
        player.write("two", 0).await?;
        player.producer.say_late(&mut player.old, &held).await;
        player.write("two", 1).await?;
        player.end("two", true).await
    })
}

fn late_commit_between(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.first(true).await?;
        player.producer.say_late(&mut player.old, &held).await;
        player.ledger.begin("two");
        player.write("two", 0).await?;
        player.write("two", 1).await?;
        player.end("two", false).await?;
        player.ledger.begin("three");
        player.write("three", 1).await?;
        player.end("three", true).await
    })
}

fn late_add(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.producer.add_request(2);
        player.first(true).await?;
        player.producer.say_late(&mut player.old, &held).await;
        // Longer than a transaction may take that nobody has begun; it is the coordinator that must do nothing.
        tokio::time::sleep(HASTY + Duration::from_secs(1)).await;
        player.ledger.begin("two");
        player.write("two", 0).await?;
        player.end("two", true).await
    })
}

fn late_add_in_next(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.producer.add_request(2);
        player.first(true).await?;
        player.ledger.begin("two");
        player.write("two", 0).await?;
        player.producer.say_late(&mut player.old, &held).await;
        player.write("two", 1).await?;
        player.end("two", true).await
    })
}
