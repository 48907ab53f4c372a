//! Links work, are cut one way or both, heal, and leave nothing behind.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::process::Process;
use crate::wait::wait_until;

const PORT: u16 = 4_000;

/// An echo server in the namespace of a broker.
fn echo(network: &Network, broker: usize, folder: &std::path::Path) -> Process {
    let script = format!(
        "import socket\ns=socket.create_server(('{}',{PORT}))\nwhile True:\n c,_=s.accept()\n d=c.recv(9)\n c.sendall(d)\n c.close()",
        network.address(broker)
    );
    let mut command = Command::new("python3");
    command.args(["-c", &script]);
    network.move_into(broker, &mut command);
    Process::spawn("echo", command, &folder.join(format!("echo-{broker}.log")))
}

async fn answers(network: &Network, broker: usize) -> bool {
    let address = (network.address(broker), PORT);
    let call = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await
    };
    tokio::time::timeout(Duration::from_millis(300), call).await.is_ok_and(|answer| answer.is_ok())
}

/// Whether a broker reaches another one.
fn reaches(network: &Network, from: usize, to: usize) -> bool {
    let script = format!(
        "import socket\ns=socket.create_connection(('{}',{PORT}),0.5)\ns.settimeout(0.5)\ns.sendall(b'ping')\nassert s.recv(4)",
        network.address(to)
    );
    let mut command = Command::new("python3");
    command.args(["-c", &script]).stderr(Stdio::null());
    network.move_into(from, &mut command);
    command.status().expect("python3").success()
}

#[tokio::test]
async fn links_are_cut_one_way_or_both_and_heal() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new(2);
    let _servers = [echo(&network, 1, folder.path()), echo(&network, 2, folder.path())];
    for broker in [1, 2] {
        wait_until("the echo answers", Duration::from_secs(20), || answers(&network, broker)).await;
    }
    assert!(reaches(&network, 1, 2) && reaches(&network, 2, 1));

    network.cut(&network.links_to_brokers(1));
    assert!(!reaches(&network, 1, 2) && !reaches(&network, 2, 1), "brokers are apart");
    assert!(answers(&network, 1).await && answers(&network, 2).await, "clients reach both");

    network.heal();
    network.cut_one_way(End::Broker(2), End::Clients);
    assert!(!answers(&network, 2).await && answers(&network, 1).await && reaches(&network, 2, 1));

    network.heal();
    assert!(answers(&network, 2).await && reaches(&network, 1, 2) && reaches(&network, 2, 1));

    network.reset_clients_of(1);
    let refused = TcpStream::connect((network.address(1), PORT)).await;
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionRefused));

    let prefix = prefix(network.slot);
    drop(network);
    let left = fs::read_dir("/run/netns").unwrap().flatten();
    assert_eq!(left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count(), 0);
}
