use std::net::TcpListener;

use twinstream_quorum::QuorumOptions;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_process_that_was_never_connected_to_is_reported_when_its_port_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Arc::new(Identity { node_id: NodeId(1), cluster: OnceLock::new() });
    let (losses, mut lost) = mpsc::channel(1);
    let transport = Arc::new(PeerTransport::new(identity, losses, CancellationToken::new()));
    let options = QuorumOptions::new(NodeId(1), folder.path());
    let (quorum, _events) = twinstream_quorum::start(options, Arc::clone(&transport) as _).unwrap();
    transport.connect(quorum.clone());
    quorum.form_alone().await.unwrap();

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    transport.set_address(NodeId(2), free.to_string());
    transport.send(Outgoing { to: NodeId(2), bytes: Bytes::from_static(b"x"), snapshot: false }).unwrap();
    let loss = tokio::time::timeout(PATIENCE, lost.recv()).await.expect("the loss is reported");
    assert_eq!(loss, Some(Loss::Process(NodeId(2))));
    quorum.stop().await;
}
