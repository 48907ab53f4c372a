//! Names of Connect's logical types, and readings of their plain values.

use crate::data::Value;

/// Over `Bytes`: two's-complement big-endian unscaled value; the scale is in the schema's parameter [`SCALE`].
pub const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
/// Over `Int32`: days since 1970-01-01.
pub const DATE: &str = "org.apache.kafka.connect.data.Date";
/// Over `Int32`: milliseconds since midnight.
pub const TIME: &str = "org.apache.kafka.connect.data.Time";
/// Over `Int64`: milliseconds since 1970-01-01T00:00:00Z.
pub const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
/// Parameter of a decimal schema.
pub const SCALE: &str = "scale";

/// The decimal text of an unscaled big-endian value, e.g. bytes `04 D2` with scale 2 as `12.34`.
pub fn decimal_text(unscaled: &[u8], scale: i32) -> String {
    let (negative, digits) = decimal_digits(unscaled);
    let mut text = if negative { String::from("-") } else { String::new() };
    if scale <= 0 {
        text.push_str(&digits);
        if digits != "0" {
            text.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
        }
        return text;
    }
    let scale = scale as usize;
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    text.push_str(whole);
    text.push('.');
    text.push_str(fraction);
    text
}

/// Sign and decimal digits of a two's-complement big-endian number of any length.
fn decimal_digits(unscaled: &[u8]) -> (bool, String) {
    let negative = unscaled.first().is_some_and(|b| b & 0x80 != 0);
    let mut magnitude: Vec<u8> = unscaled.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (value, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = value;
            carry = overflow;
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|b| *b != 0) {
        let mut rest = 0u32;
        for byte in &mut magnitude {
            let value = rest * 256 + u32::from(*byte);
            *byte = (value / 10) as u8;
            rest = value % 10;
        }
        digits.push(b'0' + rest as u8);
    }
    if digits.is_empty() {
        return (false, "0".to_owned());
    }
    digits.reverse();
    (negative, digits.into_iter().map(char::from).collect())
}

/// The unscaled bytes and the scale of a decimal text; `None` if it is no plain decimal number.
pub fn decimal_parse(text: &str) -> Option<(Vec<u8>, i32)> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut bytes = vec![0u8];
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 10 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry > 0 {
            bytes.insert(0, carry as u8);
        }
    }
    if bytes[0] & 0x80 != 0 {
        bytes.insert(0, 0);
    }
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (value, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = value;
            carry = overflow;
        }
    }
    while bytes.len() > 1 && ((bytes[0] == 0 && bytes[1] & 0x80 == 0) || (bytes[0] == 0xff && bytes[1] & 0x80 != 0)) {
        bytes.remove(0);
    }
    Some((bytes, fraction.len() as i32))
}

/// `2024-02-29` for a number of days since 1970-01-01.
pub fn date_text(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `13:37:00.250` for milliseconds since midnight.
pub fn time_text(millis: i64) -> String {
    let (seconds, ms) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `2024-02-29T13:37:00.250Z` for milliseconds since 1970.
pub fn timestamp_text(millis: i64) -> String {
    let day = 86_400_000;
    format!("{}T{}Z", date_text(millis.div_euclid(day)), time_text(millis.rem_euclid(day)))
}

/// The plain number of a date, time or timestamp value.
pub fn plain_number(value: &Value) -> Option<i64> {
    match value {
        Value::Int8(v) => Some(i64::from(*v)),
        Value::Int16(v) => Some(i64::from(*v)),
        Value::Int32(v) => Some(i64::from(*v)),
        Value::Int64(v) => Some(*v),
        _ => None,
    }
}

/// Days to year, month, day in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// The same decimal at another scale; `None` if digits would be lost.
pub fn decimal_rescale(unscaled: &[u8], from: i32, to: i32) -> Option<Vec<u8>> {
    let text = decimal_text(unscaled, from);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let wanted = usize::try_from(to).ok()?;
    if fraction.len() > wanted {
        return None;
    }
    decimal_parse(&format!("{whole}.{fraction:0<wanted$}")).map(|(bytes, _)| bytes)
}
