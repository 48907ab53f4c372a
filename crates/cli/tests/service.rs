//! A role as the service of a machine: it says when it serves and when it stops (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use twinstream_testkit::{Folder, die_with_test, free_port};

const TOLD_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_broker_says_that_it_is_ready_once_it_serves_and_that_it_stops_when_told_to() {
    let folder = Folder::new();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(TOLD_WITHIN)).expect("a limit");
    let told = || {
        let mut bytes = [0; 256];
        let len = manager.recv(&mut bytes).expect("the broker tells how it stands in time");
        String::from_utf8_lossy(&bytes[..len]).trim().to_owned()
    };
    let (clients, controllers) = (free_port(), free_port());
    let settings = [
        "node.id=1".to_owned(),
        "process.roles=broker,controller".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{controllers}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controllers}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("log.dirs={}", folder.path().join("data").display()),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinstream"));
    command.arg("broker").env("NOTIFY_SOCKET", &socket);
    settings.iter().for_each(|setting| _ = command.args(["--override", setting]));
    die_with_test(&mut command);
    let mut broker = command.spawn().expect("the broker starts");
    assert_eq!(told(), "READY=1");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], clients));
    std::net::TcpStream::connect(address).expect("a broker that is ready takes connections");

    let stopped = Command::new("kill").arg(broker.id().to_string()).status().expect("kill");
    assert!(stopped.success());
    assert_eq!(told(), "STOPPING=1");
    assert!(broker.wait().expect("its end").success());
}
