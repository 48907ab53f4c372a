//! A network of its own for the brokers of one cluster, whose links can be cut.
//!
//! ```text
//!   root namespace      hub namespace            broker namespaces
//!   the test, clients ── door ┌ b1 ─────────── eth0 of broker 1 (198.18.S.1)
//!   (198.18.S.253)            ├ b2 ─────────── eth0 of broker 2 (198.18.S.2)
//!                             └ b3 ─────────── eth0 of broker 3 (198.18.S.3)
//! ```
//!
//! Picture: every broker lives in its own network namespace; all that brokers and clients say to each other is routed
//! through the hub, where one nftables chain drops what must not arrive. Dropping, not refusing: to both sides it looks
//! like a cable that was pulled, and their connections stay open until they notice by themselves.
//!
//! Invariants: the root namespace gets one interface and one route, and no firewall rule; everything else vanishes with
//! the namespaces. They are removed on drop, and what a killed test left behind when its slot is taken again. A slot S is
//! held by a locked file, so that test processes side by side have different ones.
//!
//! Needs root, `ip` and `nft`; without them the test ends as it does for want of a judge.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::peer::missing;

/// What the judge is called when it cannot run.
const JUDGE: &str = "network faults";
const INSTALL: &str = "root, iproute2 and nftables (Debian: apt-get install iproute2 nftables)";
/// 198.18.0.0/15 is for benchmarks, so nobody lives there (RFC 2544).
const SLOTS: u8 = 100;
const HUB: u8 = 254;
const CLIENTS: u8 = 253;

/// One side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A broker by its node id.
    Broker(usize),
    /// The test with all its clients.
    Clients,
}

/// What happens to packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Drop,
    /// The sender is told that the connection is gone.
    Reset,
}

/// Namespaces and links of one cluster.
#[derive(Debug)]
pub struct Network {
    slot: u8,
    brokers: Mutex<usize>,
    rules: Mutex<BTreeSet<(End, End, Rule)>>,
    // Last, so that the slot is free only when everything is gone.
    _lock: File,
}

impl Network {
    /// A network for so many brokers, or the end of the test.
    pub fn new(brokers: usize) -> Self {
        if let Err(reason) = possible() {
            missing(JUDGE, &format!("{INSTALL}; {reason}"));
        }
        let (slot, lock) = take_slot();
        remove_left_overs(slot);
        let network = Self { slot, brokers: Mutex::new(0), rules: Mutex::new(BTreeSet::new()), _lock: lock };
        network.make_hub();
        for _ in 0..brokers {
            network.add_broker();
        }
        network.apply();
        network
    }

    /// Links one broker more; its id.
    pub fn add_broker(&self) -> usize {
        let mut brokers = self.brokers.lock();
        *brokers += 1;
        let id = *brokers;
        let (name, hub, link) = (self.namespace(id), self.hub(), format!("b{id}"));
        ip(&["netns", "add", &name]);
        ip(&["-n", &hub, "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        let (own, router) = (self.address(id).to_string(), self.at(HUB).to_string());
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        ip(&["-n", &name, "addr", "add", &format!("{own}/32"), "dev", "eth0"]);
        ip(&["-n", &name, "link", "set", "eth0", "up"]);
        ip(&["-n", &name, "route", "add", &router, "dev", "eth0"]);
        ip(&["-n", &name, "route", "add", "default", "via", &router]);
        ip(&["-n", &hub, "addr", "add", &format!("{router}/32"), "dev", &link]);
        ip(&["-n", &hub, "link", "set", &link, "up"]);
        ip(&["-n", &hub, "route", "add", &own, "dev", &link]);
        id
    }

    pub fn address(&self, broker: usize) -> Ipv4Addr {
        self.at(u8::try_from(broker).expect("few brokers"))
    }

    /// The file that stands for where this broker lives.
    pub fn namespace_file(&self, broker: usize) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(broker))
    }

    /// Where clients are.
    pub fn clients(&self) -> Ipv4Addr {
        self.at(CLIENTS)
    }

    /// Lets a command run where this broker lives.
    pub fn move_into(&self, broker: usize, command: &mut Command) {
        let path = self.namespace_file(broker);
        let file = File::open(&path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        // SAFETY: between fork and exec one system call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?;
                Ok(())
            });
        }
    }

    /// Nothing arrives any more from one end at the other; the way back stays open.
    pub fn cut_one_way(&self, from: End, to: End) {
        self.rules.lock().insert((from, to, Rule::Drop));
        self.apply();
    }

    /// Cuts links in both directions, all at the same moment.
    pub fn cut(&self, links: &[(End, End)]) {
        let mut rules = self.rules.lock();
        for (one, other) in links {
            rules.insert((*one, *other, Rule::Drop));
            rules.insert((*other, *one, Rule::Drop));
        }
        drop(rules);
        self.apply();
    }

    /// Links work again, those that were cut in one direction as well.
    pub fn mend(&self, links: &[(End, End)]) {
        let is_of = |from: &End, to: &End| links.contains(&(*from, *to)) || links.contains(&(*to, *from));
        self.rules.lock().retain(|(from, to, _)| !is_of(from, to));
        self.apply();
    }

    /// Answers do not reach the clients, and what they send next ends their connections.
    pub fn reset_clients_of(&self, broker: usize) {
        let mut rules = self.rules.lock();
        rules.insert((End::Broker(broker), End::Clients, Rule::Drop));
        rules.insert((End::Clients, End::Broker(broker), Rule::Reset));
        drop(rules);
        self.apply();
    }

    /// All links between this broker and the other brokers.
    pub fn links_to_brokers(&self, broker: usize) -> Vec<(End, End)> {
        let others = (1..=*self.brokers.lock()).filter(|other| *other != broker);
        others.map(|other| (End::Broker(broker), End::Broker(other))).collect()
    }

    /// Every link works again.
    pub fn heal(&self) {
        self.rules.lock().clear();
        self.apply();
    }

    fn namespace(&self, broker: usize) -> String {
        format!("{}{broker}", prefix(self.slot))
    }

    fn hub(&self) -> String {
        format!("{}hub", prefix(self.slot))
    }

    fn at(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.slot, host)
    }

    fn make_hub(&self) {
        let (hub, up) = (self.hub(), interface(self.slot));
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "set", "lo", "up"]);
        run(Command::new("ip").args(["netns", "exec", &hub, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]), "");
        ip(&["link", "add", &up, "type", "veth", "peer", "name", "door", "netns", &hub]);
        let (clients, router) = (self.at(CLIENTS).to_string(), self.at(HUB).to_string());
        ip(&["addr", "add", &format!("{clients}/32"), "dev", &up]);
        ip(&["link", "set", &up, "up"]);
        ip(&["-n", &hub, "addr", "add", &format!("{router}/32"), "dev", "door"]);
        ip(&["-n", &hub, "link", "set", "door", "up"]);
        ip(&["-n", &hub, "route", "add", &clients, "dev", "door"]);
        ip(&["route", "add", &router, "dev", &up, "src", &clients]);
        ip(&["route", "add", &format!("{}/24", self.at(0)), "via", &router, "src", &clients]);
    }

    /// Replaces the chain as one transaction.
    fn apply(&self) {
        let mut script =
            "add table inet faults\nflush table inet faults\ntable inet faults {\n chain forward {\n".to_owned();
        script.push_str("  type filter hook forward priority 0; policy accept;\n");
        for (from, to, rule) in self.rules.lock().iter() {
            let (from, to) = (self.end(*from), self.end(*to));
            script.push_str(&match rule {
                Rule::Drop => format!("  ip saddr {from} ip daddr {to} drop\n"),
                Rule::Reset => format!("  ip saddr {from} ip daddr {to} meta l4proto tcp reject with tcp reset\n"),
            });
        }
        script.push_str(" }\n}\n");
        run(Command::new("ip").args(["netns", "exec", &self.hub(), "nft", "-f", "-"]), &script);
    }

    fn end(&self, end: End) -> Ipv4Addr {
        match end {
            End::Broker(id) => self.address(id),
            End::Clients => self.at(CLIENTS),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove_left_overs(self.slot);
    }
}

fn prefix(slot: u8) -> String {
    format!("twinstream-{slot}-")
}

fn interface(slot: u8) -> String {
    format!("twinstream-{slot}")
}

fn possible() -> Result<(), String> {
    for tool in ["ip", "nft"] {
        let version = Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.map_err(|error| format!("{tool} does not start ({error})"))?;
    }
    if !rustix::process::geteuid().is_root() {
        return Err("this user is not root".to_owned());
    }
    let probe = format!("twinstream-probe-{}", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &probe]).output().map_err(|error| error.to_string())?;
    if !made.status.success() {
        return Err(format!("ip netns add: {}", String::from_utf8_lossy(&made.stderr).trim()));
    }
    ip(&["netns", "del", &probe]);
    Ok(())
}

fn take_slot() -> (u8, File) {
    let folder = std::env::temp_dir().join("twinstream-networks");
    fs::create_dir_all(&folder).expect("folder of network locks");
    for slot in 0..SLOTS {
        let file = File::create(folder.join(slot.to_string())).expect("file of a network lock");
        if file.try_lock().is_ok() {
            return (slot, file);
        }
    }
    panic!("all {SLOTS} test networks are in use; {} holds their locks", folder.display());
}

/// The interface in the root namespace goes with its peer in the hub.
fn remove_left_overs(slot: u8) {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for name in names.filter(|name| name.starts_with(&prefix(slot))) {
        // Not `ip`: on drop this must not panic, and a namespace that stays is removed by the next user of the slot.
        Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status().ok();
    }
    Command::new("ip").args(["link", "del", &interface(slot)]).stderr(Stdio::null()).status().ok();
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments), "");
}

fn run(command: &mut Command, input: &str) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a piped stdin");
    stdin.write_all(input.as_bytes()).unwrap_or_else(|error| panic!("write to {command:?}: {error}"));
    drop(stdin);
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("wait for {command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {complaint}\n{input}");
}

#[cfg(test)]
mod tests;
