//! Types of config values and what bounds them, by the rules of Kafka's `ConfigDef`.

use std::collections::BTreeSet;

/// Type of a config value, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Long,
    Double,
    List,
}

impl Kind {
    /// Kafka's number of the type in DescribeConfigs answers.
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }
}

/// What a value of the right type must satisfy.
#[derive(Clone, Copy, Debug)]
pub enum Bounds {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// Gzip takes its levels and -1 for "default".
    MinusOneOrBetween(i64, i64),
    Fraction,
    OneOf(&'static [&'static str]),
    /// Each item of a list.
    Items(&'static [&'static str]),
    /// `*` or `partition:broker` pairs.
    ThrottledReplicas,
}

/// The items of a comma-separated list.
pub fn parse_list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// A list in the form in which it is stored.
pub fn format_list(items: &[String]) -> String {
    items.join(",")
}

/// Checks a value; the error says what is allowed.
pub(super) fn check(kind: Kind, bounds: Bounds, value: &str) -> Result<(), String> {
    match kind {
        Kind::Boolean if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => Ok(()),
        Kind::Boolean => Err("true or false".to_owned()),
        Kind::Int => match value.parse::<i32>() {
            Ok(number) => check_number(bounds, i64::from(number)),
            Err(_) => Err("a whole number of 32 bits".to_owned()),
        },
        Kind::Long => match value.parse::<i64>() {
            Ok(number) => check_number(bounds, number),
            Err(_) => Err("a whole number of 64 bits".to_owned()),
        },
        Kind::Double => match value.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
            _ => Err("a number from 0 to 1".to_owned()),
        },
        Kind::String => match bounds {
            Bounds::OneOf(allowed) if !allowed.contains(&value) => Err(one_of(allowed)),
            _ => Ok(()),
        },
        Kind::List => check_list(bounds, value),
    }
}

fn check_number(bounds: Bounds, number: i64) -> Result<(), String> {
    match bounds {
        Bounds::AtLeast(low) if number < low => Err(format!("at least {low}")),
        Bounds::Between(low, high) if !(low..=high).contains(&number) => Err(format!("from {low} to {high}")),
        Bounds::MinusOneOrBetween(low, high) if number != -1 && !(low..=high).contains(&number) => {
            Err(format!("-1 or from {low} to {high}"))
        }
        _ => Ok(()),
    }
}

fn check_list(bounds: Bounds, value: &str) -> Result<(), String> {
    let items = parse_list(value);
    let mut seen = BTreeSet::new();
    let duplicate = items.iter().any(|item| !seen.insert(item));
    match bounds {
        Bounds::Items(_) if duplicate => Err("a list without duplicates".to_owned()),
        Bounds::Items(allowed) if items.iter().any(|item| !allowed.contains(&item.as_str())) => {
            Err(format!("a list of {}", one_of(allowed)))
        }
        Bounds::ThrottledReplicas if items != ["*"] && !items.iter().all(|item| is_replica(item)) => {
            Err("* or a list of partition:broker pairs".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_replica(item: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

fn one_of(allowed: &[&str]) -> String {
    format!("one of {}", allowed.join(", "))
}
