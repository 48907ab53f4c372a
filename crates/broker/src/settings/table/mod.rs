//! Every broker setting that Kafka 4.3 knows, and ours, with type, default, bounds, fate and text.
//!
//! Fates: *effect*; *no such part* in our design (accepted, reported once at start); *not yet* (accepted, reported,
//! listed in `GAPS.md`); *refused* (a class to load, or a promise that we could not keep: the start fails).
//! The rows live in one file per area. The texts are ours.

mod groups;
mod network;
mod node;
mod others;
mod ours;
mod partitions;
mod replication;
mod security;
mod tiering;

/// Type of a value, as DescribeConfigs reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Short,
    Int,
    Long,
    Double,
    String,
    List,
    Password,
    Class,
}

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Effect,
    NoSuchPart,
    NotYet,
    /// Refused for this reason, unless the value is empty or the default.
    Refused(&'static str),
}

/// Bounds beyond the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bounds {
    Any,
    Between(f64, f64),
    /// -1 for a default that is somebody else's, or a level in these bounds.
    MinusOneOrBetween(f64, f64),
    /// One of these words; for a list, each item is one of them. Kafka compares some of them without case.
    OneOf(&'static [&'static str]),
    OneOfAnyCase(&'static [&'static str]),
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Option<&'static str>,
    pub(crate) bounds: Bounds,
    pub(crate) fate: Fate,
    pub(crate) doc: &'static str,
    /// Whether a change takes effect while the broker runs, or would if there were such a part. The twins of topic configs
    /// do without this mark.
    pub(crate) at_run_time: bool,
}

impl Setting {
    const fn new(name: &'static str, kind: Kind, default: Option<&'static str>) -> Self {
        Self { name, kind, default, bounds: Bounds::Any, fate: Fate::Effect, doc: "", at_run_time: false }
    }

    const fn at_least(self, min: i64) -> Self {
        self.between(min, i64::MAX)
    }

    const fn between(self, min: i64, max: i64) -> Self {
        Self { bounds: Bounds::Between(min as f64, max as f64), ..self }
    }

    const fn minus_one_or_between(self, min: i64, max: i64) -> Self {
        Self { bounds: Bounds::MinusOneOrBetween(min as f64, max as f64), ..self }
    }

    const fn fraction(self, min: f64, max: f64) -> Self {
        Self { bounds: Bounds::Between(min, max), ..self }
    }

    const fn one_of(self, words: &'static [&'static str]) -> Self {
        Self { bounds: Bounds::OneOf(words), ..self }
    }

    const fn one_of_any_case(self, words: &'static [&'static str]) -> Self {
        Self { bounds: Bounds::OneOfAnyCase(words), ..self }
    }

    const fn effect(self, doc: &'static str) -> Self {
        Self { fate: Fate::Effect, doc, ..self }
    }

    const fn no_such_part(self, doc: &'static str) -> Self {
        Self { fate: Fate::NoSuchPart, doc, ..self }
    }

    /// It may be changed while the broker runs.
    const fn at_run_time(self) -> Self {
        Self { at_run_time: true, ..self }
    }

    const fn not_yet(self, doc: &'static str) -> Self {
        Self { fate: Fate::NotYet, doc, ..self }
    }

    const fn refused(self, doc: &'static str, reason: &'static str) -> Self {
        Self { fate: Fate::Refused(reason), doc, ..self }
    }

    /// Whether the value must never be shown.
    pub(crate) fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Whether a refused setting's value asks for nothing.
    pub(crate) fn is_harmless(&self, text: &str) -> bool {
        text.trim().is_empty() || self.default == Some(text.trim())
    }

    /// Checks a text against type and bounds. The error says what is allowed.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let within = match self.kind {
            Kind::Boolean => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
            Kind::Short => text.parse::<i16>().is_ok_and(|number| self.admits(f64::from(number))),
            Kind::Int => text.parse::<i32>().is_ok_and(|number| self.admits(f64::from(number))),
            Kind::Long => text.parse::<i64>().is_ok_and(|number| self.admits(number as f64)),
            Kind::Double => text.parse::<f64>().is_ok_and(|number| self.admits(number)),
            Kind::List => text.split(',').map(str::trim).filter(|item| !item.is_empty()).all(|item| self.knows(item)),
            Kind::String | Kind::Password | Kind::Class => self.knows(text),
        };
        if within { Ok(()) } else { Err(self.allowed()) }
    }

    fn admits(&self, number: f64) -> bool {
        match self.bounds {
            Bounds::Between(min, max) => (min..=max).contains(&number),
            Bounds::MinusOneOrBetween(min, max) => number == -1.0 || (min..=max).contains(&number),
            _ => true,
        }
    }

    fn knows(&self, word: &str) -> bool {
        match self.bounds {
            Bounds::OneOf(words) => words.contains(&word),
            Bounds::OneOfAnyCase(words) => words.iter().any(|known| known.eq_ignore_ascii_case(word)),
            _ => true,
        }
    }

    /// What values are allowed, for error messages and documentation.
    pub(crate) fn allowed(&self) -> String {
        let kind = match self.kind {
            Kind::Boolean => return "true or false".to_owned(),
            Kind::Short => "a whole number of 16 bits",
            Kind::Int => "a whole number of 32 bits",
            Kind::Long => "a whole number of 64 bits",
            Kind::Double => "a number",
            Kind::List => "a comma-separated list",
            Kind::String | Kind::Password => "a text",
            Kind::Class => "a class name",
        };
        match self.bounds {
            Bounds::Any => kind.to_owned(),
            Bounds::Between(min, max) if max >= i64::MAX as f64 => format!("{kind}, at least {min}"),
            Bounds::Between(min, max) => format!("{kind} from {min} to {max}"),
            Bounds::MinusOneOrBetween(min, max) => format!("{kind}, -1 or from {min} to {max}"),
            Bounds::OneOf(words) | Bounds::OneOfAnyCase(words) if self.kind == Kind::List => {
                format!("a comma-separated list of {}", words.join(", "))
            }
            Bounds::OneOf(words) | Bounds::OneOfAnyCase(words) => format!("one of {}", words.join(", ")),
        }
    }
}

const AREAS: [&[Setting]; 9] = [
    node::SETTINGS,
    network::SETTINGS,
    partitions::SETTINGS,
    replication::SETTINGS,
    groups::SETTINGS,
    security::SETTINGS,
    tiering::SETTINGS,
    others::SETTINGS,
    ours::SETTINGS,
];

/// Every row, by area.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    AREAS.iter().flat_map(|area| area.iter())
}

/// The row of a name. `listener.name.<listener>.<setting>` finds the row of the setting.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    let plain = all().find(|setting| setting.name == name);
    plain.or_else(|| {
        let (_listener, rest) = name.strip_prefix("listener.name.")?.split_once('.')?;
        security::SETTINGS.iter().find(|setting| rest == setting.name || rest.ends_with(&format!(".{}", setting.name)))
    })
}

/// How many edits apart a name may be to count as a slip of the pen.
const EDITS_MAX: usize = 4;

/// The known name closest to an unknown one.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let length = lower.chars().count();
    // A name that differs that much in its length is not looked at, however long it is.
    let candidates = all().filter(|setting| setting.name.len().abs_diff(length) <= EDITS_MAX);
    let candidates = candidates.map(|setting| (edits(&lower, setting.name), setting.name));
    let (distance, nearest) = candidates.min()?;
    (distance <= EDITS_MAX.min(name.len() / 2)).then_some(nearest)
}

/// Levenshtein distance, two rows at a time.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let replace = previous[column] + usize::from(l != *r);
            current.push(replace.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous[right.len()]
}

#[cfg(test)]
mod effects; // what shows that a setting does something
#[cfg(test)]
mod tests;
