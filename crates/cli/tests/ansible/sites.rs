//! Eight hosts, the inventory that names them, and playbooks that are run on them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use twinstream_testkit::hosts::{Hosts, USER};
use twinstream_testkit::peer::{self, Ansible};
use twinstream_testkit::{Folder, Rest, die_with_test, twinstream};

pub(crate) const UPSTREAM: [&str; 3] = ["kafka01", "kafka02", "kafka03"];
pub(crate) const DOWNSTREAM: [&str; 3] = ["zk01", "zk02", "zk03"];
const BESIDE: [&str; 2] = ["connect01", "monitor01"];

pub(crate) struct Sites {
    pub(crate) hosts: Hosts,
    ansible: Ansible,
    package: PathBuf,
    inventory: PathBuf,
    _folder: Folder,
}

/// What a playbook did.
pub(crate) struct Played {
    pub(crate) text: String,
    pub(crate) changed: u32,
}

pub(crate) fn ansible_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ansible");
    folder.canonicalize().expect("the folder of playbooks")
}

impl Sites {
    pub(crate) async fn boot() -> Self {
        let folder = Folder::new();
        let ansible = peer::ansible();
        let names: Vec<&str> = UPSTREAM.into_iter().chain(DOWNSTREAM).chain(BESIDE).collect();
        let hosts = Hosts::boot(&names).await;
        let package = package(&folder.sub("package"));
        let inventory = folder.path().join("inventory");
        copy(&ansible_folder().join("inventory"), &inventory);
        fs::write(inventory.join("zz_addresses.yml"), addresses(&hosts)).expect("write an inventory");
        Self { hosts, ansible, package, inventory, _folder: folder }
    }

    /// Runs a playbook, which must succeed on all hosts.
    pub(crate) fn play(&self, playbook: &str, arguments: &[&str]) -> Played {
        let mut command = self.ansible.command("ansible-playbook", &ansible_folder());
        command.arg("-i").arg(&self.inventory);
        command.args(["-e", &format!("common_package={}", self.package.display())]);
        command.args(["-e", &format!("connectors_url=http://{}:8083", self.hosts.address("connect01"))]);
        command.args(arguments).arg(playbook);
        die_with_test(&mut command);
        let output = command.output().unwrap_or_else(|error| panic!("start ansible-playbook: {error}"));
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{playbook} {arguments:?}: {}\n{text}", output.status);
        let recap = text.split_once("PLAY RECAP").map_or("", |(_, recap)| recap);
        let counts = recap.split_whitespace().filter_map(|word| word.strip_prefix("changed="));
        let counts: Vec<u32> = counts.map(|count| count.parse().expect("a count")).collect();
        assert!(!counts.is_empty(), "{playbook} tells nothing of any host:\n{text}");
        Played { changed: counts.iter().sum(), text }
    }

    /// Runs our own commands on a host, against the broker there.
    pub(crate) fn twinstream(&self, name: &str, arguments: &str) -> String {
        self.hosts.run(name, &format!("twinstream {arguments} --bootstrap-server {}:9092", self.hosts.address(name)))
    }

    pub(crate) fn bootstrap(&self, brokers: &[&str]) -> String {
        let all: Vec<String> = brokers.iter().map(|name| format!("{}:9092", self.hosts.address(name))).collect();
        all.join(",")
    }

    pub(crate) fn registry(&self) -> String {
        format!("http://{}:8081", self.hosts.address("connect01"))
    }

    /// An index beside the worker.
    pub(crate) fn start_index(&self) -> Rest {
        let run =
            "sudo systemd-run --quiet --unit=index twinstream search --listen 0.0.0.0:9200 --data-dir /var/lib/index";
        self.hosts.run("connect01", run);
        Rest::new(format!("http://{}:9200", self.hosts.address("connect01")))
    }

    pub(crate) fn prometheus(&self) -> Rest {
        Rest::new(format!("http://{}:9090", self.hosts.address("monitor01")))
    }
}

/// A package of the binary under test.
fn package(folder: &Path) -> PathBuf {
    let mut dist = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    dist.args(["run", "--quiet", "-p", "xtask", "--", "dist", "--quick", "--binary"]).arg(twinstream());
    dist.arg("--out").arg(folder).current_dir(ansible_folder());
    die_with_test(&mut dist);
    let output = dist.output().unwrap_or_else(|error| panic!("start {dist:?}: {error}"));
    assert!(output.status.success(), "{dist:?}: {}", String::from_utf8_lossy(&output.stderr));
    let files = fs::read_dir(folder).expect("folder of the package").map(|entry| entry.expect("an entry").path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.next().expect("a package")
}

/// What differs from the inventory that users begin with: where hosts are, and how they are entered.
fn addresses(hosts: &Hosts) -> String {
    let mut text = "all:\n  hosts:\n".to_owned();
    for name in hosts.names() {
        let address = hosts.address(name);
        writeln!(text, "    {name}: {{ ansible_host: {address}, broker_host: {address} }}").expect("a string");
    }
    let (key, options) = (hosts.key().display(), hosts.ssh_options().join(" "));
    write!(
        text,
        "  vars:\n    ansible_user: {USER}\n    ansible_ssh_private_key_file: {key}\n    ansible_ssh_common_args: {options}\n"
    )
    .expect("a string");
    text
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy a file");
        }
    }
}
