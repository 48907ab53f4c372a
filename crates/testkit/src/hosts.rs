//! Hosts: machines with a systemd of their own, booted from one tree, that only ssh and their ports lead into.
//!
//! ```text
//!   the test, ansible ──ssh── host 1 .. host N        each: network namespace, cgroup, systemd as process 1
//!                                                     /            the shared tree, and what this host changed
//!                                                     /var/lib/twinstream   its disk
//! ```
//!
//! Picture: [`Hosts::boot`] starts one systemd-nspawn for each name, in a namespace of a [`Network`], so links between hosts
//! can be cut. [`Hosts::kill`] is the loss of power: every process of the host is gone at once, what it had written stays,
//! and [`Hosts::start`] boots it again.
//!
//! Invariants: the shared tree is never written. Everything vanishes on drop, and what a killed test left is removed by the
//! next one that gets the same network. It is not a virtual machine: the kernel, and with it the page cache, is shared, so a
//! kill loses nothing that was written and not synced.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::nemesis::{End, Network};
use crate::peer::{self, HostsTree};
use crate::process::{Process, die_with_test};
use crate::wait::wait_until;

/// Who logs in; may become root.
pub const USER: &str = "admin";
const BOOTED_WITHIN: Duration = Duration::from_secs(90);
/// Where systemd looks for its own hierarchies: both of a mixed machine, or the only one.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

pub struct Hosts {
    names: Vec<String>,
    tree: HostsTree,
    folder: PathBuf,
    running: Vec<Option<Process>>,
    pub network: Network,
}

impl Hosts {
    /// Hosts of these names, all up, or the end of the test.
    pub async fn boot(names: &[&str]) -> Self {
        let tree = peer::hosts_tree();
        let network = Network::new(names.len());
        let folder = std::env::temp_dir().join(format!("twinstream-hosts-{}", network.address(1)));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let running = names.iter().map(|_| None).collect();
        let mut hosts = Self { names, tree, folder, running, network };
        hosts.remove_everything();
        fs::create_dir_all(&hosts.folder).expect("folder of hosts");
        for index in 0..hosts.names.len() {
            hosts.start_at(index);
        }
        for name in &hosts.names {
            hosts.wait_ssh(name).await;
        }
        hosts
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn address(&self, name: &str) -> Ipv4Addr {
        self.network.address(self.number(name))
    }

    /// The private key that opens all hosts.
    pub fn key(&self) -> &Path {
        &self.tree.key
    }

    /// What ssh is told, also by others that call it.
    pub fn ssh_options(&self) -> Vec<String> {
        let known = self.folder.join("known_hosts");
        let known = format!("UserKnownHostsFile={}", known.display());
        ["-o", "StrictHostKeyChecking=no", "-o", &known, "-o", "ConnectTimeout=5"].map(str::to_owned).to_vec()
    }

    /// The power of this host fails.
    pub fn kill(&mut self, name: &str) {
        let index = self.number(name) - 1;
        kill_all(&self.groups(index));
        self.running[index] = None;
        remove_groups(&self.groups(index));
    }

    /// Boots a host that was killed.
    pub async fn start(&mut self, name: &str) {
        self.start_at(self.number(name) - 1);
        self.wait_ssh(name).await;
    }

    /// Cuts every link between these hosts and those, or mends them.
    pub fn set_links(&self, here: &[&str], there: &[&str], cut: bool) {
        let end = |name: &&str| End::Broker(self.number(name));
        let links = here.iter().flat_map(|one| there.iter().map(move |other| (end(one), end(other))));
        let links: Vec<(End, End)> = links.collect();
        if cut { self.network.cut(&links) } else { self.network.mend(&links) }
    }

    /// Runs a command of a shell on this host.
    pub fn try_run(&self, name: &str, command: &str) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.arg("-q").arg("-i").arg(self.key()).args(self.ssh_options());
        ssh.arg(format!("{USER}@{}", self.address(name))).arg(command).stdin(Stdio::null());
        die_with_test(&mut ssh);
        ssh.output().unwrap_or_else(|error| panic!("start ssh: {error}"))
    }

    /// Runs a command that must succeed; its stdout.
    pub fn run(&self, name: &str, command: &str) -> String {
        let output = self.try_run(name, command);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?} on {name}: {}\n{stdout}\n{stderr}", output.status);
        stdout.into_owned()
    }

    fn number(&self, name: &str) -> usize {
        let index = self.names.iter().position(|known| known == name);
        index.unwrap_or_else(|| panic!("no host is named {name}")) + 1
    }

    fn folder_of(&self, index: usize) -> PathBuf {
        self.folder.join(&self.names[index])
    }

    fn groups(&self, index: usize) -> Vec<PathBuf> {
        let name = format!("twinstream-{}", self.network.address(index + 1));
        hierarchies().into_iter().map(|root| root.join(&name)).collect()
    }

    fn start_at(&mut self, index: usize) {
        let (folder, groups) = (self.folder_of(index), self.groups(index));
        let [upper, work, root, disk] = ["upper", "work", "root", "disk"].map(|part| folder.join(part));
        if !root.exists() {
            for part in [&upper.join("etc"), &work, &root, &disk] {
                fs::create_dir_all(part).unwrap_or_else(|error| panic!("create {}: {error}", part.display()));
            }
            fs::write(upper.join("etc/hosts"), self.hosts_file()).expect("write a hosts file");
            let layers = format!(
                "lowerdir={},upperdir={},workdir={}",
                self.tree.root.display(),
                upper.display(),
                work.display()
            );
            let mut mount = Command::new("mount");
            must(mount.args(["-t", "overlay", "overlay", "-o", &layers]).arg(&root));
        }
        for group in &groups {
            fs::create_dir_all(group).unwrap_or_else(|error| panic!("create {}: {error}", group.display()));
        }
        // In its groups before it is what it shall be: systemd-nspawn wants the same one in every hierarchy.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "for group; do [ \"$group\" = -- ] && break; echo $$ > \"$group/cgroup.procs\"; done\n\
                             while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"",
            "sh",
        ]);
        command.args(&groups).arg("--").args(["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]);
        command.arg(format!("--network-namespace-path={}", self.network.namespace_file(index + 1).display()));
        command.arg(format!("--directory={}", root.display())).arg(format!("--hostname={}", self.names[index]));
        command.arg(format!("--bind={}:/var/lib/twinstream", disk.display())).arg("--console=pipe");
        command.stdin(Stdio::null());
        self.running[index] = Some(Process::spawn(&self.names[index], command, &folder.join("console")));
    }

    fn hosts_file(&self) -> String {
        let lines = self.names.iter().map(|name| format!("{} {name}\n", self.address(name)));
        std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(lines).collect()
    }

    async fn wait_ssh(&self, name: &str) {
        let what = format!("ssh to {name}; {} tells of its boot", self.folder.join(name).join("console").display());
        wait_until(&what, BOOTED_WITHIN, || async { self.try_run(name, "true").status.success() }).await;
    }

    /// Also what is not of this test, but of an earlier one with the same network.
    fn remove_everything(&mut self) {
        for index in 0..self.names.len() {
            kill_all(&self.groups(index));
            self.running[index] = None;
            remove_groups(&self.groups(index));
        }
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| Path::new(point).starts_with(&self.folder)) {
            Command::new("umount").args(["--lazy", point]).status().ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in &self.names {
                let journal = self.try_run(name, "sudo journalctl --no-pager -q -p warning -n 15");
                eprintln!("--- warnings of {name}\n{}", String::from_utf8_lossy(&journal.stdout));
            }
        }
        self.remove_everything();
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let there = HIERARCHIES.map(PathBuf::from).into_iter().filter(|root| root.join("cgroup.procs").exists());
    there.collect()
}

/// Processes of a host, of the groups below as well, until none is left.
fn kill_all(groups: &[PathBuf]) {
    let mut processes = Vec::new();
    // Those that are born meanwhile are found in the next round.
    for _ in 0..100 {
        processes.clear();
        groups.iter().for_each(|group| add_processes(group, &mut processes));
        if processes.is_empty() {
            return;
        }
        for process in &processes {
            if let Some(process) = rustix::process::Pid::from_raw(*process) {
                rustix::process::kill_process(process, rustix::process::Signal::KILL).ok();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("processes {processes:?} do not die");
}

fn add_processes(group: &Path, found: &mut Vec<i32>) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|process| *process > 0));
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_processes(&entry.path(), found);
        }
    }
}

fn remove_groups(groups: &[PathBuf]) {
    for group in groups {
        for entry in fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_groups(&[entry.path()]);
            }
        }
        fs::remove_dir(group).ok();
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
