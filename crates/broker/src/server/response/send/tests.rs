use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;

use rustix::fs::Advice;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use twinstream_testkit::peer::missing;

use super::*;

const STALL: Duration = Duration::from_secs(20);
const STEPS_BROUGHT_BACK: u32 = 4;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// Where this program was built: unlike the folder for temporary files, no file system that lives in memory.
fn on_disk() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// A range of a file that is on the disk and not in memory.
fn cold(bytes: &[u8]) -> FileRange {
    let mut file: File = tempfile::tempfile_in(on_disk()).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    if is_in_memory(&file, &(0..bytes.len() as u64)) {
        missing("page cache", "a build folder on a file system that is on a disk, not in memory");
    }
    FileRange { file: Arc::new(file), position: 0, length: bytes.len() }
}

#[tokio::test]
async fn what_left_memory_since_the_answer_set_out_is_brought_back_off_the_runtime_whichever_range_it_is() {
    for length in [GATHER_MAX, GATHER_MAX + 1] {
        let (mut client, server) = pair().await;
        let mut out = Outbox::new(&server, STALL, GATHERED_MAX);
        // A client that took the ranges before slowly.
        out.begun = out.begun.checked_sub(FRESH_FOR * 2).unwrap();
        let data: Vec<u8> = (0..length).map(|n| (n / 3) as u8).collect();
        let part = ResponsePart::File(cold(&data));

        let all_are_busy = BRINGING_BACK.acquire_many(STEPS_BROUGHT_BACK).await.unwrap();
        {
            let mut put = pin!(out.put(&part, true));
            let polled = std::future::poll_fn(|cx| Poll::Ready(put.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "{length} bytes were read from the disk by a thread of the runtime");
            drop(all_are_busy);
            put.await.unwrap();
        }
        out.flush(false).await.unwrap();
        drop(server);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got == data, "the bytes differ");
    }
}
