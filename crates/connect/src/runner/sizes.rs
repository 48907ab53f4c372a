//! How many records the transactions of a task had, for Kafka's `transaction-size-*`.

/// Sizes of the transactions of one life of a task.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    open: u64,
    count: u64,
    sum: u64,
    range: Option<(u64, u64)>,
}

/// What is told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionSizes {
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) avg: u64,
}

impl Sizes {
    pub(super) fn add(&mut self, records: u32) {
        self.open += u64::from(records);
    }

    /// The open one is committed.
    pub(super) fn committed(&mut self) -> TransactionSizes {
        let size = std::mem::take(&mut self.open);
        self.count += 1;
        self.sum += size;
        let (min, max) = self.range.map_or((size, size), |(min, max)| (min.min(size), max.max(size)));
        self.range = Some((min, max));
        TransactionSizes { min, max, avg: self.sum / self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transaction_counts_once_with_all_of_its_records() {
        let mut sizes = Sizes::default();
        sizes.add(3);
        sizes.add(4);
        assert_eq!(sizes.committed(), TransactionSizes { min: 7, max: 7, avg: 7 });
        sizes.add(1);
        assert_eq!(sizes.committed(), TransactionSizes { min: 1, max: 7, avg: 4 });
        assert_eq!(sizes.committed(), TransactionSizes { min: 0, max: 7, avg: 2 });
    }
}
