//! How many connections may be open, and how fast they may come.

use std::collections::HashMap;
use std::net::IpAddr;

use super::values::{SettingsError, Values};

pub(super) const MAX: &str = "max.connections";
pub(super) const PER_IP: &str = "max.connections.per.ip";
pub(super) const RATE: &str = "max.connection.creation.rate";
pub(super) const OVERRIDES: &str = "max.connections.per.ip.overrides";

/// Over all listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionBounds {
    pub(crate) max: usize,
    pub(crate) per_ip_max: usize,
    pub(crate) per_ip_overrides: HashMap<IpAddr, usize>,
    /// New ones per second; the largest number of 32 bits for no limit.
    pub(crate) rate_max: u32,
}

impl ConnectionBounds {
    pub(super) fn new(values: &Values) -> Result<Self, SettingsError> {
        let overrides = parse_overrides(values.text(OVERRIDES).unwrap_or(""));
        Ok(Self {
            max: values.size(MAX)?,
            per_ip_max: values.size(PER_IP)?,
            per_ip_overrides: overrides.map_err(|allowed| values.malformed(OVERRIDES, allowed))?,
            rate_max: values.integer(RATE)?,
        })
    }
}

/// `address:limit` pairs; the error says what is allowed. Host names are not looked up.
pub(super) fn parse_overrides(text: &str) -> Result<HashMap<IpAddr, usize>, &'static str> {
    let entry = |text: &str| {
        let (host, limit) = text.rsplit_once(':')?;
        let host: IpAddr = host.trim().trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some((host.to_canonical(), limit.trim().parse().ok()?))
    };
    let entries = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    entries.map(|text| entry(text).ok_or("a list of address:limit")).collect()
}

#[cfg(test)]
mod tests;
