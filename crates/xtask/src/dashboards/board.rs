//! The parts that boards are made of, without Grafana's JSON.
//!
//! Picture: a [`Board`] has variables and rows; a [`Row`] has panels; a [`Panel`] has queries, a unit and bounds at which
//! its colour turns. In an expression `@` stands for the board's own selection of series and `@site` for that of the
//! site alone, so that each panel follows the variables.
//!
//! Not here: where a panel stands. [`crate::dashboards::json`] spreads the panels of a row evenly.

/// What is more than none; a counter that grew by one grew by a little less, as Prometheus sees it.
const ANY: f64 = 0.001;

/// Units, as Grafana names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    Bytes,
    BytesPerSecond,
    RecordsPerSecond,
    RequestsPerSecond,
    OpsPerSecond,
    Seconds,
    Milliseconds,
    /// 0 to 1.
    Share,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "Bps",
            Self::RecordsPerSecond => "recps",
            Self::RequestsPerSecond => "reqps",
            Self::OpsPerSecond => "ops",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Share => "percentunit",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number a query, with a colour.
    Stat,
    /// Lines over time.
    Graph,
    /// Lines over time, one on the other.
    Stack,
    /// A row for each set of labels, a column for each query.
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Orange,
    Red,
}

impl Colour {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Orange => "orange",
            Self::Red => "red",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub expression: &'static str,
    /// What a line is called; in a table, the column.
    pub legend: &'static str,
    /// Another one than that of the panel.
    pub unit: Option<Unit>,
}

#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub kind: Kind,
    pub title: &'static str,
    pub description: &'static str,
    pub unit: Unit,
    pub queries: Vec<Query>,
    /// From which value on which colour; the first one has no value.
    pub bounds: Vec<(Option<f64>, Colour)>,
}

impl Panel {
    fn new(kind: Kind, title: &'static str, unit: Unit, description: &'static str) -> Self {
        Self { kind, title, description, unit, queries: Vec::new(), bounds: vec![(None, Colour::Green)] }
    }

    /// A number; what is good about it, one of the functions below says.
    pub(super) fn stat(title: &'static str, unit: Unit, expression: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Stat, title, unit, description).line("", expression)
    }

    pub(super) fn graph(title: &'static str, unit: Unit, description: &'static str) -> Self {
        Self::new(Kind::Graph, title, unit, description)
    }

    pub(super) fn stack(title: &'static str, unit: Unit, description: &'static str) -> Self {
        Self::new(Kind::Stack, title, unit, description)
    }

    pub(super) fn table(title: &'static str, description: &'static str) -> Self {
        Self::new(Kind::Table, title, Unit::Count, description)
    }

    /// A query whose lines have this name.
    pub(super) fn line(mut self, legend: &'static str, expression: &'static str) -> Self {
        self.queries.push(Query { expression, legend, unit: None });
        self
    }

    /// A column of a table.
    pub(super) fn column(mut self, name: &'static str, unit: Unit, expression: &'static str) -> Self {
        assert_eq!(self.kind, Kind::Table, "{}: only tables have columns", self.title);
        self.queries.push(Query { expression, legend: name, unit: Some(unit) });
        self
    }

    /// Any at all is bad.
    pub(super) fn zero_is_good(self) -> Self {
        self.bad_from(ANY)
    }

    /// Any at all wants a look.
    pub(super) fn zero_is_usual(mut self) -> Self {
        self.bounds.push((Some(ANY), Colour::Orange));
        self
    }

    pub(super) fn bad_from(mut self, bad: f64) -> Self {
        self.bounds.push((Some(bad), Colour::Red));
        self
    }

    pub(super) fn rising(mut self, look: f64, bad: f64) -> Self {
        assert!(look < bad, "{}: {look} is not below {bad}", self.title);
        self.bounds.extend([(Some(look), Colour::Orange), (Some(bad), Colour::Red)]);
        self
    }

    /// Good from this value on, bad below the other.
    pub(super) fn falling(mut self, bad: f64, good: f64) -> Self {
        assert!(bad < good, "{}: {bad} is not below {good}", self.title);
        self.bounds = vec![(None, Colour::Red), (Some(bad), Colour::Orange), (Some(good), Colour::Green)];
        self
    }

    /// Good from this value on.
    pub(super) fn at_least(mut self, good: f64) -> Self {
        self.bounds = vec![(None, Colour::Red), (Some(good), Colour::Green)];
        self
    }

    /// One is good, less and more are bad.
    pub(super) fn one_is_good(mut self) -> Self {
        self.bounds = vec![(None, Colour::Red), (Some(1.0), Colour::Green), (Some(2.0), Colour::Red)];
        self
    }
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

/// What an operator chooses at the top of a board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variable {
    pub name: &'static str,
    pub label: &'static str,
    /// The series whose label of this name has the values.
    pub metric: &'static str,
    /// The label, if it is called otherwise than the variable.
    pub of_label: &'static str,
    /// Whether series without that label are meant when all is chosen.
    pub with_empty: bool,
}

impl Variable {
    /// Whoever measures one site only may leave the label away.
    pub(super) const fn site(metric: &'static str) -> Self {
        Self { name: "site", label: "Site", metric, of_label: "site", with_empty: true }
    }

    pub(super) const fn instance(metric: &'static str) -> Self {
        Self { name: "instance", label: "Instance", metric, of_label: "instance", with_empty: true }
    }

    pub(super) const fn label(name: &'static str, label: &'static str, metric: &'static str) -> Self {
        Self { name, label, metric, of_label: name, with_empty: false }
    }

    /// The values stand in a label of another name.
    pub(super) const fn of(mut self, label: &'static str) -> Self {
        self.of_label = label;
        self
    }
}

#[derive(Clone, Debug)]
pub(super) struct Board {
    /// Of the file, and the end of its uid.
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// What `@` stands for.
    pub selection: &'static str,
    pub variables: Vec<Variable>,
    pub rows: Vec<Row>,
}

impl Board {
    pub(super) fn row(mut self, title: &'static str, panels: impl IntoIterator<Item = Panel>) -> Self {
        self.rows.push(Row { title, panels: panels.into_iter().collect() });
        self
    }

    /// An expression with its selections filled in.
    pub(super) fn filled(&self, expression: &str) -> String {
        expression.replace("@site", r#"site=~"$site""#).replace('@', self.selection)
    }

    /// How many queries it asks.
    pub(super) fn queries(&self) -> usize {
        self.rows.iter().flat_map(|row| &row.panels).map(|panel| panel.queries.len()).sum()
    }
}
