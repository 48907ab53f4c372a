//! The configs of a subscription to metrics of clients (KIP-714).
//!
//! Subscriptions are stored and shown. No client is asked to push, because the APIs for that are not served yet.

use super::value::Kind;

/// One config of subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct ClientMetricsConfig {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub doc: &'static str,
}

/// Every config of subscriptions, by name.
pub const CLIENT_METRICS_CONFIGS: &[ClientMetricsConfig] = &[
    ClientMetricsConfig {
        name: "interval.ms",
        kind: Kind::Int,
        default: "300000",
        doc: "How often clients push, in milliseconds; no effect yet.",
    },
    ClientMetricsConfig {
        name: "match",
        kind: Kind::List,
        default: "",
        doc: "Which clients push, as name=pattern; no effect yet.",
    },
    ClientMetricsConfig {
        name: "metrics",
        kind: Kind::List,
        default: "",
        doc: "Names of metrics that clients push; no effect yet.",
    },
];

const INTERVAL_MS_MIN: i32 = 100;
const INTERVAL_MS_MAX: i32 = 3_600_000;

/// What a pattern may be about.
const MATCHED: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Why a value is refused, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// INVALID_REQUEST
    Request(String),
    /// INVALID_CONFIG
    Config(String),
}

pub fn find(name: &str) -> Option<&'static ClientMetricsConfig> {
    CLIENT_METRICS_CONFIGS.iter().find(|config| config.name == name)
}

pub(crate) fn unknown(name: &str) -> Refusal {
    Refusal::Request(format!("Unknown client metrics configuration: {name}"))
}

/// Checks one value that somebody wants to set; answers it in the form that is stored.
///
/// Whether a pattern is a regular expression is not looked at: it is one of Java's, which nothing here reads.
pub(crate) fn check_value(name: &str, value: &str) -> Result<String, Refusal> {
    let config = find(name).ok_or_else(|| unknown(name))?;
    let value = value.trim();
    match config.name {
        "interval.ms" => {
            let number: i32 = value.parse().map_err(|_| {
                Refusal::Config(format!("Invalid value {value} for configuration {name}: Not a number of type INT"))
            })?;
            if !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&number) {
                return Err(Refusal::Request(format!(
                    "Invalid value {number} for {name}, interval must be between 100 and 3600000 (1 hour)"
                )));
            }
        }
        "match" => {
            for pattern in super::parse_list(value) {
                let is_sound =
                    matches!(pattern.split('=').collect::<Vec<_>>()[..], [what, _] if MATCHED.contains(&what.trim()));
                if !is_sound {
                    return Err(Refusal::Config(format!("Illegal client matching pattern: {pattern}")));
                }
            }
        }
        _ => {}
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_kafka_takes_are_taken() {
        let taken = [
            ("interval.ms", "100"),
            ("interval.ms", "3600000"),
            ("metrics", "org.apache.kafka.producer.,*"),
            ("match", "client_software_name=Java,client_software_version=11.1.*"),
            ("match", ""),
        ];
        for (name, value) in taken {
            assert_eq!(check_value(name, value), Ok(value.to_owned()));
        }
    }

    #[test]
    fn values_that_kafka_refuses_are_refused() {
        assert!(matches!(check_value("interval.ms", "99"), Err(Refusal::Request(_))));
        assert!(matches!(check_value("interval.ms", "often"), Err(Refusal::Config(_))));
        assert!(matches!(check_value("match", "client_id"), Err(Refusal::Config(_))));
        assert!(matches!(check_value("match", "colour=blue"), Err(Refusal::Config(_))));
        assert!(matches!(check_value("push", "1"), Err(Refusal::Request(_))));
    }
}
