//! Chance that a seed repeats, in this build and in any later one.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators). Not `rand`, whose sequences may change
/// with its version, and with them what a seed means.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let last = choices.len().checked_sub(1).expect("something to choose from");
        let index = self.between(0, last as u64);
        &choices[usize::try_from(index).expect("an index")]
    }

    /// All of these, in any order.
    pub fn shuffled<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        let mut rest = items.to_vec();
        let mut shuffled = Vec::new();
        while !rest.is_empty() {
            let index = self.between(0, rest.len() as u64 - 1);
            shuffled.push(rest.swap_remove(usize::try_from(index).expect("an index")));
        }
        shuffled
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut dice = Dice::new(7);
        let thrown: Vec<u64> = (0..4).map(|_| dice.between(1, 100)).collect();
        assert_eq!(thrown, [88, 5, 47, 4]);
        let all = Dice::new(1).shuffled(&[1, 2, 3, 4]);
        assert_eq!(all.iter().sum::<i32>(), 10);
    }
}
