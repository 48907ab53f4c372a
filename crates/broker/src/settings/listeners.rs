//! Listeners, what of them is advertised, and where the quorum is.
//!
//! A listener is `NAME://host:port`. Its security protocol comes from `listener.security.protocol.map`; only PLAINTEXT
//! is served so far, and a listener that asks for more is refused rather than opened without it. An empty host binds
//! every address; since clients cannot connect to that, the address that this machine routes with is advertised, as
//! an IPv4 literal, because several clients try `::1` first when they are given a name.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use twinstream_model::NodeId;

use super::values::{SettingsError, Values};

const BOOTSTRAP_SERVERS: &str = "controller.quorum.bootstrap.servers";

/// A socket to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    /// Empty for every address.
    pub(crate) host: String,
    /// 0 for a port that the system chooses.
    pub(crate) port: u16,
    /// Listed in `controller.listener.names`: opened, but not advertised to clients.
    pub(crate) is_controller: bool,
}

/// What clients are told about a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdvertisedListener {
    pub(crate) name: String,
    pub(crate) host: String,
    /// 0 until the listener is bound, when its port was left to the system.
    pub(crate) port: u16,
}

/// One entry of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    pub(crate) id: NodeId,
    pub(crate) host: String,
    /// 0 for "this node, on its own listener", when no voters are configured.
    pub(crate) port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.name, self.host, self.port)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Listeners {
    pub(super) bound: Vec<Listener>,
    pub(super) advertised: Vec<AdvertisedListener>,
    pub(super) inter_broker: String,
}

pub(super) fn parse(values: &Values) -> Result<Listeners, SettingsError> {
    let controller_names = values.list("controller.listener.names");
    let mut bound = Vec::new();
    for text in values.list("listeners") {
        let (name, host, port) = split_url(&text)
            .ok_or_else(|| values.malformed("listeners", "a comma-separated list of NAME://host:port"))?;
        let is_controller = controller_names.iter().any(|controller| controller.eq_ignore_ascii_case(&name));
        bound.push(Listener { name, host, port, is_controller });
    }
    check_unique(values, &bound)?;
    check_protocols(values, &bound, &controller_names)?;
    let advertised = advertised(values, &bound)?;
    let inter_broker = inter_broker(values, &advertised)?;
    Ok(Listeners { bound, advertised, inter_broker })
}

fn check_unique(values: &Values, bound: &[Listener]) -> Result<(), SettingsError> {
    for (index, listener) in bound.iter().enumerate() {
        let earlier = &bound[..index];
        if earlier.iter().any(|other| other.name == listener.name) {
            return Err(values.malformed("listeners", "each listener name once"));
        }
        if listener.port != 0
            && earlier.iter().any(|other| (&other.host, other.port) == (&listener.host, listener.port))
        {
            return Err(values.malformed("listeners", "each host and port once"));
        }
    }
    if bound.iter().all(|listener| listener.is_controller) {
        return Err(values.malformed("listeners", "at least one listener that is not in controller.listener.names"));
    }
    Ok(())
}

fn check_protocols(values: &Values, bound: &[Listener], controller_names: &[String]) -> Result<(), SettingsError> {
    let map = protocol_map(values)?;
    for listener in bound {
        let mapped = map.get(&listener.name).map(String::as_str);
        // Kafka maps controller listeners to PLAINTEXT by itself when the map was left alone.
        let is_default_controller =
            !values.is_given("listener.security.protocol.map") && controller_names.contains(&listener.name);
        match mapped {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                let reason = format!(
                    "listener {} asks for {protocol}, which a later release brings; only PLAINTEXT is served so far",
                    listener.name
                );
                return Err(values.refused("listeners", reason));
            }
            None if is_default_controller => {}
            None => {
                let allowed = format!("a map that has an entry for listener {}, such as {0}:PLAINTEXT", listener.name);
                return Err(values.malformed("listener.security.protocol.map", &allowed));
            }
        }
    }
    Ok(())
}

fn protocol_map(values: &Values) -> Result<HashMap<String, String>, SettingsError> {
    let entry = |text: String| {
        let (name, protocol) = text.split_once(':')?;
        Some((name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase()))
    };
    values
        .list("listener.security.protocol.map")
        .into_iter()
        .map(|text| {
            entry(text).ok_or_else(|| values.malformed("listener.security.protocol.map", "a list of NAME:PROTOCOL"))
        })
        .collect()
}

fn advertised(values: &Values, bound: &[Listener]) -> Result<Vec<AdvertisedListener>, SettingsError> {
    let texts = values.list("advertised.listeners");
    if texts.is_empty() {
        let clients = bound.iter().filter(|listener| !listener.is_controller);
        return Ok(clients.map(from_bound).collect());
    }
    let mut advertised = Vec::new();
    for text in texts {
        let (name, host, port) = split_url(&text)
            .ok_or_else(|| values.malformed("advertised.listeners", "a comma-separated list of NAME://host:port"))?;
        let Some(listener) = bound.iter().find(|listener| listener.name == name) else {
            return Err(values.malformed("advertised.listeners", "names of listeners that are in listeners"));
        };
        if is_unspecified(&host) {
            return Err(values.malformed("advertised.listeners", "addresses that clients can connect to"));
        }
        if listener.is_controller {
            continue; // Kafka's own example file has it; clients have no use for it
        }
        let host = if host.is_empty() { own_address() } else { host };
        advertised.push(AdvertisedListener { name, host, port });
    }
    Ok(advertised)
}

fn from_bound(listener: &Listener) -> AdvertisedListener {
    let is_open_to_all = listener.host.is_empty() || is_unspecified(&listener.host);
    let host = if is_open_to_all { own_address() } else { listener.host.clone() };
    AdvertisedListener { name: listener.name.clone(), host, port: listener.port }
}

fn inter_broker(values: &Values, advertised: &[AdvertisedListener]) -> Result<String, SettingsError> {
    let named = values.text("inter.broker.listener.name").filter(|name| !name.is_empty());
    let protocol = values.text("security.inter.broker.protocol").unwrap_or("PLAINTEXT");
    let wanted = named.unwrap_or(protocol).to_ascii_uppercase();
    if advertised.iter().any(|listener| listener.name == wanted) {
        return Ok(wanted);
    }
    match (named, advertised) {
        (Some(_), _) => Err(values.malformed("inter.broker.listener.name", "the name of an advertised listener")),
        (None, [first, ..]) => Ok(first.name.clone()),
        (None, []) => Err(values.malformed("advertised.listeners", "at least one listener")),
    }
}

/// `NAME://host:port`, with an IPv6 host in brackets.
fn split_url(text: &str) -> Option<(String, String, u16)> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = split_address(address)?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    is_name.then(|| (name.to_ascii_uppercase(), host, port))
}

fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

/// Names and addresses, as Kafka has them.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-%._:".contains(c))
}

fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// The IPv4 address that this machine would send from. No packet leaves: connecting a UDP socket only picks a route.
fn own_address() -> String {
    let routed = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    routed().filter(|ip| !ip.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string()
}

/// `node.id`, or `broker.id` as older files spell it.
pub(super) fn node_id(values: &Values) -> Result<NodeId, SettingsError> {
    let node_id: Option<i32> = values.is_given("node.id").then(|| values.integer("node.id")).transpose()?;
    let broker_id: Option<i32> = Some(values.integer("broker.id")?).filter(|id| *id >= 0);
    match (node_id, broker_id) {
        (Some(node), Some(broker)) if node != broker => {
            Err(SettingsError::Contradiction(format!("node.id={node} and broker.id={broker} must be the same")))
        }
        (Some(id), _) | (None, Some(id)) => Ok(NodeId(id)),
        (None, None) => Err(SettingsError::Missing {
            name: "node.id",
            hint: "give each node of the cluster its own number, for example node.id=1".to_owned(),
        }),
    }
}

/// Whether this node has the controller role: as `process.roles` says, or, without it, when the node is a voter or
/// nothing is said about where the quorum is.
pub(super) fn is_controller(values: &Values, id: NodeId) -> Result<bool, SettingsError> {
    let roles = values.list("process.roles");
    if roles.is_empty() {
        let voters = values.list("controller.quorum.voters");
        let knows_nobody = voters.is_empty() && values.list(BOOTSTRAP_SERVERS).is_empty();
        return Ok(knows_nobody || voters.iter().filter_map(|text| split_voter(text)).any(|voter| voter.id == id));
    }
    if !roles.iter().any(|role| role == "broker") {
        let reason = "a node that is a controller only comes with a later release; use broker,controller";
        return Err(values.refused("process.roles", reason));
    }
    Ok(roles.iter().any(|role| role == "controller"))
}

/// Where to ask for a quorum that exists, in the spelling that a connection needs.
pub(super) fn bootstrap_servers(values: &Values) -> Result<Vec<String>, SettingsError> {
    let server = |text: String| match split_address(&text) {
        Some((host, port)) if is_host(&host) && port != 0 => Ok(crate::controller::address(&host, port)),
        _ => Err(values.malformed(BOOTSTRAP_SERVERS, "a list of host:port")),
    };
    values.list(BOOTSTRAP_SERVERS).into_iter().map(server).collect()
}

/// Who votes when a quorum is founded. Without `controller.quorum.voters` a node with the controller role is its own and only
/// voter; with bootstrap servers instead nobody is named.
pub(super) fn voters(values: &Values, id: NodeId, is_controller: bool) -> Result<Vec<Voter>, SettingsError> {
    const NAME: &str = "controller.quorum.voters";
    let mut voters = Vec::new();
    for text in values.list(NAME) {
        let voter = split_voter(&text).ok_or_else(|| values.malformed(NAME, "a list of id@host:port"))?;
        voters.push(voter);
    }
    if let Some(twice) = duplicate(&voters) {
        return Err(values.malformed(NAME, &format!("each node and address once, and node {twice} is not")));
    }
    let is_voter = voters.iter().any(|voter| voter.id == id);
    match (voters.len(), is_controller) {
        (0, _) if !values.list(BOOTSTRAP_SERVERS).is_empty() => Ok(Vec::new()),
        (0, true) => Ok(vec![Voter { id, host: String::new(), port: 0 }]),
        (0, false) => Err(SettingsError::Missing {
            name: NAME,
            hint: format!(
                "a node without the controller role needs to know the voters, as in 1@127.0.0.1:9092, or where to ask, \
                 by {BOOTSTRAP_SERVERS}"
            ),
        }),
        (1 | 3 | 5, false) if is_voter => {
            Err(SettingsError::Contradiction(format!("node {id} is in {NAME}, but process.roles lacks controller")))
        }
        (1 | 3 | 5, _) => Ok(voters),
        (count @ (2 | 4), _) => Err(values.refused(
            NAME,
            format!(
                "{count} voters survive no more failures than {}, because a majority must live; list 1, 3 or 5",
                count - 1
            ),
        )),
        (count, _) => Err(values.refused(
            NAME,
            format!("{count} voters make every change of metadata wait for {}; list 1, 3 or 5", count / 2 + 1),
        )),
    }
}

fn duplicate(voters: &[Voter]) -> Option<NodeId> {
    let is_like =
        |voter: &Voter, other: &Voter| voter.id == other.id || (voter.host == other.host && voter.port == other.port);
    let twice =
        |(at, voter): (usize, &Voter)| voters[..at].iter().any(|other| is_like(voter, other)).then_some(voter.id);
    voters.iter().enumerate().find_map(twice)
}

fn split_voter(text: &str) -> Option<Voter> {
    let (id, address) = text.split_once('@')?;
    let (host, port) = split_address(address)?;
    let id = NodeId(id.parse().ok().filter(|id| *id >= 0)?);
    (!host.is_empty() && port != 0).then_some(Voter { id, host, port })
}

pub(super) fn metrics_listener(values: &Values) -> Result<Option<SocketAddr>, SettingsError> {
    const NAME: &str = "twinstream.metrics.listener";
    let Some(text) = values.text(NAME).filter(|text| !text.is_empty()) else { return Ok(None) };
    let address = text.strip_prefix("http://").unwrap_or(text);
    address.parse().map(Some).map_err(|_| values.malformed(NAME, "an address and port, such as 127.0.0.1:9308"))
}

#[cfg(test)]
mod tests;
