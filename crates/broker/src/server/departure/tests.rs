use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

#[tokio::test]
async fn a_close_is_noticed_and_silence_is_none() {
    let (client, server) = pair().await;
    let watch = departed(&server);
    tokio::pin!(watch);
    assert!(futures::poll!(watch.as_mut()).is_pending());
    drop(client);
    watch.await;
}

#[tokio::test]
async fn a_close_behind_unread_requests_is_noticed_and_they_stay() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"next request").await.unwrap();
    server.readable().await.unwrap();
    {
        let watch = departed(&server);
        tokio::pin!(watch);
        assert!(futures::poll!(watch.as_mut()).is_pending(), "a request that waits is no close");
        drop(client);
        watch.await;
    }
    let mut unread = Vec::new();
    server.read_to_end(&mut unread).await.unwrap();
    assert_eq!(unread, b"next request");
}
