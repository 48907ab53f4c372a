//! One list of commands of Kafka's own tools, and what they print.
//!
//! All commands of a side run in one Java process, in the order of [`script::COMMANDS`]; each stands on what those before
//! it left behind.

mod normal; // what must differ, made alike
mod script; // the commands

use std::path::Path;

use script::{COMMANDS, Command, Kind};
use twinstream_testkit::Folder;
use twinstream_testkit::peer::{self, Kafka, KafkaTools, Printed};

use crate::verdict::{self, Deviations, Exchange};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_print_what_they_print_of_apache_kafka() {
    let kafka = peer::kafka();
    let (theirs, ours) = crate::both(&kafka).await;
    let (theirs_at, ours_at) = (theirs.bootstrap(), ours.bootstrap());
    let folder = Folder::new();
    script::write_files(folder.path());
    let compared = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run(&kafka, &theirs_at, folder.path()));
            let twinstream = run(&kafka, &ours_at, folder.path());
            (other.join().expect("the commands against Apache Kafka"), twinstream)
        })
    });
    let (theirs, ours) = compared.await.expect("two runs of the commands");
    let differences = verdict::compare(&theirs, &ours);
    let complaints = Deviations::parse(include_str!("deviations.txt")).judge(differences);
    assert!(
        complaints.is_empty(),
        "{} of {} commands print something else:\n{}",
        complaints.len(),
        theirs.len(),
        complaints.join("\n")
    );
}

fn run(kafka: &Kafka, bootstrap: &str, files: &Path) -> Vec<Exchange> {
    let mut tools = kafka.tools();
    let mut exchanges = Vec::new();
    for command in COMMANDS {
        let printed = run_one(&mut tools, command, bootstrap, files);
        let label = format!("{} {}", command.tool.name(), command.words);
        match command.kind {
            Kind::Compared => exchanges.push(Exchange { label, answer: normal::text(&printed, bootstrap) }),
            Kind::Needed => assert_eq!(printed.code, 0, "{label}: {}", printed.text),
        }
    }
    exchanges
}

fn run_one(tools: &mut KafkaTools, command: &Command, bootstrap: &str, files: &Path) -> Printed {
    let server = ["--bootstrap-server", bootstrap];
    let files = files.display().to_string();
    let words: Vec<String> = command.words.split_whitespace().map(|word| word.replace("FILES", &files)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let arguments = match command.tool.takes_server_last() {
        true => [&words[..], &server].concat(),
        false => [&server, &words[..]].concat(),
    };
    tools.run(command.tool.class(), &arguments)
}
