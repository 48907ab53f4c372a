//! Seeded changes to an input: the same seed always makes the same bytes, on every machine.
//!
//! Not a search: libFuzzer does that by coverage. This is the smoke that CI sees of it.

const LENGTHS: [u64; 10] = [0, 1, 127, 128, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, u64::MAX >> 1, u64::MAX];
const CHANGES_MAX: u64 = 4;

/// xorshift64*: small, and nobody's secret depends on it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// `seed` should differ between targets, so that their inputs do.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let spread = (self.roll() >> 11) as usize;
        if end == 0 { 0 } else { spread % end }
    }
}

/// One of the inputs, changed in up to four places.
pub fn mutated(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = inputs.get(dice.below(inputs.len())).cloned().unwrap_or_default();
    for _ in 0..=dice.below(CHANGES_MAX as usize) {
        change(&mut bytes, inputs, dice);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len());
    match dice.below(8) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
        1 if !bytes.is_empty() => bytes[at] = dice.below(256) as u8,
        2 => bytes.truncate(at),
        3 => {
            let number = LENGTHS[dice.below(LENGTHS.len())].to_be_bytes();
            let width = [1, 2, 4, 8][dice.below(4)];
            for (to, from) in bytes.iter_mut().skip(at).zip(&number[8 - width..]) {
                *to = *from;
            }
        }
        4 => {
            let end = at + dice.below(bytes.len() - at + 1).min(64);
            let copy = bytes[at..end].to_vec();
            let to = dice.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 => {
            let end = (at + dice.below(32)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            // The head of one input with the tail of another.
            let other = inputs.get(dice.below(inputs.len())).map_or(&[][..], Vec::as_slice);
            let from = dice.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let byte = dice.below(256) as u8;
            bytes.insert(at, byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_makes_the_same_bytes_and_another_seed_others() {
        let inputs = [b"abcdefgh".to_vec(), b"12345678".to_vec(), Vec::new()];
        let run = |seed| {
            let mut dice = Dice::new(seed);
            (0..50).map(|_| mutated(&inputs, &mut dice)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
