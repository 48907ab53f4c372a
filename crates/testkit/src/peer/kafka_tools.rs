//! Kafka's tools, many of them in one Java process: what would take seconds for each takes a second for all.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Kafka, cache, missing};

const SOURCE: &str = include_str!("../../peers/kafka/ToolRunner.java");
const CLASS: &str = "ToolRunner";
const JUDGE: &str = "a program on Apache Kafka's classes";
const INSTALL: &str = "a JDK of version 17 or newer, with its compiler (Debian: default-jdk-headless)";
/// Between the words of a command, and before the exit code.
const SEPARATOR: &str = "\x1f";
const END: char = '\x04';

/// A process that runs tools, one after the other.
#[derive(Debug)]
pub struct KafkaTools {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What a tool printed, on both streams, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    pub text: String,
    pub code: i32,
}

impl Kafka {
    /// A process for tools, or the end of the test.
    pub fn tools(&self) -> KafkaTools {
        let mut command = self.program(CLASS, SOURCE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {CLASS}: {error}"));
        let commands = child.stdin.take().expect("stdin of a child");
        let answers = BufReader::new(child.stdout.take().expect("stdout of a child"));
        KafkaTools { child, commands, answers }
    }

    /// A program of ours on Kafka's classes, one source file with one public class, compiled once; or the end of the test.
    pub fn program(&self, class: &str, source: &str) -> Command {
        let name = format!("kafka-program-{class}-{:08x}", super::java::fingerprint(source));
        match cache::entry(&name, |folder| compile(self, folder, class, source)) {
            Ok(folder) => self.command_beside(&folder, class),
            Err(reason) => missing(&format!("{JUDGE} ({class})"), &format!("{INSTALL}; {reason}")),
        }
    }
}

impl KafkaTools {
    /// Runs one tool, by class.
    pub fn run(&mut self, class: &str, arguments: &[&str]) -> Printed {
        let words: Vec<&str> = std::iter::once(class).chain(arguments.iter().copied()).collect();
        writeln!(self.commands, "{}", words.join(SEPARATOR)).expect("a tool runner that listens");
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("what a tool printed");
            assert!(read > 0, "{class} {arguments:?}: the tool runner ended:\n{text}");
            if let Some(code) = line.strip_prefix(END) {
                return Printed { text, code: code.trim().parse().expect("an exit code") };
            }
            text.push_str(&line);
        }
    }
}

impl Drop for KafkaTools {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn compile(kafka: &Kafka, folder: &Path, class: &str, source: &str) -> Result<(), String> {
    let file = folder.join(format!("{class}.java"));
    std::fs::write(&file, source).map_err(|error| format!("write {}: {error}", file.display()))?;
    let mut command = Command::new(compiler(kafka.java_binary()));
    command.args(["-proc:none", "-cp", &kafka.class_path(), "-d"]).arg(folder).arg(&file);
    let output = command.output().map_err(|error| format!("javac does not start ({error})"))?;
    if output.status.success() { Ok(()) } else { Err(format!("javac failed: {}", cache::last_lines(&output))) }
}

/// Beside the Java that runs Kafka; both may be links into a JDK's folder.
fn compiler(java: &Path) -> PathBuf {
    let real = java.canonicalize().ok().and_then(|java| Some(java.parent()?.join("javac")));
    real.filter(|javac| javac.exists()).unwrap_or_else(|| PathBuf::from("javac"))
}
