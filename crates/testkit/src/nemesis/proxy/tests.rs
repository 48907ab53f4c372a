//! The proxy before a server that answers each frame with its own head and a text.

use std::io::ErrorKind;

use bytes::BufMut;
use tokio::sync::mpsc;

use super::*;

const TEXT: &[u8] = b"an answer";

/// Answers every frame, and tells the correlation ids in the order in which they came.
async fn server() -> (String, mpsc::Receiver<i32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let told = told.clone();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let mut frames = Frames::default();
                while let Some(frame) = frames.next(&mut read).await {
                    let correlation = frame.slice(8..12).get_i32();
                    told.send(correlation).await.unwrap();
                    // A client that is gone does not want it.
                    write.write_all(&frame_of(correlation, TEXT)).await.ok();
                }
            });
        }
    });
    (address, heard)
}

fn frame_of(correlation: i32, text: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(4 + text.len() as i32);
    frame.put_i32(correlation);
    frame.put_slice(text);
    frame.freeze()
}

fn request(key: i16, correlation: i32) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(HEAD_BYTES as i32);
    frame.put_i16(key);
    frame.put_i16(0);
    frame.put_i32(correlation);
    frame.freeze()
}

async fn ask(client: &mut TcpStream, key: i16, correlation: i32) -> std::io::Result<Vec<u8>> {
    client.write_all(&request(key, correlation)).await?;
    let mut answer = vec![0; 8 + TEXT.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn held_request_arrives_though_its_client_has_gone_on_another_connection() {
    let (address, mut heard) = server().await;
    let proxy = Proxy::before(&address).await;
    let mut first = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut first, 26, 1).await.unwrap(), frame_of(1, TEXT));
    proxy.rule(|asked| if asked.key == 26 { Act::Hold(Duration::from_millis(300)) } else { Act::Pass });
    first.write_all(&request(26, 2)).await.unwrap();
    drop(first);
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut second, 0, 3).await.unwrap(), frame_of(3, TEXT));
    proxy.calm().await;
    let order = [heard.recv().await, heard.recv().await, heard.recv().await];
    assert_eq!(order, [Some(1), Some(3), Some(2)]);
    assert_eq!(proxy.acts(), 1);
}

#[tokio::test]
async fn cut_answer_ends_with_a_reset_and_others_go_on() {
    let (address, mut heard) = server().await;
    let proxy = Proxy::before(&address).await;
    proxy.rule(|_| Act::CutAnswer(10));
    let mut cut = TcpStream::connect(proxy.address()).await.unwrap();
    let error = ask(&mut cut, 0, 1).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error}");
    assert_eq!(heard.recv().await, Some(1), "the request was taken");
    proxy.rule(|_| Act::Pass);
    let mut whole = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut whole, 0, 2).await.unwrap(), frame_of(2, TEXT));
}
