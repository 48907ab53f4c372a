use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

const IDLE: Duration = Duration::from_secs(20);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

fn reader() -> FrameReader {
    FrameReader::new(1024, RequestMemory::new(4096), IDLE)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// The error that a first packet leads to.
async fn refused(packet: &[u8]) -> FrameError {
    let (mut client, mut server) = pair().await;
    client.write_all(packet).await.unwrap();
    reader().next(&mut server).await.err().expect("the packet is refused")
}

#[tokio::test]
async fn frames_in_one_packet_come_out_one_by_one() {
    let (mut client, mut server) = pair().await;
    let packet = [framed(b"first request"), framed(b"second request")].concat();
    client.write_all(&packet).await.unwrap();
    let mut reader = reader();
    assert_eq!(reader.next(&mut server).await.unwrap().unwrap().bytes, "first request");
    assert_eq!(reader.next(&mut server).await.unwrap().unwrap().bytes, "second request");
    drop(client);
    assert!(reader.next(&mut server).await.unwrap().is_none());
}

#[tokio::test]
async fn a_frame_larger_than_one_read_arrives_whole() {
    let (mut client, mut server) = pair().await;
    let body = vec![7u8; 300_000];
    let sender = tokio::spawn({
        let packet = framed(&body);
        async move { client.write_all(&packet).await.map(|()| client) }
    });
    let mut reader = FrameReader::new(1 << 20, RequestMemory::new(1 << 20), IDLE);
    assert_eq!(reader.next(&mut server).await.unwrap().unwrap().bytes, body);
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn oversize_negative_and_tiny_lengths_are_refused() {
    let oversize = refused(&1025i32.to_be_bytes()).await;
    assert!(oversize.to_string().contains("socket.request.max.bytes=1024"), "{oversize}");
    assert!(matches!(refused(&(-1i32).to_be_bytes()).await, FrameError::TooLarge { length: -1, .. }));
    assert!(matches!(refused(&7i32.to_be_bytes()).await, FrameError::TooShort(7)));
}

#[tokio::test]
async fn large_frames_without_records_are_refused_before_they_take_memory() {
    let header = |length: usize, api_key: i16| [&(length as i32).to_be_bytes()[..], &api_key.to_be_bytes()].concat();
    let refused = async |length, api_key| {
        let (mut client, mut server) = pair().await;
        let memory = RequestMemory::new(1 << 28);
        let mut reader = FrameReader::new(100 << 20, memory.clone(), IDLE);
        client.write_all(&header(length, api_key)).await.unwrap();
        drop(client);
        let error = reader.next(&mut server).await.err().unwrap();
        matches!(error, FrameError::TooLargeForApi { .. }).then(|| error.to_string())
    };
    let error = refused(75 << 20, ApiKey::JoinGroup as i16).await.unwrap();
    assert!(error.contains("api key 11") && error.contains("16777216"), "{error}");
    assert!(refused(WITHOUT_RECORDS_MAX + 1, ApiKey::Fetch as i16).await.is_some());
    assert!(refused(75 << 20, InternalApi::Forward as i16).await.is_some());
    for (length, api_key) in [
        (WITHOUT_RECORDS_MAX, ApiKey::Fetch as i16),
        (75 << 20, ApiKey::Produce as i16),
        (WITHOUT_RECORDS_MAX + 1000, InternalApi::Forward as i16),
        (60 << 20, InternalApi::Raft as i16),
    ] {
        assert_eq!(refused(length, api_key).await, None, "{length} bytes of {api_key}");
    }
}

#[tokio::test]
async fn http_and_tls_clients_are_named() {
    assert!(refused(b"GET / HTTP/1.1\r\n").await.to_string().contains("HTTP"));
    assert!(refused(&[0x16, 0x03, 0x01, 0x02, 0x00]).await.to_string().contains("TLS"));
}

#[tokio::test]
async fn a_request_cut_off_says_how_much_arrived() {
    let (mut client, mut server) = pair().await;
    client.write_all(&framed(b"a whole request")[..10]).await.unwrap();
    drop(client);
    let error = reader().next(&mut server).await.err().expect("the request is incomplete");
    assert!(matches!(error, FrameError::Truncated { got: 10, wanted: 19 }), "{error}");
}

#[tokio::test]
async fn a_silent_connection_ends_after_the_idle_limit() {
    let (_client, mut server) = pair().await;
    let mut reader = FrameReader::new(1024, RequestMemory::new(4096), Duration::from_millis(1));
    assert!(matches!(reader.next(&mut server).await, Err(FrameError::Idle(_))));
}

#[tokio::test]
async fn a_request_waits_for_memory_that_others_hold() {
    let (mut client, mut server) = pair().await;
    client.write_all(&framed(&[1; 60])).await.unwrap();
    client.write_all(&framed(&[2; 60])).await.unwrap();
    let mut reader = FrameReader::new(1024, RequestMemory::new(100), IDLE);
    let first = reader.next(&mut server).await.unwrap().unwrap();
    let (second, ()) = tokio::join!(reader.next(&mut server), async {
        tokio::task::yield_now().await;
        drop(first.memory);
    });
    assert_eq!(second.unwrap().unwrap().bytes, vec![2; 60]);
}

#[tokio::test]
async fn a_read_that_is_given_up_goes_on_where_it_was() {
    let (mut client, mut server) = pair().await;
    let memory = RequestMemory::new(4096);
    let mut reader = FrameReader::new(1024, memory.clone(), IDLE);
    let frame = framed(&[5; 600]);
    for piece in frame.chunks(200) {
        let given_up = tokio::time::timeout(Duration::from_millis(1), reader.next(&mut server)).await;
        assert!(given_up.is_err());
        client.write_all(piece).await.unwrap();
    }
    assert_eq!(reader.next(&mut server).await.unwrap().unwrap().bytes, vec![5; 600]);
    // Its share of memory was taken once and is given back.
    drop(memory.reserve(4096, Cargo::Records).await);
}
