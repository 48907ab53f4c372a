//! One late request after the other, on one broker, with nothing left to chance.
//!
//! A request that is held is one that is said later on a connection that was opened earlier: to the broker that is all the
//! same. In two scenes a proxy opened the connections in another order than the client.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use twinstream_client::protocol::shape::Shaped;
use twinstream_client::raw::kafka_protocol::messages::EndTxnRequest;
use twinstream_client::raw::kafka_protocol::protocol::Request;
use twinstream_model::TopicPartition;

use super::ledger::{Anomaly, Ledger, Outcome};
use super::{Of, Row, Stage, TRY_WITHIN, partition, storm};
use crate::load::{Line, Protocol, Refusal, Transactor};

const PARTITIONS: i32 = 3;
const PATIENT: Duration = Duration::from_secs(60);
/// A transaction that ends by itself while its scene waits.
const HASTY: Duration = Duration::from_secs(10);

/// In which order the broker got the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AsTheClient,
    OtherWayRound,
}

type Steps<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

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
    /// Over the new connection.
    producer: Transactor,
    old: Line,
    topic: String,
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
        if let Err(refusal) = &result {
            anomalies.push(Anomaly::of(&name, refusal));
        }
        // Whatever is open ends with the next life of the producer.
        player.producer.init().await.ok();
        let (seen, hanging) = storm::read_committed(&bootstrap, &name, PARTITIONS).await;
        anomalies.extend(hanging);
        anomalies.extend(player.ledger.judge(&seen));
        let promised = of == Of::Ours && (protocol == Protocol::Second || self.promised_in_first);
        let row = Row::new(of, protocol, self.name.to_owned(), promised, anomalies);
        // A step that was refused or not answered is an anomaly; all others were played.
        Row { idle: result.is_ok() && player.ledger.count(Outcome::Committed) == 0, ..row }
    }
}

impl Player {
    async fn start(scene: &Scene, bootstrap: &str, name: &str, protocol: Protocol) -> Self {
        let producer = Transactor::new(bootstrap, name, protocol, scene.transactions_within);
        let (mut producer, mut old) = (producer.in_a_hurry(TRY_WITHIN), Line::new(bootstrap));
        producer.init().await.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        producer.line().greet(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        old.greet(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        // The producer's own connection is the older one so far.
        if scene.order == Order::AsTheClient {
            std::mem::swap(producer.line(), &mut old);
        }
        Self { producer, old, topic: name.to_owned(), ledger: Ledger::default() }
    }

    fn partition(&self, index: i32) -> TopicPartition {
        partition(&self.topic, index)
    }

    fn begin(&mut self, transaction: &str) {
        self.ledger.begin(&self.topic, transaction);
    }

    /// Adds a partition over the connection in use, in the protocol that does so, and writes a record.
    async fn write(&mut self, transaction: &str, index: i32) -> Result<(), Refusal> {
        let value = format!("{transaction}:{index}");
        self.ledger.wrote(transaction, index, &value);
        let partition = self.partition(index);
        self.producer.write(&partition, None, Some(&value)).await.map(drop)
    }

    /// The network delivers a request of which the producer knows nothing any more.
    async fn arrives<R: Request<Response: Shaped>>(&mut self, held: &R) {
        self.producer.say_late(&mut self.old, held).await;
    }

    async fn end(&mut self, transaction: &str, commit: bool) -> Result<(), Refusal> {
        if commit {
            self.ledger.ended(transaction, Outcome::Unknown);
        }
        self.producer.end(commit).await?;
        self.ledger.ended(transaction, if commit { Outcome::Committed } else { Outcome::Aborted });
        Ok(())
    }

    /// A first transaction, of whose end the first request is held.
    async fn first(&mut self, commit: bool) -> Result<EndTxnRequest, Refusal> {
        self.begin("one");
        self.write("one", 0).await?;
        self.write("one", 1).await?;
        let held = self.producer.end_request(commit);
        self.end("one", commit).await?;
        Ok(held)
    }
}

fn late_commit(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.first(true).await?;
        player.begin("two");
        player.write("two", 0).await?;
        player.arrives(&held).await;
        player.write("two", 1).await?;
        player.end("two", false).await
    })
}

fn late_abort(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.first(false).await?;
        player.begin("two");
        player.write("two", 0).await?;
        player.arrives(&held).await;
        player.write("two", 1).await?;
        player.end("two", true).await
    })
}

fn late_commit_between(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.first(true).await?;
        player.arrives(&held).await;
        player.begin("two");
        player.write("two", 0).await?;
        player.write("two", 1).await?;
        player.end("two", false).await?;
        player.begin("three");
        player.write("three", 1).await?;
        player.end("three", true).await
    })
}

fn late_add(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.producer.add_request(&[player.partition(2)]);
        player.first(true).await?;
        player.arrives(&held).await;
        // Longer than a transaction may take that nobody has begun; it is the coordinator that must do nothing.
        tokio::time::sleep(HASTY + Duration::from_secs(1)).await;
        player.begin("two");
        player.write("two", 0).await?;
        player.end("two", true).await
    })
}

fn late_add_in_next(player: &mut Player) -> Steps<'_> {
    Box::pin(async move {
        let held = player.producer.add_request(&[player.partition(2)]);
        player.first(true).await?;
        player.begin("two");
        player.write("two", 0).await?;
        player.arrives(&held).await;
        player.write("two", 1).await?;
        player.end("two", true).await
    })
}
