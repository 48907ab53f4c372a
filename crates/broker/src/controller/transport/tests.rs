use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use twinstream_quorum::QuorumOptions;
use uuid::Uuid;

use super::super::messages::write_answer;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Node 1 with its transport; the other nodes are sockets of the test.
struct Here {
    transport: Arc<PeerTransport>,
    quorum: QuorumHandle,
    lost: mpsc::Receiver<Loss>,
    _folder: tempfile::TempDir,
}

impl Here {
    /// A quorum of node 1 and these voters, which calls no election by itself.
    async fn with_voters(others: &[i32]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity { node_id: NodeId(1), cluster: OnceLock::new() });
        let (losses, lost) = mpsc::channel(16);
        let transport = Arc::new(PeerTransport::new(identity, losses, Arc::default(), CancellationToken::new()));
        let mut options = QuorumOptions::new(NodeId(1), folder.path());
        options.election_timeout = Duration::from_secs(3600);
        let (quorum, mut events) = twinstream_quorum::start(options, Arc::clone(&transport) as _).unwrap();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        transport.connect(quorum.clone());
        let voters = others.iter().map(|voter| (NodeId(*voter), Uuid::new_v4()));
        quorum.form(voters.chain([(NodeId(1), quorum.directory_id())]).collect()).await.unwrap();
        Self { transport, quorum, lost, _folder: folder }
    }

    /// A port that belongs to a node.
    async fn node(&self, node: i32) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.transport.set_address(NodeId(node), listener.local_addr().unwrap().to_string());
        listener
    }

    fn say(&self, node: i32) {
        self.transport.send(Outgoing { to: NodeId(node), bytes: Bytes::from_static(b"x"), snapshot: false }).unwrap();
    }

    async fn loss(&mut self) -> Loss {
        within("a loss is reported", self.lost.recv()).await.unwrap()
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    within("a connection", listener.accept()).await.unwrap().0
}

/// Reads a request and returns its correlation id.
async fn request(stream: &mut TcpStream) -> [u8; 4] {
    let length = within("a request", stream.read_u32()).await.unwrap();
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame[4..8].try_into().unwrap()
}

async fn answer(stream: &mut TcpStream, correlation: [u8; 4]) {
    let body = write_answer(Ok(Vec::new()));
    let length = (5 + body.len() as u32).to_be_bytes();
    stream.write_all(&[&length[..], &correlation, &[0], &body].concat()).await.unwrap();
}

#[tokio::test]
async fn a_process_that_was_never_connected_to_is_reported_when_its_port_refuses() {
    let mut here = Here::with_voters(&[]).await;
    drop(here.node(2).await);
    here.say(2);
    assert_eq!(here.loss().await, Loss::Process(NodeId(2)));
}

#[tokio::test]
async fn a_process_that_dies_is_reported_while_its_answer_is_awaited_and_while_nothing_is() {
    for answered in [false, true] {
        let mut here = Here::with_voters(&[]).await;
        let listener = here.node(2).await;
        here.say(2);
        let mut stream = accept(&listener).await;
        let correlation = request(&mut stream).await;
        if answered {
            answer(&mut stream, correlation).await;
        }
        drop((listener, stream));
        assert_eq!(here.loss().await, Loss::Process(NodeId(2)));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_while_the_port_is_served_is_no_dead_process() {
    let mut here = Here::with_voters(&[]).await;
    let listener = here.node(2).await;
    here.say(2);
    drop(accept(&listener).await);
    assert_eq!(here.loss().await, Loss::Connection(NodeId(2)));
    let mut stream = accept(&listener).await;
    here.say(2);
    let correlation = request(&mut stream).await;
    answer(&mut stream, correlation).await;
}

#[tokio::test]
async fn voters_stay_connected_without_anything_to_say() {
    let mut here = Here::with_voters(&[2]).await;
    let listener = here.node(2).await;
    let stream = accept(&listener).await;
    drop(stream);
    assert_eq!(here.loss().await, Loss::Connection(NodeId(2)));
    let stream = accept(&listener).await;
    drop((listener, stream));
    // And it goes on telling, because nobody may have listened.
    while here.loss().await != Loss::Process(NodeId(2)) {}
    assert_eq!(here.loss().await, Loss::Process(NodeId(2)));
}

#[tokio::test]
async fn a_node_that_hangs_delays_no_other_and_is_heard_again_when_it_goes_on() {
    let here = Here::with_voters(&[]).await;
    let (hanging, well) = (here.node(2).await, here.node(3).await);
    here.say(2);
    let mut unanswered = accept(&hanging).await;
    request(&mut unanswered).await;
    here.say(3);
    let mut stream = accept(&well).await;
    for _ in 0..50 {
        let correlation = request(&mut stream).await;
        answer(&mut stream, correlation).await;
        here.say(2);
        here.say(3);
    }
    // What was to be sent meanwhile is thrown away, what comes after that arrives: so it is told until it has heard.
    let mut again = accept(&hanging).await;
    let mut again_and_again = tokio::time::interval(Duration::from_millis(5));
    let correlation = {
        let mut heard = std::pin::pin!(request(&mut again));
        loop {
            tokio::select! {
                correlation = &mut heard => break correlation,
                _ = again_and_again.tick() => here.say(2),
            }
        }
    };
    answer(&mut again, correlation).await;
    here.say(2);
    request(&mut again).await;
    assert_eq!(here.quorum.status().failed, None);
}
