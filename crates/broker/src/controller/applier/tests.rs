use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use twinstream_metadata::{ConfigResource, Record, encode_batch};
use twinstream_model::{ClusterId, NodeId};
use twinstream_quorum::QuorumOptions;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const SNAPSHOT_AFTER: u64 = 10;

struct Node {
    image: Arc<ArcSwap<Image>>,
    quorum: QuorumHandle,
    outputs: Outputs,
}

impl Node {
    /// A sole voter with an applier, and nothing that decides.
    async fn start(folder: &Path, own_cluster: Option<&str>) -> Self {
        let cluster = own_cluster.map_or_else(OnceLock::new, |id| OnceLock::from(ClusterId::from(id)));
        let identity = Arc::new(Identity { node_id: NodeId(1), cluster });
        let (losses, _) = mpsc::channel(1);
        let transport =
            Arc::new(PeerTransport::new(Arc::clone(&identity), losses, Arc::default(), CancellationToken::new()));
        let mut options = QuorumOptions::new(NodeId(1), folder);
        options.snapshot_after_entries = SNAPSHOT_AFTER;
        let (quorum, events) = twinstream_quorum::start(options, Arc::clone(&transport) as _).unwrap();
        transport.connect(quorum.clone());
        quorum.form_alone().await.unwrap();
        let image: Arc<ArcSwap<Image>> = Arc::default();
        let mut outputs = spawn(Inputs {
            image: Arc::clone(&image),
            events,
            quorum: quorum.clone(),
            identity,
            transport,
            departed: Arc::default(),
            addresses: Arc::new(Addresses::new("PLAINTEXT".to_owned(), Vec::new())),
        });
        let leading = outputs.leading.wait_for(Option::is_some);
        tokio::time::timeout(PATIENCE, leading).await.expect("in time").expect("the applier runs");
        Self { image, quorum, outputs }
    }

    async fn write(&mut self, batch: Vec<u8>) -> u64 {
        let index = self.quorum.propose(batch).unwrap().await.unwrap();
        let applied = self.outputs.applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(PATIENCE, applied).await.expect("in time") {
            Ok(_) => index,
            Err(_) => 0, // the applier has ended
        }
    }

    async fn set(&mut self, value: u64) {
        let (resource, name) = (ConfigResource::BrokerDefault, "log.retention.ms".to_owned());
        let record = Record::Config { resource, name, value: Some(value.to_string()) };
        self.write(encode_batch(&[record])).await;
    }

    fn value(&self) -> Option<String> {
        self.image.load().config(&ConfigResource::BrokerDefault, "log.retention.ms").map(str::to_owned)
    }

    async fn failure(&mut self) -> String {
        let failure = self.outputs.failure.wait_for(Option::is_some);
        let failure = tokio::time::timeout(PATIENCE, failure).await.expect("in time").expect("a reason");
        failure.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_from_snapshot_and_log_is_the_image_before_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), None).await;
    for value in 0..3 * SNAPSHOT_AFTER + 3 {
        node.set(value).await;
    }
    let before = Image::clone(&node.image.load());
    node.quorum.stop().await;
    let is_snapshot = |item: std::fs::DirEntry| item.file_name().to_string_lossy().starts_with("snapshot-");
    assert!(std::fs::read_dir(folder.path()).unwrap().flatten().any(is_snapshot));
    let node = Node::start(folder.path(), None).await;
    assert_eq!(*node.image.load_full(), before);
    assert_eq!(node.value(), Some((3 * SNAPSHOT_AFTER + 2).to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_replayed_ends_the_part_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), None).await;
    node.set(1).await;
    node.quorum.propose(vec![9, 0, 0, 0, 0]).unwrap().await.unwrap();
    let failure = node.failure().await;
    assert!(failure.contains("metadata batch version 9 is newer than 1"), "{failure}");
    assert_eq!(node.value(), Some("1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_cluster_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), Some("own")).await;
    let cluster_id = ClusterId::from("other");
    node.quorum.propose(encode_batch(&[Record::ClusterId { cluster_id }])).unwrap().await.unwrap();
    let failure = node.failure().await;
    assert!(failure.contains("this node's data is of cluster own, the metadata log is of cluster other"), "{failure}");
    assert_eq!(node.image.load().cluster_id(), None);
}
