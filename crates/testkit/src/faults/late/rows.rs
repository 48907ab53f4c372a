//! The judge's table: what went wrong in each scene and storm, and what that means of our brokers beside Kafka's.
//!
//! Where something is promised of ours, nothing may be wrong. Where nothing is, because the first protocol cannot tell,
//! ours may show no kind of anomaly more often than Kafka's do in the same scene. A row in which nothing happened is bad in
//! any case, and so is one whose run did not come to its end. Rows of Kafka's are there to be compared with.

use std::fmt;

use super::ledger::{Anomaly, counts, summary};
use super::{Of, Protocol};

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub of: Of,
    pub protocol: Protocol,
    pub what: String,
    /// What went wrong, by Jepsen's names where it has one.
    pub anomalies: Vec<Anomaly>,
    /// Whether readers are promised that nothing does.
    pub promised: bool,
    /// Whether nothing was tried: no request held, or no transaction ended in one of the two ways.
    pub idle: bool,
    /// Why the run did not come to its end.
    pub broken: Option<String>,
    /// What Kafka's brokers do better.
    pub worse: Vec<String>,
    pub note: String,
}

impl Row {
    pub(super) fn new(of: Of, protocol: Protocol, what: String, promised: bool, anomalies: Vec<Anomaly>) -> Self {
        let (idle, broken, worse, note) = (false, None, Vec::new(), String::new());
        Self { of, protocol, what, anomalies, promised, idle, broken, worse, note }
    }

    /// In the place of rows that there would be if the run had come to its end.
    pub(super) fn broken(of: Of, protocol: Protocol, what: &str, why: &str) -> Self {
        Self { broken: Some(why.to_owned()), ..Self::new(of, protocol, what.to_owned(), false, Vec::new()) }
    }

    pub fn is_good(&self) -> bool {
        !self.idle && self.broken.is_none() && self.worse.is_empty() && (!self.promised || self.anomalies.is_empty())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_good() { "ok    " } else { "FAILED" };
        write!(f, "{mark} {:<18} {:<7} {:<62} ", self.of.name(), self.protocol.name(), self.what)?;
        match (&self.broken, summary(&self.anomalies)) {
            (Some(why), _) => write!(f, "{why}")?,
            (None, summary) if summary.is_empty() => write!(f, "clean")?,
            (None, summary) => write!(f, "{summary}")?,
        }
        if self.idle {
            write!(f, "; nothing was tried")?;
        }
        for worse in &self.worse {
            write!(f, "; {worse}")?;
        }
        if self.note.is_empty() { Ok(()) } else { write!(f, "; {}", self.note) }
    }
}

/// Holds rows of ours of which nothing is promised against those of Kafka's for the same scene.
pub fn compare(rows: &mut [Row]) {
    let kafka: Vec<Row> = rows.iter().filter(|row| row.of == Of::Kafka).cloned().collect();
    for row in rows.iter_mut().filter(|row| row.of == Of::Ours && !row.promised) {
        let Some(peer) = kafka.iter().find(|peer| (peer.protocol, &peer.what) == (row.protocol, &row.what)) else {
            row.note.push_str("not compared");
            continue;
        };
        let theirs = counts(&peer.anomalies);
        for (name, count) in counts(&row.anomalies) {
            let of_kafka = theirs.get(name).copied().unwrap_or_default();
            if count > of_kafka {
                row.worse.push(format!("{name}: {count}, Kafka's have {of_kafka}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(of: Of, promised: bool, anomalies: &[fn(String) -> Anomaly]) -> Row {
        let anomalies = anomalies.iter().map(|anomaly| anomaly(String::new())).collect();
        Row::new(of, Protocol::First, "a scene".to_owned(), promised, anomalies)
    }

    fn is_good_beside(ours: Row, kafka: Row) -> bool {
        let mut rows = [ours, kafka];
        compare(&mut rows);
        rows[0].is_good()
    }

    #[test]
    fn what_is_promised_must_be_clean_whatever_kafka_does() {
        let kafka = row(Of::Kafka, false, &[Anomaly::Torn, Anomaly::Torn]);
        assert!(!is_good_beside(row(Of::Ours, true, &[Anomaly::Torn]), kafka.clone()));
        assert!(is_good_beside(row(Of::Ours, true, &[]), kafka));
    }

    #[test]
    fn where_nothing_is_promised_no_kind_of_anomaly_is_more_frequent_than_kafkas() {
        let kafka = row(Of::Kafka, false, &[Anomaly::Torn, Anomaly::Torn]);
        assert!(is_good_beside(row(Of::Ours, false, &[Anomaly::Torn, Anomaly::Torn]), kafka.clone()));
        assert!(!is_good_beside(row(Of::Ours, false, &[Anomaly::AbortedRead]), kafka.clone()));
        assert!(!is_good_beside(row(Of::Ours, false, &[Anomaly::Torn, Anomaly::Torn, Anomaly::Torn]), kafka.clone()));
        let of_another = Row { protocol: Protocol::Second, ..kafka };
        assert!(is_good_beside(row(Of::Ours, false, &[Anomaly::Torn]), of_another), "nothing to compare with");
    }

    #[test]
    fn a_row_in_which_nothing_happened_is_bad() {
        assert!(!Row { idle: true, ..row(Of::Ours, true, &[]) }.is_good());
    }

    #[test]
    fn a_run_that_did_not_come_to_its_end_is_bad_if_it_is_ours_and_decides_nothing_if_it_is_not() {
        let broken = |of| Row::broken(of, Protocol::First, "scenes", "no broker answers");
        assert!(!is_good_beside(broken(Of::Ours), row(Of::Kafka, false, &[])));
        assert!(broken(Of::Ours).to_string().contains("no broker answers"));
        assert!(is_good_beside(row(Of::Ours, false, &[Anomaly::Torn]), broken(Of::Kafka)), "nothing to compare with");
    }
}
