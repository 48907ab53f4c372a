//! Variable-length integers: the zigzag form inside records, the unsigned form in flexible messages.

const VARINT_BYTES_MAX: usize = 5;
const VARLONG_BYTES_MAX: usize = 10;

/// Reads an unsigned varint and its length in bytes; `None` if the bytes end early or the number is too long.
pub(crate) fn read_unsigned(bytes: &[u8]) -> Option<(u32, usize)> {
    let (value, len) = read_u64(bytes, VARINT_BYTES_MAX)?;
    u32::try_from(value).ok().map(|value| (value, len))
}

/// Reads a zigzag varint of 32 bits.
pub(crate) fn read_i32(bytes: &[u8]) -> Option<(i32, usize)> {
    let (value, len) = read_unsigned(bytes)?;
    Some((((value >> 1) as i32) ^ -((value & 1) as i32), len))
}

/// Reads a zigzag varint of 64 bits.
pub(crate) fn read_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let (value, len) = read_u64(bytes, VARLONG_BYTES_MAX)?;
    Some((((value >> 1) as i64) ^ -((value & 1) as i64), len))
}

fn read_u64(bytes: &[u8], len_max: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(len_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * i);
        if shifted >> (7 * i) != bits {
            return None; // bits beyond the 64th
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

pub(crate) fn write_unsigned(out: &mut Vec<u8>, value: u32) {
    write_u64(out, u64::from(value));
}

pub(crate) fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_u64(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub(crate) fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Writes a zigzag varint to the beginning of `out`, which has room for the longest; returns its length.
pub(crate) fn put_i64(out: &mut [u8], value: i64) -> usize {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut at = 0;
    while rest >= 0x80 {
        out[at] = (rest as u8) | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn signed_numbers_read_back(value: i64, small: i32) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            let first = out.len();
            write_i32(&mut out, small);
            prop_assert_eq!(read_i64(&out), Some((value, first)));
            prop_assert_eq!(read_i32(&out[first..]), Some((small, out.len() - first)));
            let mut room = [0; VARLONG_BYTES_MAX];
            let len = put_i64(&mut room, value);
            prop_assert_eq!(&room[..len], &out[..first]);
        }
    }

    #[test]
    fn overlong_and_cut_numbers_are_refused() {
        assert_eq!(read_i32(&[0xff; 6]), None);
        assert_eq!(read_i64(&[0xff; 11]), None);
        assert_eq!(read_unsigned(&[0x80]), None);
        assert_eq!(read_unsigned(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(read_unsigned(&[]), None);
    }
}
