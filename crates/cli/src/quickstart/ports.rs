//! A port that is in use, told with its holder and with the flag that moves it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use super::plan::Plan;
use crate::failure::Failure;

/// State "listen" in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// All ports of the plan are free, or the first that is not is named.
pub(super) fn check(plan: &Plan) -> Result<(), Failure> {
    for server in plan.servers() {
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port)) {
            let by = holder(server.port).map(|holder| format!(" by {holder}")).unwrap_or_default();
            return Err(Failure::new(format!("port {}, meant for {}, is in use{by}", server.port, server.name))
                .tried(format!("to listen on {} ({error})", server.address()))
                .next("stop what holds it, or move all ports with --port-base PORT"));
        }
    }
    Ok(())
}

/// Name and id of the process that listens on a port, where the system lets us see it.
fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, port))?;
    let socket = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        // The descriptors of other users' processes are not ours to see.
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let mut targets = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        if targets.any(|target| target.as_os_str() == socket.as_str()) {
            let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", command.trim()));
        }
    }
    None
}

/// The tenth column of the line whose local address ends with the port, in hex.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let ending = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(1)?.ends_with(&ending) && *columns.get(3)? == LISTEN;
        listens.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    })
}

#[cfg(test)]
mod tests;
