//! Transactions that depend on each other in a circle (Adya: Weak Consistency, 1999; Elle).
//!
//! Two graphs whose nodes are transactions. In the first one an edge goes from who sent a value to who polled it as
//! committed: a circle there is G1c, for what is committed cannot have read what is committed after it. In the second one
//! an edge goes from who sent a value to who sent the next one of the same partition: circles are G0 and everyday life.

use std::collections::BTreeSet;

use super::places::Places;
use super::{Findings, Kind};
use crate::history::{Outcome, Value};

/// Transactions that a circle tells by name.
const NAMED: usize = 6;

/// Whom each transaction is followed by, and why.
type Graph = Vec<Vec<Edge>>;

#[derive(Clone, Copy, Debug)]
struct Edge {
    to: usize,
    partition: i32,
    value: Value,
}

pub(super) fn cycles(places: &Places, found: &mut Findings) {
    if places.transactions.is_empty() {
        return;
    }
    for (kind, graph) in [(Kind::CircularRead, reads(places)), (Kind::CircularWrite, writes(places))] {
        for circle in circles(&graph) {
            tell(kind, &graph, &circle, places, found);
        }
    }
}

fn reads(places: &Places) -> Graph {
    let transactions = &places.transactions;
    let mut graph: Graph = vec![Vec::new(); transactions.all().count()];
    for (reader, transaction) in transactions.all().enumerate() {
        let counts = transaction.fate() != Outcome::Aborted && places.reads_committed(transaction.worker);
        for (partition, value) in transaction.polled.iter().filter(|_| counts) {
            if let Some(writer) = transactions.index_of(*value).filter(|writer| *writer != reader) {
                graph[writer].push(Edge { to: reader, partition: *partition, value: *value });
            }
        }
    }
    graph
}

fn writes(places: &Places) -> Graph {
    let transactions = &places.transactions;
    let mut graph: Graph = vec![Vec::new(); transactions.all().count()];
    for (partition, log) in &places.log {
        let mut before: Option<(usize, Value)> = None;
        for value in log.values().flatten() {
            let Some(writer) = transactions.index_of(*value) else { continue };
            if transactions.get(writer).fate() == Outcome::Aborted {
                continue;
            }
            if let Some((earlier, sent)) = before.filter(|(earlier, _)| *earlier != writer) {
                graph[earlier].push(Edge { to: writer, partition: *partition, value: sent });
            }
            before = Some((writer, *value));
        }
    }
    graph
}

fn tell(kind: Kind, graph: &Graph, circle: &[usize], places: &Places, found: &mut Findings) {
    let members: BTreeSet<usize> = circle.iter().copied().collect();
    let inside = |edge: &&Edge| members.contains(&edge.to);
    let steps = circle.iter().filter_map(|from| Some((*from, graph[*from].iter().find(inside)?)));
    let name = |index: usize| {
        let transaction = places.transactions.get(index);
        format!("that of worker {} at {:.3} s", transaction.worker.0, transaction.began_us as f64 / 1e6)
    };
    let verb = if kind == Kind::CircularRead { "was polled by" } else { "stands before" };
    let told: Vec<String> =
        steps.clone().take(NAMED).map(|(_, edge)| format!("{} {verb} {}", edge.value, name(edge.to))).collect();
    let partition = steps.map(|(_, edge)| edge.partition).next().unwrap_or(-1);
    found.add(kind, partition, format!("{} transactions: {}", circle.len(), told.join(", ")));
}

/// Strongly connected parts of more than one node, by Tarjan's algorithm without recursion: histories are long.
fn circles(graph: &Graph) -> Vec<Vec<usize>> {
    let mut search = Search {
        index: vec![None; graph.len()],
        low: vec![0; graph.len()],
        on_stack: vec![false; graph.len()],
        stack: Vec::new(),
        next: 0,
    };
    let mut found = Vec::new();
    for root in 0..graph.len() {
        if search.index[root].is_none() {
            search.from(root, graph, &mut found);
        }
    }
    found
}

struct Search {
    index: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
}

impl Search {
    fn from(&mut self, root: usize, graph: &Graph, found: &mut Vec<Vec<usize>>) {
        // Nodes on the way, each with how many of its edges were followed.
        let mut way = vec![(root, 0)];
        self.enter(root);
        while let Some((node, followed)) = way.last_mut() {
            let node = *node;
            if let Some(edge) = graph[node].get(*followed) {
                *followed += 1;
                match self.index[edge.to] {
                    None => {
                        self.enter(edge.to);
                        way.push((edge.to, 0));
                    }
                    Some(index) if self.on_stack[edge.to] => self.low[node] = self.low[node].min(index),
                    Some(_) => {}
                }
                continue;
            }
            way.pop();
            if let Some((parent, _)) = way.last() {
                self.low[*parent] = self.low[*parent].min(self.low[node]);
            }
            if Some(self.low[node]) == self.index[node] {
                found.extend(self.leave(node));
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.index[node] = Some(self.next);
        self.low[node] = self.next;
        self.next += 1;
        self.on_stack[node] = true;
        self.stack.push(node);
    }

    /// Takes the part that this node is the first of; `None` when it is alone.
    fn leave(&mut self, first: usize) -> Option<Vec<usize>> {
        let from = self.stack.iter().rposition(|node| *node == first)?;
        let part = self.stack.split_off(from);
        part.iter().for_each(|node| self.on_stack[*node] = false);
        (part.len() > 1).then_some(part)
    }
}
