//! The relay before a server that says everything back.

use std::io::ErrorKind;

use tokio::time::timeout;

use super::*;

/// Long enough that what would come would have come.
const NOTHING_FOR: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(10);

async fn echo() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                // A client that is gone wants no answer.
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    address
}

async fn ask(client: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(text).await?;
    hear(client, text.len()).await
}

async fn hear(client: &mut TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let mut answer = vec![0; length];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn what_is_said_into_a_silent_line_arrives_when_it_opens_on_old_and_new_connections() {
    let relay = Relay::before(&echo().await).await;
    let mut old = TcpStream::connect(relay.address()).await.unwrap();
    assert_eq!(ask(&mut old, b"one").await.unwrap(), b"one");
    relay.silence();
    let mut new = TcpStream::connect(relay.address()).await.unwrap();
    old.write_all(b"two").await.unwrap();
    new.write_all(b"three").await.unwrap();
    assert!(timeout(NOTHING_FOR, hear(&mut old, 3)).await.is_err(), "a silent line answered");
    assert!(timeout(NOTHING_FOR, hear(&mut new, 5)).await.is_err(), "a silent line answered a new connection");
    relay.mend();
    assert_eq!(timeout(SOON, hear(&mut old, 3)).await.unwrap().unwrap(), b"two");
    assert_eq!(timeout(SOON, hear(&mut new, 5)).await.unwrap().unwrap(), b"three");
}

#[tokio::test]
async fn a_line_that_is_down_resets_old_and_new_connections_until_it_is_mended() {
    let relay = Relay::before(&echo().await).await;
    let mut old = TcpStream::connect(relay.address()).await.unwrap();
    assert_eq!(ask(&mut old, b"one").await.unwrap(), b"one");
    relay.take_down();
    let lost = timeout(SOON, hear(&mut old, 1)).await.unwrap().unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::ConnectionReset);
    let mut new = TcpStream::connect(relay.address()).await.unwrap();
    assert!(timeout(SOON, ask(&mut new, b"two")).await.unwrap().is_err(), "a line that is down answered");
    relay.mend();
    let mut newer = TcpStream::connect(relay.address()).await.unwrap();
    assert_eq!(ask(&mut newer, b"three").await.unwrap(), b"three");
}

#[tokio::test]
async fn a_connection_that_ends_while_the_line_is_silent_ends_for_the_other_side_when_it_opens() {
    let relay = Relay::before(&echo().await).await;
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    assert_eq!(ask(&mut client, b"one").await.unwrap(), b"one");
    relay.silence();
    client.shutdown().await.unwrap();
    assert!(timeout(NOTHING_FOR, hear(&mut client, 1)).await.is_err(), "the end came through a silent line");
    relay.mend();
    let ended = timeout(SOON, hear(&mut client, 1)).await.unwrap().unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
}
