//! Contexts as a user of a shell meets them: one file, who wins, and what is said when it is wrong.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use twinstream_testkit::{Cluster, Folder, die_with_test, twinstream};

struct Shell {
    file: PathBuf,
    environment: Vec<(&'static str, String)>,
    _folder: Folder,
}

impl Shell {
    fn new() -> Self {
        let folder = Folder::new();
        Self { file: folder.path().join("deep").join("contexts.yaml"), environment: Vec::new(), _folder: folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(twinstream());
        command.args(arguments).env("TWINSTREAM_CONTEXTS", &self.file);
        for name in ["BOOTSTRAP", "REGISTRY", "WORKER", "CONTEXT"] {
            command.env_remove(format!("TWINSTREAM_{name}"));
        }
        command.envs(self.environment.iter().cloned());
        die_with_test(&mut command);
        command.output().expect("run a command")
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[arguments, &["-o", "json"]].concat())).expect("JSON")
    }

    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What a command would use, and why.
    fn bootstrap(&self, arguments: &[&str]) -> (String, String) {
        let rows = self.json(&[&["context", "show", "--effective"], arguments].concat());
        let rows = rows.as_array().expect("rows").iter();
        let row = rows.clone().find(|row| row["value"] == "bootstrap.servers").expect("the servers");
        (row["is"].as_str().unwrap_or_default().to_owned(), row["source"].as_str().unwrap_or_default().to_owned())
    }
}

fn pair(is: &str, source: &str) -> (String, String) {
    (is.to_owned(), source.to_owned())
}

#[test]
fn flag_wins_over_property_environment_context_and_default_and_the_source_is_told() {
    let mut shell = Shell::new();
    assert_eq!(shell.bootstrap(&[]), pair("127.0.0.1:9092", "default"));
    shell.text(&["context", "add", "east", "-b", "east:1", "--use", "-X", "client.id=me"]);
    shell.text(&["context", "add", "west", "-b", "west:1"]);
    assert_eq!(shell.bootstrap(&[]), pair("east:1", "context east"));
    shell.environment.push(("TWINSTREAM_CONTEXT", "west".to_owned()));
    assert_eq!(shell.bootstrap(&[]), pair("west:1", "context west"));
    shell.environment.push(("TWINSTREAM_BOOTSTRAP", "there:1".to_owned()));
    assert_eq!(shell.bootstrap(&[]), pair("there:1", "environment TWINSTREAM_BOOTSTRAP"));
    assert_eq!(shell.bootstrap(&["--context", "east"]), pair("east:1", "context east"), "named on the command line");
    let property = ["-X", "bootstrap.servers=x:1"];
    assert_eq!(shell.bootstrap(&property), pair("x:1", "flag -X bootstrap.servers"));
    // What is shown is what is done: an address that nobody listens at is named in the error.
    let (code, told) = shell.failure(&["topic", "list", "-b", "127.0.0.1:1", "-X", "bootstrap.servers=127.0.0.1:2"]);
    assert!(code == 1 && told.contains("the cluster at 127.0.0.1:1 (flag -b)"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_needs_no_flags_in_a_context() {
    let (cluster, shell) = (Cluster::start(1).await, Shell::new());
    shell.text(&["context", "add", "here", "-b", &cluster.bootstrap(), "--use"]);
    shell.text(&["topic", "create", "orders", "-p", "1"]);
    assert_eq!(shell.text(&["topic", "list", "-o", "name"]), "orders\n");
    assert_eq!(shell.json(&["topic", "list", "--context", "here"])[0]["topic"], "orders");
}

#[test]
fn contexts_are_listed_changed_and_deleted() {
    let shell = Shell::new();
    assert_eq!(shell.json(&["context", "list"]), json!([]));
    shell.text(&["context", "add", "east", "-b", "east:1", "-w", "http://w:8083"]);
    let (code, told) = shell.failure(&["context", "add", "east", "-b", "x:1"]);
    assert!(code == 1 && told.contains("is there already") && told.contains("context edit"), "{told}");
    shell.text(&["context", "edit", "east", "--registry", "http://r:8081", "--unset", "worker"]);
    let shown = shell.json(&["context", "show", "east"]);
    assert_eq!(shown["values"], json!({"bootstrap_servers": "east:1", "registry": "http://r:8081"}));
    let (code, told) = shell.failure(&["context", "use", "eats"]);
    assert!(code == 3 && told.contains("did you mean `east`?"), "{told}");
    shell.text(&["context", "use", "east"]);
    assert!(shell.text(&["context", "list"]).contains("east     *"), "{}", shell.text(&["context", "list"]));
    let (code, told) = shell.failure(&["context", "edit", "east", "--delete"]);
    assert!(code == 2 && told.contains("--yes"), "{told}");
    shell.text(&["context", "edit", "east", "--delete", "--yes"]);
    let (code, _) = shell.failure(&["context", "show"]);
    assert_eq!(code, 3, "no context is the current one");
}

#[test]
fn a_file_that_is_wrong_stops_commands_but_no_server() {
    let shell = Shell::new();
    fs::create_dir_all(shell.file.parent().expect("a folder")).expect("a folder");
    fs::write(&shell.file, "contexts: {a: {bootstrap: x}}").expect("a file");
    let (code, told) = shell.failure(&["topic", "list"]);
    assert!(code == 2 && told.contains("unknown field `bootstrap`") && told.contains("contexts.yaml"), "{told}");
    assert!(told.starts_with("error: ") && told.contains("next:"), "{told}");
    let (code, told) = shell.failure(&["broker", "--override", "lisners=x"]);
    assert!(code == 1 && !told.contains("contexts"), "{told}");
}
