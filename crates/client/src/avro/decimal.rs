//! Decimals between text and Avro's bytes: a big-endian two's complement integer, its scale in the schema.
//!
//! Not here: arithmetic. 38 digits (an `i128`) are the bound, as in most databases.

/// The bytes of a decimal text at a scale; `None` when it is no decimal, has more fraction digits than the scale, or more
/// than 38 digits in all.
pub fn parse_decimal(text: &str, scale: usize) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let padding = scale.checked_sub(fraction.len())?;
    let mut unscaled: i128 = 0;
    let zeros = std::iter::repeat_n(b'0', padding);
    for digit in whole.bytes().chain(fraction.bytes()).chain(zeros) {
        unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    Some(shortest(if negative { -unscaled } else { unscaled }))
}

/// The text of a decimal; `None` when it has more than 16 bytes.
pub fn decimal_text(bytes: &[u8], scale: usize) -> Option<String> {
    if bytes.len() > 16 {
        return None;
    }
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    let unscaled = i128::from_be_bytes(wide);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let minus = if unscaled < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    Some(format!("{minus}{whole}{point}{fraction}"))
}

/// The fewest bytes that keep value and sign.
fn shortest(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let redundant = |at: usize| {
        let next_negative = bytes[at + 1] & 0x80 != 0;
        (bytes[at] == 0 && !next_negative) || (bytes[at] == 0xff && next_negative)
    };
    let start = (0..15).find(|at| !redundant(*at)).unwrap_or(15);
    bytes[start..].to_vec()
}
