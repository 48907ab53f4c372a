use std::sync::OnceLock;
use std::time::Duration;

use twinstream_metadata::controller::Effects;
use twinstream_metadata::{ConfigResource, Record};
use twinstream_model::NodeId;
use twinstream_quorum::QuorumOptions;

use super::super::addresses::Addresses;
use super::super::applier;
use super::super::transport::PeerTransport;
use super::*;
use crate::metrics::BrokerMetrics;

const PATIENCE: Duration = Duration::from_secs(20);

fn set(value: &str) -> Decision<()> {
    let (resource, name) = (ConfigResource::BrokerDefault, "log.retention.ms".to_owned());
    let record = Record::Config { resource, name, value: Some(value.to_owned()) };
    Decision { records: vec![record], answer: (), effects: Effects::default() }
}

/// Decides as soon as this node leads.
async fn wait_until_decided(actor: &ActorHandle, value: &'static str) {
    let decided = async {
        while actor.decide(move |_, _| set(value)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, decided).await.expect("the controller decides");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_panics_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let identity = Arc::new(Identity { node_id: NodeId(1), cluster: OnceLock::new() });
    let (lost, losses) = mpsc::channel(1);
    let transport = Arc::new(PeerTransport::new(Arc::clone(&identity), lost, Arc::default(), shutdown.clone()));
    let options = QuorumOptions::new(NodeId(1), folder.path());
    let (quorum, events) = twinstream_quorum::start(options, Arc::clone(&transport) as _).unwrap();
    transport.connect(quorum.clone());
    quorum.form_alone().await.unwrap();
    let image: Arc<ArcSwap<Image>> = Arc::default();
    let outputs = applier::spawn(applier::Inputs {
        image: Arc::clone(&image),
        events,
        quorum: quorum.clone(),
        identity: Arc::clone(&identity),
        transport,
        departed: Arc::default(),
        addresses: Arc::new(Addresses::new("PLAINTEXT".to_owned(), Vec::new())),
    });
    let actor = spawn(Inputs {
        image: Arc::clone(&image),
        quorum: quorum.clone(),
        applied: outputs.applied,
        leading: outputs.leading,
        losses,
        settings: ControllerSettings::default(),
        balance: BalanceSettings { enabled: false, interval: PATIENCE, imbalance_percent_max: 10 },
        identity,
        sightings: Arc::default(),
        elections: BrokerMetrics::new(Arc::clone(&image), NodeId(1)).elections,
        first_cluster_id: None,
        shutdown: shutdown.clone(),
    });

    wait_until_decided(&actor, "1").await;
    let failed = actor.decide(|_, _| -> Decision<()> { panic!("a defect") }).await;
    assert_eq!(failed, Err(DecideError::Unknown), "nobody may take it for undecided and ask again");
    wait_until_decided(&actor, "2").await;
    assert_eq!(image.load().config(&ConfigResource::BrokerDefault, "log.retention.ms"), Some("2"));
    shutdown.cancel();
    quorum.stop().await;
}
