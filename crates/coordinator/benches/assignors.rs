//! What a change of a large group costs the shard: one computation of its target assignment.
//! `cargo bench -p twinstream-coordinator`.
//!
//! The group is the one of our promise, 500 members on 1,000 partitions, which have settled when something changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use divan::{Bencher, black_box};
use twinstream_coordinator::group::assignor::{ASSIGNORS, Assignor, GroupSpec, MemberSpec, TopicSpec, assignor};
use twinstream_model::{TopicId, TopicName};
use uuid::Uuid;

const MEMBERS: usize = 500;
const TOPICS: usize = 50;
const PARTITIONS: usize = 20;

fn main() {
    divan::main();
}

fn names() -> Vec<&'static str> {
    ASSIGNORS.iter().map(|assignor| assignor.name()).collect()
}

fn named(name: &str) -> &'static dyn Assignor {
    assignor(name).expect("one of our assignors")
}

fn topic(number: usize) -> TopicId {
    TopicId(Uuid::from_u128(0x1234_5678_9abc_def0 * (number as u128 + 1)))
}

fn group(wants: impl Fn(usize) -> Arc<BTreeSet<TopicId>>) -> GroupSpec {
    let mut spec = GroupSpec::default();
    for number in 0..TOPICS {
        let name = TopicName::parse(&format!("topic-{number}")).expect("a legal name");
        spec.topics.insert(topic(number), TopicSpec { name, partitions: PARTITIONS, racks: Vec::new() });
    }
    for number in 0..MEMBERS {
        let member = MemberSpec { subscribed: wants(number), ..MemberSpec::default() };
        spec.members.insert(format!("member-{number}").into(), member);
    }
    spec
}

/// Everybody wants everything.
fn alike() -> GroupSpec {
    let all: Arc<BTreeSet<TopicId>> = Arc::new((0..TOPICS).map(topic).collect());
    group(|_| all.clone())
}

/// Everybody wants half of the topics, and no two members quite the same.
fn different() -> GroupSpec {
    group(|number| Arc::new((0..TOPICS / 2).map(|step| topic((number * 7 + step) % TOPICS)).collect()))
}

fn settled(mut spec: GroupSpec, assignor: &dyn Assignor) -> GroupSpec {
    for (id, share) in assignor.assign(&spec) {
        spec.members.get_mut(&id).expect("a member").assigned = share;
    }
    spec
}

fn without_one(mut spec: GroupSpec) -> GroupSpec {
    spec.members.remove(&"member-250".into());
    spec
}

#[divan::bench(args = names())]
fn first_assignment(bencher: Bencher<'_, '_>, name: &str) {
    let spec = alike();
    bencher.bench_local(|| named(name).assign(black_box(&spec)));
}

#[divan::bench(args = names())]
fn member_leaves(bencher: Bencher<'_, '_>, name: &str) {
    let spec = without_one(settled(alike(), named(name)));
    bencher.bench_local(|| named(name).assign(black_box(&spec)));
}

#[divan::bench(args = names())]
fn member_leaves_where_all_want_something_else(bencher: Bencher<'_, '_>, name: &str) {
    let spec = without_one(settled(different(), named(name)));
    bencher.bench_local(|| named(name).assign(black_box(&spec)));
}
