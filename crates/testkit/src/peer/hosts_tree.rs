//! A Debian to boot: one tree of files, made once, that all hosts share.
//!
//! Holds systemd, sshd, Python and sudo, a user `admin` who may do everything, and the packages of the monitoring as apt
//! would fetch them, so that hosts need no network beyond their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::run;
use super::{cache, missing};

/// Of which Debian; part of the name of the cache entry.
const SUITE: &str = "bookworm";
const PACKAGES: &str = "systemd-sysv,dbus,openssh-server,python3,python3-apt,sudo,iproute2,ca-certificates";
/// Installed on hosts by playbooks.
const FETCHED: &str = "prometheus prometheus-alertmanager prometheus-node-exporter";
const JUDGE: &str = "booted hosts";
const INSTALL: &str = "root, mmdebstrap, systemd-nspawn and ssh (Debian: apt-get install mmdebstrap systemd-container \
                       openssh-client), and a Debian mirror for the first run";

/// A tree, and the key that opens it.
#[derive(Clone, Debug)]
pub struct HostsTree {
    pub root: PathBuf,
    pub key: PathBuf,
}

/// The tree, or the end of the test.
pub fn hosts_tree() -> HostsTree {
    for (tool, version) in [("mmdebstrap", "--version"), ("systemd-nspawn", "--version"), ("ssh", "-V")] {
        if let Err(error) = Command::new(tool).arg(version).output() {
            missing(JUDGE, &format!("{INSTALL}; {tool} does not start ({error})"));
        }
    }
    match cache::entry(&format!("hosts-{SUITE}-2"), make) {
        Ok(folder) => HostsTree { root: folder.join("root"), key: folder.join("key") },
        Err(reason) => missing(JUDGE, &format!("{INSTALL}; {reason}")),
    }
}

fn make(folder: &Path) -> Result<(), String> {
    let (root, key) = (folder.join("root"), folder.join("key"));
    let fetch = format!("chroot \"$1\" apt-get install -y -q --no-install-recommends --download-only {FETCHED}");
    let mut bootstrap = Command::new("mmdebstrap");
    // What apt has fetched and listed stays, so that it works without a network.
    bootstrap.args(["--quiet", "--variant=minbase", "--skip=cleanup/apt", &format!("--include={PACKAGES}")]);
    bootstrap.arg(format!("--customize-hook={fetch}"));
    bootstrap.arg("--customize-hook=chroot \"$1\" useradd --create-home --shell /bin/bash admin");
    bootstrap.arg("--customize-hook=rm -f \"$1\"/etc/ssh/ssh_host_* \"$1/etc/hostname\"; chroot \"$1\" ssh-keygen -A");
    run(bootstrap.arg(SUITE).arg(&root), "mmdebstrap")?;
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), "ssh-keygen")?;
    let tell = |error: std::io::Error| format!("prepare {}: {error}", root.display());
    fs::write(root.join("etc/sudoers.d/admin"), "admin ALL=(ALL) NOPASSWD: ALL\n").map_err(tell)?;
    fs::copy(key.with_extension("pub"), root.join("etc/ssh/keys")).map_err(tell)?;
    let settings = "AuthorizedKeysFile /etc/ssh/keys\n";
    fs::write(root.join("etc/ssh/sshd_config.d/keys.conf"), settings).map_err(tell)
}
