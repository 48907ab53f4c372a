use std::io::Write;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

const STALL: Duration = Duration::from_secs(20);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn range(file: &Arc<File>, position: u64, length: usize) -> ResponsePart {
    ResponsePart::File(FileRange { file: Arc::clone(file), position, length })
}

#[tokio::test]
async fn bytes_and_file_ranges_arrive_in_order_behind_length_and_header() {
    let (mut client, server) = pair().await;
    let file = file_of(b"0123456789");
    let parts = vec![
        ResponsePart::Bytes(Bytes::from_static(b"[")),
        range(&file, 2, 3),
        ResponsePart::Bytes(Bytes::from_static(b"|")),
        range(&file, 9, 1),
        ResponsePart::Bytes(Bytes::from_static(b"]")),
    ];
    let sent = send(&server, 42, 1, parts, STALL).await.unwrap();
    drop(server);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"\0\0\0\x0c\0\0\0\x2a\0[234|9]");
    assert_eq!(sent, got.len());
}

#[tokio::test]
async fn a_large_file_range_reaches_a_slow_reader_whole() {
    let (mut client, server) = pair().await;
    let data: Vec<u8> = (0..6_000_000u32).map(|n| n as u8).collect();
    let parts = vec![range(&file_of(&data), 0, data.len())];
    let sender = tokio::spawn(async move { send(&server, 1, 0, parts, STALL).await.map(|_| ()) });
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    sender.await.unwrap().unwrap();
    assert!(got[8..] == data[..], "the bytes differ");
}

#[tokio::test]
async fn a_file_shorter_than_announced_ends_the_connection() {
    let (_client, server) = pair().await;
    let error = send(&server, 1, 0, vec![range(&file_of(b"abc"), 0, 5)], STALL).await.unwrap_err();
    assert!(matches!(error, SendError::ShortFile { missing: 2 }), "{error}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let (_client, server) = pair().await;
    let flood = vec![ResponsePart::Bytes(Bytes::from(vec![0; 64 << 20]))];
    let error = send(&server, 1, 0, flood, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, SendError::Stalled(_)), "{error}");
}
