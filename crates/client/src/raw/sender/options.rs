//! The producer settings that hold for whole batches, read once.

use std::time::Duration;

use tracing::info;

use crate::settings::{ClientSettings, SettingsError};

/// Kafka keeps the numbers of so many batches per producer and partition, so no more may be under way (KIP-98).
const IN_FLIGHT_MAX: usize = 5;
/// How much one request joins unless `max.request.size` says so. Kafka's own default of 1 MiB is one batch of the usual
/// largest size; five requests of this size stay far below what a broker accepts (`socket.request.max.bytes`, 100 MiB).
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
const REQUEST_TIMEOUT_MS: u64 = 30_000;
const DELIVERY_TIMEOUT_MS: u64 = 120_000;
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 1_000;
/// What settings for single records cannot do for batches that exist already.
const FOR_RECORDS_ONLY: [&str; 3] = ["batch.size", "compression.type", "linger.ms"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) idempotent: bool,
    /// Everything is part of transactions.
    pub(super) is_transactional: bool,
    /// -1 or 1. With 0 nobody would say that a batch has arrived.
    pub(super) acks: i16,
    /// Requests under way per leader, and batches per partition.
    pub(super) window: usize,
    pub(super) request_bytes_max: usize,
    /// Whether one batch alone may be larger: nobody has set a bound.
    pub(super) one_may_be_larger: bool,
    pub(super) retries: u32,
    pub(super) request_timeout: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) backoff_first: Duration,
    pub(super) backoff_max: Duration,
}

impl Options {
    pub(super) fn read(settings: &ClientSettings) -> Result<Self, SettingsError> {
        let acks = match settings.get("acks").unwrap_or("all") {
            "all" | "-1" => -1,
            "1" => 1,
            _ => return Err(refused(settings, "acks", "batches are counted as they are acknowledged; use all or 1")),
        };
        let idempotent = match settings.get("enable.idempotence") {
            None => acks == -1,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err(refused(settings, "enable.idempotence", "use true or false")),
        };
        if idempotent && acks != -1 {
            return Err(refused(settings, "acks", "idempotence needs acks=all (enable.idempotence is true)"));
        }
        let window = number(settings, "max.in.flight.requests.per.connection", IN_FLIGHT_MAX as u64)?;
        if window == 0 || (idempotent && window > IN_FLIGHT_MAX as u64) {
            let name = "max.in.flight.requests.per.connection";
            return Err(refused(settings, name, "use 1 to 5, as a broker remembers five batches of a producer"));
        }
        let millis = |name, default| number(settings, name, default).map(Duration::from_millis);
        for name in FOR_RECORDS_ONLY {
            if settings.get(name).is_some() {
                info!(
                    setting = name,
                    "setting has no effect here: whole batches are sent as whoever made them has packed them"
                );
            }
        }
        Ok(Self {
            idempotent,
            is_transactional: false,
            acks,
            window: usize::try_from(window).map_or(IN_FLIGHT_MAX, |window| window.min(IN_FLIGHT_MAX)),
            request_bytes_max: number(settings, "max.request.size", REQUEST_BYTES as u64)? as usize,
            one_may_be_larger: settings.get("max.request.size").is_none(),
            retries: u32::try_from(number(settings, "retries", u64::from(u32::MAX))?).unwrap_or(u32::MAX),
            request_timeout: millis("request.timeout.ms", REQUEST_TIMEOUT_MS)?,
            delivery_timeout: millis("delivery.timeout.ms", DELIVERY_TIMEOUT_MS)?,
            backoff_first: millis("retry.backoff.ms", BACKOFF_FIRST_MS)?,
            backoff_max: millis("retry.backoff.max.ms", BACKOFF_MAX_MS)?,
        })
    }

    /// The same settings for a producer with transactions, which need sequences and all replicas.
    pub(super) fn transactional(settings: &ClientSettings) -> Result<Self, SettingsError> {
        let options = Self::read(settings)?;
        if !options.idempotent {
            let name = if settings.get("enable.idempotence").is_some() { "enable.idempotence" } else { "acks" };
            return Err(refused(settings, name, "transactions need enable.idempotence=true and acks=all"));
        }
        Ok(Self { is_transactional: true, ..options })
    }

    /// The pause after so many failures in a row.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doubled = self.backoff_first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.backoff_max.max(self.backoff_first))
    }
}

fn number(settings: &ClientSettings, name: &str, default: u64) -> Result<u64, SettingsError> {
    let Some(text) = settings.get(name) else { return Ok(default) };
    text.parse().map_err(|_| refused(settings, name, "not a whole number"))
}

fn refused(settings: &ClientSettings, name: &str, reason: &str) -> SettingsError {
    let value = settings.get(name).unwrap_or_default().to_owned();
    SettingsError::Refused { name: name.to_owned(), value, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &[(&str, &str)]) -> Result<Options, SettingsError> {
        let all = [("bootstrap.servers", "localhost:9092")].into_iter().chain(more.iter().copied());
        Options::read(&ClientSettings::from_map(all)?)
    }

    #[test]
    fn defaults_are_idempotent_and_wait_for_all_replicas() {
        let options = read(&[]).unwrap();
        assert!(options.idempotent && options.one_may_be_larger);
        assert_eq!((options.acks, options.window), (-1, 5));
        assert_eq!(options.delivery_timeout, Duration::from_secs(120));
    }

    #[test]
    fn weak_acknowledgements_switch_idempotence_off_and_contradictions_are_refused() {
        let weak = read(&[("acks", "1")]).unwrap();
        assert!(!weak.idempotent && weak.acks == 1);
        assert!(!read(&[("enable.idempotence", "false")]).unwrap().idempotent);
        for wrong in [
            &[("acks", "0")][..],
            &[("acks", "1"), ("enable.idempotence", "true")],
            &[("max.in.flight.requests.per.connection", "6")],
            &[("max.in.flight.requests.per.connection", "0")],
            &[("delivery.timeout.ms", "soon")],
        ] {
            assert!(matches!(read(wrong), Err(SettingsError::Refused { .. })), "{wrong:?}");
        }
        let many = [("max.in.flight.requests.per.connection", "50"), ("enable.idempotence", "false")];
        assert_eq!(read(&many).unwrap().window, 5);
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let options = read(&[]).unwrap();
        let pauses: Vec<u128> = [1, 2, 3, 4, 5, 60].map(|failures| options.backoff(failures).as_millis()).to_vec();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    }
}
