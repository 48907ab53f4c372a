//! Calls that have a better replacement, and texts that make sense on one machine only.

use crate::tidy::tree::{File, Tree};

struct Ban {
    call: &'static str,
    instead: &'static str,
    applies: fn(&File) -> bool,
}

// The first halves are apart so that this file does not complain about itself.
const BANS: &[Ban] = &[
    Ban {
        call: concat!("#[", "ignore"),
        instead: "a test runs, or names the judge it lacks (testkit::peer)",
        applies: everywhere,
    },
    Ban { call: concat!("unbounded", "_channel"), instead: "a channel with a named bound", applies: everywhere },
    Ban { call: concat!("allow", "(clippy::"), instead: "`expect(..., reason = ...)`", applies: everywhere },
    Ban { call: concat!("process::", "exit("), instead: "return an ExitCode from main", applies: everywhere },
    Ban { call: concat!("Instant::", "now("), instead: "take `now` as an argument", applies: in_core },
    Ban { call: concat!("SystemTime::", "now("), instead: "take `now` as an argument", applies: in_core },
    Ban {
        call: concat!("std::", "fs"),
        instead: "return what to persist; files belong to log and quorum",
        applies: in_core,
    },
    Ban { call: concat!("std::", "net"), instead: "return what to send; sockets belong to servers", applies: in_core },
    Ban { call: concat!("Uuid::", "new_v4("), instead: "take the id as an argument", applies: in_core },
    Ban {
        call: concat!("thread::", "sleep("),
        instead: "wait for a condition (testkit::wait_until)",
        applies: in_test,
    },
    Ban { call: concat!("time::", "sleep("), instead: "wait for a condition (testkit::wait_until)", applies: in_test },
    Ban { call: concat!("eprint", "ln!("), instead: "tracing, or crates/cli/src/output.rs", applies: beyond_tests },
];

const CORES: [&str; 5] = [
    "crates/model/src/",
    "crates/protocol/src/",
    "crates/metadata/src/",
    "crates/replication/src/",
    "crates/coordinator/src/",
];

fn everywhere(_: &File) -> bool {
    true
}

fn in_core(file: &File) -> bool {
    CORES.iter().any(|core| file.within(core)) && !file.is_test()
}

/// What waits for a condition has to sleep between two looks; a test itself does not.
fn in_test(file: &File) -> bool {
    file.is_test() && !file.text.contains("fn wait_") && !file.path.contains("/support/")
}

fn beyond_tests(file: &File) -> bool {
    !file.is_test() && !file.within("crates/xtask/") && !file.within("crates/testkit/")
}

pub(super) fn calls(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.rust() {
        for ban in BANS.iter().filter(|ban| (ban.applies)(file)) {
            for number in lines_with(file, ban.call) {
                complaints.push(format!("{}:{number}: `{}` is banned here: {}", file.path, ban.call, ban.instead));
            }
        }
    }
    complaints
}

pub(super) fn machine(tree: &Tree) -> Vec<String> {
    let places = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let mut complaints = Vec::new();
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for place in places {
            for number in lines_with(file, place) {
                complaints.push(format!(
                    "{}:{number}: `{place}` exists on one machine only; take it from the environment",
                    file.path
                ));
            }
        }
    }
    complaints
}

/// Line numbers where code, not a comment, holds the text.
fn lines_with<'a>(file: &'a File, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let lines = file.text.lines().enumerate();
    lines
        .filter(move |(_, line)| !line.trim_start().starts_with("//") && line.contains(text))
        .map(|(index, _)| index + 1)
}
