//! Lengths that a datum claims, held against the bytes that it has, before anything is made room for.
//!
//! Picture: apache-avro makes room for what a length or a count says and then reads, up to half a gigabyte at a time, and
//! it goes as deep as the bytes lead. So a datum is walked first, by its schema and without any allocation.
//!
//! Invariants: what passes has every byte that its lengths claim, at most [`EMPTY_ITEMS_MAX`] items that take none, and
//! nests at most [`DEPTH_MAX`] deep. Not here: whether the values are right, which the decoder says.

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, NamesRef, UuidSchema};

/// Items of arrays without a byte (nulls, empty records) that one datum may have; the others are bounded by its bytes.
const EMPTY_ITEMS_MAX: usize = 65_536;
/// How deep types may nest in a datum, those of a recursive schema included. The decoder takes 10 KiB of
/// stack for each without optimisation, and a thread has 2 MiB.
const DEPTH_MAX: usize = 64;
const VARINT_BYTES_MAX: usize = 10;

/// Why a datum is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unbounded {
    #[error("it ends early")]
    EndsEarly,
    #[error("a number is longer than any is")]
    LongNumber,
    #[error("it claims a length of {0} bytes and has fewer left")]
    Length(i64),
    #[error("it has more than {EMPTY_ITEMS_MAX} items without a byte")]
    EmptyItems,
    #[error("it nests more than {DEPTH_MAX} types deep")]
    Depth,
    #[error("a union has no branch {0}")]
    Branch(i64),
    #[error("the schema uses a type that it does not define")]
    Undefined,
}

/// Walks the datum at the front of these bytes.
pub(super) fn check(schema: &Schema, names: &NamesRef<'_>, bytes: &[u8]) -> Result<(), Unbounded> {
    Walk { names, left: bytes, empty_items: 0 }.value(schema, None, 0)
}

struct Walk<'a> {
    names: &'a NamesRef<'a>,
    left: &'a [u8],
    empty_items: usize,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &Schema, namespace: Option<&str>, depth: usize) -> Result<(), Unbounded> {
        if depth > DEPTH_MAX {
            return Err(Unbounded::Depth);
        }
        match schema {
            Schema::Null => Ok(()),
            Schema::Boolean => self.skip(1),
            Schema::Float => self.skip(4),
            Schema::Double => self.skip(8),
            Schema::Int
            | Schema::Long
            | Schema::Enum(_)
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.number().map(|_| ()),
            Schema::Bytes
            | Schema::String
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. })
            | Schema::Uuid(UuidSchema::Bytes | UuidSchema::String) => self.sized().map(|_| ()),
            Schema::BigDecimal => {
                // Its bytes are a number's bytes with their length, and a scale.
                let left = self.sized()?;
                Walk { names: self.names, left, empty_items: 0 }.sized().map(|_| ())
            }
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. })
            | Schema::Uuid(UuidSchema::Fixed(fixed)) => self.skip(fixed.size),
            Schema::Array(array) => self.items(|walk| walk.value(&array.items, namespace, depth + 1)),
            Schema::Map(map) => self.items(|walk| {
                walk.sized()?;
                walk.value(&map.types, namespace, depth + 1)
            }),
            Schema::Union(union) => {
                let branch = self.number()?;
                let variant = usize::try_from(branch).ok().and_then(|at| union.variants().get(at));
                self.value(variant.ok_or(Unbounded::Branch(branch))?, namespace, depth + 1)
            }
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(namespace);
                record.fields.iter().try_for_each(|field| self.value(&field.schema, name.namespace(), depth + 1))
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let meant = self.names.get(name.as_ref()).ok_or(Unbounded::Undefined)?;
                self.value(meant, name.namespace(), depth + 1)
            }
        }
    }

    /// Blocks of items: a count, items, and so on up to a count of 0. A negative count has the size of its block behind it.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Unbounded>) -> Result<(), Unbounded> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.number()?;
            }
            for _ in 0..count.unsigned_abs() {
                let before = self.left.len();
                item(self)?;
                self.empty_items += usize::from(self.left.len() == before);
                if self.empty_items > EMPTY_ITEMS_MAX {
                    return Err(Unbounded::EmptyItems);
                }
            }
        }
    }

    /// Bytes with their length before them.
    fn sized(&mut self) -> Result<&'a [u8], Unbounded> {
        let claimed = self.number()?;
        let length = usize::try_from(claimed).map_err(|_| Unbounded::Length(claimed))?;
        let (bytes, left) = self.left.split_at_checked(length).ok_or(Unbounded::Length(claimed))?;
        self.left = left;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Unbounded> {
        self.left = self.left.get(bytes..).ok_or(Unbounded::EndsEarly)?;
        Ok(())
    }

    /// A zigzag varint.
    fn number(&mut self) -> Result<i64, Unbounded> {
        let mut value = 0_u64;
        for (at, byte) in self.left.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.left = &self.left[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(if self.left.len() < VARINT_BYTES_MAX { Unbounded::EndsEarly } else { Unbounded::LongNumber })
    }
}
