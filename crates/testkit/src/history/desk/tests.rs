//! Notes of another process arrive in order, and what it leaves open is ended for it.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::wait::wait_until;

struct Office {
    recorder: Recorder,
    path: PathBuf,
    desk: Desk,
    _folder: tempfile::TempDir,
}

fn office() -> Office {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("history.jsonl")).unwrap();
    let path = folder.path().join("desk");
    let desk = Desk::open(&path, &recorder).unwrap();
    Office { recorder, path, desk, _folder: folder }
}

/// Another process, in short.
async fn writes(path: &Path, notes: impl FnOnce(Pen) + Send + 'static) {
    let path = path.to_path_buf();
    tokio::task::spawn_blocking(move || notes(Pen::at(&path).unwrap())).await.unwrap();
}

fn values(worker: Worker) -> Vec<Value> {
    vec![Value { worker, number: 0 }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_is_in_the_history_before_its_writer_goes_on() {
    let office = office();
    let history = office.recorder.clone();
    writes(&office.path, move |pen| {
        let worker = pen.worker();
        assert_eq!(pen.worker(), worker, "one process is one worker");
        for what in [What::Begin, What::Send { partition: 1, values: values(worker) }] {
            pen.note(worker, what.clone());
            let last = history.events().pop().unwrap();
            assert_eq!((last.worker, last.what), (worker, what));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_open_is_ended_for_it() {
    for (notes, outcome) in [
        (vec![What::Begin], Outcome::Aborted),
        (vec![What::Begin, What::Ending { commit: false }], Outcome::Aborted),
        (vec![What::Begin, What::Ending { commit: true }], Outcome::Unknown),
    ] {
        let office = office();
        writes(&office.path, move |pen| {
            let worker = pen.worker();
            pen.note(worker, What::Send { partition: 1, values: values(worker) });
            notes.into_iter().for_each(|what| pen.note(worker, what));
        })
        .await;
        let said = office.desk.closed().await;
        let [.., What::Unknown { values: lost, .. }, What::Ended { outcome: end }] = &said[..] else {
            panic!("{said:?}")
        };
        assert!(lost.len() == 1 && *end == outcome, "{said:?}");
        assert_eq!(office.recorder.events().len(), said.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_or_answered_is_left_as_it_is() {
    let office = office();
    writes(&office.path, move |pen| {
        let worker = pen.worker();
        pen.note(worker, What::Begin);
        pen.note(worker, What::Send { partition: 1, values: values(worker) });
        pen.note(worker, What::Sent { partition: 1, values: values(worker), offset: 3 });
        pen.note(worker, What::Ended { outcome: Outcome::Committed });
    })
    .await;
    assert_eq!(office.desk.closed().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_waits_at_the_moment_it_is_told_to() {
    let office = office();
    let path = office.path.clone();
    let writer = tokio::spawn(async move {
        writes(&path, |pen| {
            let worker = pen.worker();
            for _ in 0..1_000 {
                pen.note(worker, What::Begin);
                pen.note(worker, What::Ending { commit: true });
            }
        })
        .await;
    });
    assert!(office.desk.stop_at(Moment::Committing).await);
    let said = office.desk.said();
    assert_eq!(said.last(), Some(&What::Ending { commit: true }));
    office.desk.go_on();
    wait_until("it goes on", Duration::from_secs(30), || async { office.desk.said().len() > said.len() }).await;
    writer.await.unwrap();
    assert!(!office.desk.stop_at(Moment::Written).await, "it never came to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_note_ends_the_connection() {
    let office = office();
    let mut stream = UnixStream::connect(&office.path).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let Office { desk, recorder, .. } = office;
    assert!(desk.closed().await.is_empty() && recorder.is_empty());
}
