use std::io::Write;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

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
async fn small_and_large_parts_in_any_order_arrive_as_they_were_given() {
    let data: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
    let file = file_of(&data);
    for sizes in [
        [5, 100_000, 7, 3, 20_000],
        [16_384, 16_384, 16_384, 1, 16_385],
        [100_000, 3, 3, 3, 90_000],
        [30_000, 30_000, 2, 30_000, 2],
    ] {
        let (mut client, server) = pair().await;
        let mut expected = Vec::new();
        let mut parts = Vec::new();
        for (at, size) in sizes.into_iter().enumerate() {
            let bytes = &data[at * 11..at * 11 + size];
            expected.extend_from_slice(bytes);
            parts.push(match at % 2 {
                0 => range(&file, at as u64 * 11, size),
                _ => ResponsePart::Bytes(Bytes::copy_from_slice(bytes)),
            });
        }
        let sender = tokio::spawn(async move { send(&server, 1, 0, parts, STALL).await });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(sender.await.unwrap().unwrap(), got.len(), "{sizes:?}");
        assert!(got[8..] == expected[..], "{sizes:?}");
    }
}

#[tokio::test]
async fn a_file_shorter_than_announced_ends_the_connection() {
    for (length, cut) in [(5, 2), (100_000, 2), (100_000, 99_997)] {
        let (mut client, server) = pair().await;
        let file = file_of(&vec![7; length - cut]);
        let sender = tokio::spawn(async move { send(&server, 1, 0, vec![range(&file, 0, length)], STALL).await });
        client.read_to_end(&mut Vec::new()).await.unwrap();
        let error = sender.await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::ShortFile { missing } if missing == cut), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let (_client, server) = pair().await;
    let flood = vec![ResponsePart::Bytes(Bytes::from(vec![0; 64 << 20]))];
    let error = send(&server, 1, 0, flood, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, SendError::Stalled(_)), "{error}");
}
