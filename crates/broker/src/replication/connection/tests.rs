use kafka_protocol::messages::FetchRequest;
use tokio::net::TcpListener;

use super::*;

/// A leader that answers each request with a frame of the wanted size, and the follower's end.
async fn leader(sizes: Vec<usize>) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for size in sizes {
            stream.read_u8().await.unwrap();
            stream.write_all(&(size as u32).to_be_bytes()).await.unwrap();
            stream.write_all(&vec![7; size]).await.unwrap();
        }
    });
    let limits = Limits { silence_max: Duration::from_secs(20), answer_bytes_max: 8 << 20 };
    Connection::open(&address, "test".to_owned(), limits).await.unwrap()
}

async fn next(connection: &mut Connection) -> Bytes {
    connection.stream.write_u8(1).await.unwrap();
    connection.read_frame().await.unwrap()
}

#[tokio::test]
async fn the_memory_of_a_large_answer_is_used_for_the_next_one() {
    let mut connection = leader(vec![3 << 20, 3 << 20, 1 << 20]).await;
    let first = next(&mut connection).await;
    assert!(first.len() == 3 << 20 && first.iter().all(|byte| *byte == 7));
    let place = first.as_ptr() as usize;
    drop(first);
    for size in [3 << 20, 1 << 20] {
        let next = next(&mut connection).await;
        assert_eq!(next.len(), size);
        assert!((next.as_ptr() as usize).abs_diff(place) <= 2 * frame::LENGTH_PREFIX_BYTES, "the memory is another");
    }
}

#[tokio::test]
async fn an_answer_that_somebody_holds_stays_as_it_is() {
    let mut connection = leader(vec![100_000, 100_000]).await;
    let first = next(&mut connection).await;
    let held = first.slice(50_000..50_010);
    drop(first);
    drop(next(&mut connection).await);
    assert_eq!(held[..], [7; 10]);
}

#[tokio::test]
async fn memory_of_large_answers_goes_when_small_ones_come() {
    let small = vec![1000; SMALL_ANSWERS_MAX as usize + 2];
    let mut connection = leader([vec![3 << 20], small].concat()).await;
    drop(next(&mut connection).await);
    for _ in 0..=SMALL_ANSWERS_MAX {
        drop(next(&mut connection).await);
    }
    drop(next(&mut connection).await);
    let kept = connection.memory.take().capacity();
    assert!(kept < 100_000, "{kept} bytes are kept");
}

#[tokio::test]
async fn a_length_alone_takes_no_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let liar = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&(8u32 << 20).to_be_bytes()).await.unwrap();
        stream.write_all(&[7; 10]).await.unwrap();
    });
    let limits = Limits { silence_max: Duration::from_secs(20), answer_bytes_max: 8 << 20 };
    let mut connection = Connection::open(&address, "test".to_owned(), limits).await.unwrap();
    let error = connection.read_frame().await.unwrap_err();
    assert!(matches!(error, FetchError::Broken { .. }), "{error}");
    liar.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_claims_more_than_it_has_costs_an_error_and_no_memory() {
    let four_billion = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let header = [&1i32.to_be_bytes()[..], &[0]].concat(); // correlation id, no tags
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lies = [
        [&header[..], &[0; 10], &four_billion].concat(),                 // topics
        [&header[..], &[0; 10], &[2], &[0; 16], &four_billion].concat(), // partitions
        [&header[..], &[0; 10], &[1, 1, 0, 5], &four_billion].concat(),  // the endpoints of leaders, in a tag
        [&header[..], &[0; 10], &[1, 1, 0, 9], &[1; 9]].concat(),        // a tag that is shorter than its length
    ];
    let frames = lies.clone();
    let liar = tokio::spawn(async move {
        for lie in frames {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(&(lie.len() as u32).to_be_bytes()).await.unwrap();
            stream.write_all(&lie).await.unwrap();
        }
    });
    for lie in lies {
        let limits = Limits { silence_max: Duration::from_secs(20), answer_bytes_max: 8 << 20 };
        let mut connection = Connection::open(&address, "test".to_owned(), limits).await.unwrap();
        let error = connection.ask(&FetchRequest::default(), 18).await.unwrap_err();
        assert!(matches!(error, FetchError::Nonsense { .. }), "{lie:?}: {error}");
    }
    liar.await.unwrap();
}
