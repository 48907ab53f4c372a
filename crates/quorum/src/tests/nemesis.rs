//! Random faults, from a seed: nodes that stop, come back, come back empty, are cut off or half cut off, and members that change,
//! while writers go on. Raft's own timeouts are random too, so a seed repeats the faults and not every message.
//!
//! `QUORUM_SEED=7 QUORUM_ROUNDS=500 cargo test -p twinstream-quorum nemesis -- --nocapture` runs more.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const NODES: i32 = 5;
const ROUNDS: u64 = 40;
const MEMBERS_TIMEOUT: Duration = Duration::from_millis(500);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(&of[self.roll(of.len())]) }
    }
}

#[derive(Default)]
struct History {
    acknowledged: Mutex<Vec<String>>,
    /// What nodes had applied when they were stopped.
    seen: Mutex<Vec<Vec<String>>>,
}

struct Nemesis {
    cluster: Cluster,
    dice: Dice,
    running: BTreeMap<i32, Node>,
    history: Arc<History>,
}

/// Writes one text after the other, wherever the leader is.
async fn write_all_along(name: &'static str, wires: Arc<Wires>, history: Arc<History>, over: Arc<AtomicBool>) {
    let mut written = 0;
    let is_over = || over.load(Ordering::Relaxed);
    let find_leader = || locked(&wires.nodes).values().find(|node| node.is_leader()).cloned();
    while !is_over() {
        let Some(leader) = find_leader() else {
            wait_at_most(PATIENCE, || is_over() || find_leader().is_some()).await;
            continue;
        };
        let text = format!("{name}-{written}");
        written += 1;
        let Ok(proposal) = leader.propose(text.clone().into_bytes()) else { continue };
        if proposal.await.is_ok() {
            locked(&history.acknowledged).push(text);
        }
    }
}

impl Nemesis {
    async fn round(&mut self) {
        let up: Vec<i32> = self.running.keys().copied().collect();
        let down: Vec<i32> = (1..=NODES).filter(|node| !self.running.contains_key(node)).collect();
        match self.dice.roll(12) {
            0 => {
                if let Some(node) = self.dice.pick(&up) {
                    self.cluster.isolate(*node);
                }
            }
            1 => self.cut_some_links(),
            2 | 3 => self.cluster.heal(),
            4 if up.len() > 2 => {
                if let Some(node) = self.dice.pick(&up).copied() {
                    self.stop(node).await;
                }
            }
            4 | 5 => {
                if let Some(node) = self.dice.pick(&down).copied() {
                    self.running.insert(node, self.cluster.start(node));
                }
            }
            6 => {
                if let Some(node) = self.dice.pick(&up).copied() {
                    self.wipe(node).await;
                }
            }
            7 => self.restart_all().await,
            8 | 9 => self.forget_with_a_majority().await,
            _ => self.change_members().await,
        }
        self.take_in_strangers().await;
        let limit = Duration::from_millis(20 + self.dice.roll(250) as u64);
        self.some_writes(limit).await;
    }

    /// Lets time pass, but no more than it takes to write something.
    async fn some_writes(&self, limit: Duration) {
        let before = locked(&self.history.acknowledged).len();
        wait_at_most(limit, || locked(&self.history.acknowledged).len() >= before + 50).await;
    }

    async fn stop(&mut self, node: i32) {
        let Some(node) = self.running.remove(&node) else { return };
        self.cluster.kill(node.clone()).await;
        assert_eq!(node.handle.status().failed, None);
        locked(&self.history.seen).push(node.applied());
    }

    async fn restart_all(&mut self) {
        let up: Vec<i32> = self.running.keys().copied().collect();
        for node in &up {
            self.stop(*node).await;
        }
        for node in up {
            self.running.insert(node, self.cluster.start(node));
        }
    }

    /// Only while all other voters are as they were: two empty directories of three are a lost cluster.
    async fn wipe(&mut self, node: i32) {
        let Some(leader) = self.leader() else { return };
        if !self.is_whole(&leader) || leader.voters().len() < 3 {
            return;
        }
        self.stop(node).await;
        self.cluster.wipe(node);
        self.running.insert(node, self.cluster.start(node));
    }

    /// One of three voters is stale, one comes back empty, and the one that remembers is away for a while.
    async fn forget_with_a_majority(&mut self) {
        let Some(leader) = self.leader() else { return };
        let others: Vec<i32> = leader.voters().into_iter().filter(|voter| *voter != leader.number()).collect();
        let [a, b] = *others.as_slice() else { return };
        if !self.is_whole(&leader) {
            return;
        }
        self.cluster.isolate(a);
        self.some_writes(Duration::from_millis(100)).await;
        for node in [b, leader.number()] {
            self.stop(node).await;
        }
        self.cluster.wipe(b);
        self.running.insert(b, self.cluster.start(b));
        self.cluster.heal();
        self.some_writes(ELECTION_TIMEOUT * 3).await;
        self.running.insert(leader.number(), self.cluster.start(leader.number()));
    }

    fn cut_some_links(&mut self) {
        for _ in 0..self.dice.roll(6) {
            let (from, to) = (self.dice.roll(NODES as usize) as i32 + 1, self.dice.roll(NODES as usize) as i32 + 1);
            locked(&self.cluster.wires.cut).insert((NodeId(from), NodeId(to)));
        }
    }

    async fn change_members(&mut self) {
        let Some(leader) = self.leader() else { return };
        let voters = leader.voters();
        let others: Vec<i32> = self.running.keys().copied().filter(|node| !voters.contains(node)).collect();
        let change = match (self.dice.roll(2), self.dice.pick(&others), self.dice.pick(&voters)) {
            (0, Some(node), _) => leader.handle.add_voter(NodeId(*node), self.running[node].handle.directory_id()),
            (_, _, Some(node)) if voters.len() > 3 => leader.handle.remove_voter(NodeId(*node), None),
            (_, Some(node), _) => leader.handle.remove_member(NodeId(*node)),
            _ => return,
        };
        let _outcome = tokio::time::timeout(MEMBERS_TIMEOUT, change).await;
    }

    /// What the controller does with brokers that register: they follow, with the directory that they have.
    async fn take_in_strangers(&mut self) {
        let Some(leader) = self.leader() else { return };
        for node in self.running.values() {
            let (id, directory) = node.id();
            let _outcome = tokio::time::timeout(MEMBERS_TIMEOUT, leader.handle.add_learner(id, directory)).await;
        }
    }

    /// All voters run with the directories that they vote with.
    fn is_whole(&self, leader: &Node) -> bool {
        leader.handle.status().voters.iter().all(|(voter, directory)| {
            self.running.get(&voter.0).is_some_and(|node| node.handle.directory_id() == *directory)
        })
    }

    fn leader(&self) -> Option<Node> {
        self.running.values().find(|node| node.handle.is_leader()).cloned()
    }

    /// Everything comes back and everybody gets everything.
    async fn recover(&mut self) -> Vec<Vec<String>> {
        self.cluster.heal();
        for node in 1..=NODES {
            if !self.running.contains_key(&node) {
                self.running.insert(node, self.cluster.start(node));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let nodes: Vec<Node> = self.running.values().cloned().collect();
        loop {
            self.take_in_strangers().await;
            let leader = leader(&nodes).await;
            if leader.propose("end").await.is_ok() {
                break;
            }
            assert!(Instant::now() < deadline, "nothing can be written any more");
        }
        for node in &nodes {
            self.take_in_strangers().await;
            node.until_applied("end").await;
            assert_eq!(node.handle.status().failed, None);
        }
        let end = |applied: Vec<String>| applied.into_iter().take_while(|text| text != "end").collect();
        nodes.iter().map(|node| end(node.applied())).collect()
    }
}

fn check(applied: &[Vec<String>], history: &History) {
    let all = &applied[0];
    for other in applied {
        assert_eq!(other, all, "nodes have the same history");
    }
    for seen in locked(&history.seen).iter() {
        assert!(all.starts_with(seen) || seen.contains(&"end".to_owned()), "no node has seen another history");
    }
    let at: HashMap<&str, usize> = all.iter().enumerate().map(|(at, text)| (text.as_str(), at)).collect();
    assert_eq!(at.len(), all.len(), "nothing comes twice");
    let mut last: HashMap<&str, usize> = HashMap::new();
    for text in locked(&history.acknowledged).iter() {
        let at = *at.get(text.as_str()).unwrap_or_else(|| panic!("{text} was acknowledged and is lost"));
        let writer = text.split('-').next().unwrap_or_default();
        let writer = if writer == "a" { "a" } else { "b" };
        let before = last.insert(writer, at);
        assert!(before.is_none_or(|before| before < at), "{text} comes before what was acknowledged earlier");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nemesis_loses_nothing_that_was_acknowledged() {
    let (seed, rounds) = (setting("QUORUM_SEED", 1), setting("QUORUM_ROUNDS", ROUNDS));
    eprintln!("QUORUM_SEED={seed} QUORUM_ROUNDS={rounds}");
    let cluster = Cluster { catch_up_timeout: MEMBERS_TIMEOUT, ..Cluster::with_snapshots_after(300) };
    let voters = cluster.formed(&[1, 2, 3]).await;
    leader(&voters).await;
    let mut running: BTreeMap<i32, Node> = voters.into_iter().map(|node| (node.number(), node)).collect();
    for node in 4..=NODES {
        running.insert(node, cluster.start(node));
    }
    let (history, over) = (Arc::<History>::default(), Arc::<AtomicBool>::default());
    let writers = ["a", "b"]
        .map(|name| tokio::spawn(write_all_along(name, cluster.wires.clone(), history.clone(), over.clone())));
    let mut nemesis = Nemesis { cluster, dice: Dice(seed), running, history: history.clone() };
    for _ in 0..rounds {
        nemesis.round().await;
    }
    over.store(true, Ordering::Relaxed);
    nemesis.cluster.heal();
    let applied = nemesis.recover().await;
    for writer in writers {
        tokio::time::timeout(PATIENCE, writer).await.expect("in time").expect("no panic");
    }
    check(&applied, &history);
    let acknowledged = locked(&history.acknowledged).len();
    eprintln!("{acknowledged} acknowledged of {} in the log", applied[0].len());
    assert!(acknowledged > 100, "the cluster could write");
}
