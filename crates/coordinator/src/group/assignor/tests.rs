use proptest::prelude::*;
use twinstream_model::PartitionIndex;
use uuid::Uuid;

use super::*;

/// Partitions of the topic with that number.
type Share<'a> = (usize, &'a [i32]);
type Shares<'a> = [(&'a str, &'a [Share<'a>])];

/// The topic with that number.
fn topic(number: usize) -> TopicId {
    TopicId(Uuid::from_u128(number as u128 + 1))
}

fn partitions(of: &[Share<'_>]) -> Arc<Partitions> {
    let all = of.iter().map(|(number, of)| (topic(*number), of.iter().map(|index| PartitionIndex(*index)).collect()));
    Arc::new(all.collect())
}

fn group(topics: &[usize]) -> GroupSpec {
    let spec = |(number, partitions): (usize, &usize)| {
        let name = TopicName::parse(&format!("t{number}")).unwrap();
        (topic(number), TopicSpec { name, partitions: *partitions, racks: Vec::new() })
    };
    GroupSpec { members: BTreeMap::new(), topics: topics.iter().enumerate().map(spec).collect() }
}

impl GroupSpec {
    fn member(mut self, id: &str, subscribed: &[usize]) -> GroupSpec {
        let subscribed = Arc::new(subscribed.iter().map(|number| topic(*number)).collect());
        self.members.insert(id.into(), MemberSpec { subscribed, ..MemberSpec::default() });
        self
    }

    fn static_member(self, id: &str, instance: &str, subscribed: &[usize]) -> GroupSpec {
        let mut spec = self.member(id, subscribed);
        spec.members.get_mut(&MemberId::from(id)).unwrap().instance = Some(instance.into());
        spec
    }

    fn having(mut self, id: &str, assigned: &[Share<'_>]) -> GroupSpec {
        self.members.get_mut(&MemberId::from(id)).unwrap().assigned = partitions(assigned);
        self
    }

    /// The same group after its members took over an assignment.
    fn after(mut self, assignment: &Assignment) -> GroupSpec {
        for (id, member) in &mut self.members {
            if let Some(assigned) = assignment.get(id) {
                member.assigned = assigned.clone();
            }
        }
        self
    }
}

fn check(assignor: &dyn Assignor, spec: &GroupSpec, expected: &Shares<'_>) {
    let expected: Assignment = expected.iter().map(|(id, of)| (MemberId::from(*id), partitions(of))).collect();
    assert_eq!(assignor.assign(spec), expected);
}

#[test]
fn assignors_are_found_by_kafkas_names() {
    assert_eq!(ASSIGNORS.map(|assignor| assignor.name()), ["uniform", "range"]);
    assert_eq!(assignor("range").map(Assignor::name), Some("range"));
    assert!(assignor("Range").is_none());
}

#[test]
fn group_without_members_or_topics_is_assigned_nothing() {
    for assignor in ASSIGNORS {
        check(assignor, &group(&[3]), &[]);
        check(assignor, &group(&[]).member("a", &[]), &[("a", &[])]);
        check(assignor, &group(&[0]).member("a", &[0]), &[("a", &[])]);
        check(assignor, &group(&[2]).member("a", &[0]).member("b", &[]), &[("a", &[(0, &[0, 1])]), ("b", &[])]);
    }
}

#[test]
fn topic_that_is_not_there_any_more_is_passed_over() {
    for assignor in ASSIGNORS {
        let spec = group(&[2]).member("a", &[0, 7]).having("a", &[(7, &[0]), (0, &[1, 9])]);
        check(assignor, &spec, &[("a", &[(0, &[0, 1])])]);
        let spec = spec.member("b", &[7]).having("b", &[(7, &[1])]);
        check(assignor, &spec, &[("a", &[(0, &[0, 1])]), ("b", &[])]);
    }
}

#[test]
fn uniform_deals_each_topic_around() {
    let spec = group(&[4, 2]).member("a", &[0, 1]).member("b", &[0, 1]);
    let expected: &Shares<'_> = &[("a", &[(0, &[0, 2]), (1, &[0])]), ("b", &[(0, &[1, 3]), (1, &[1])])];
    check(&Uniform, &spec, expected);
}

#[test]
fn uniform_gives_the_odd_partition_to_whoever_has_it() {
    let spec = group(&[3]).member("a", &[0]).member("b", &[0]);
    let spec = spec.having("a", &[(0, &[0])]).having("b", &[(0, &[1, 2])]);
    check(&Uniform, &spec, &[("a", &[(0, &[0])]), ("b", &[(0, &[1, 2])])]);
}

#[test]
fn uniform_takes_a_share_of_every_topic_for_a_newcomer() {
    let spec = group(&[4, 4]).member("a", &[0, 1]).having("a", &[(0, &[0, 1, 2, 3]), (1, &[0, 1, 2, 3])]);
    let expected: &Shares<'_> = &[("a", &[(0, &[0, 1]), (1, &[0, 1])]), ("b", &[(0, &[2, 3]), (1, &[2, 3])])];
    check(&Uniform, &spec.member("b", &[0, 1]), expected);
}

#[test]
fn uniform_leaves_an_old_double_ownership_with_one_member() {
    let spec = group(&[2]).member("a", &[0]).member("b", &[0]);
    let spec = spec.having("a", &[(0, &[0, 1])]).having("b", &[(0, &[0, 1])]);
    check(&Uniform, &spec, &[("a", &[(0, &[0])]), ("b", &[(0, &[1])])]);
}

#[test]
fn uniform_levels_subscribers_of_a_topic_whatever_else_they_want() {
    let spec = group(&[6, 6]).member("a", &[0, 1]).member("b", &[0]);
    let spec = spec.having("a", &[(0, &[0, 1, 2, 3, 4, 5])]);
    let expected: &Shares<'_> = &[("a", &[(1, &[0, 1, 2, 3, 4, 5])]), ("b", &[(0, &[0, 1, 2, 3, 4, 5])])];
    check(&Uniform, &spec, expected);
}

#[test]
fn unchanged_share_is_the_same_allocation() {
    for assignor in ASSIGNORS {
        let spec = group(&[5, 3]).member("a", &[0, 1]).member("b", &[0]).member("c", &[1]);
        let first = assignor.assign(&spec);
        let second = assignor.assign(&spec.after(&first));
        for (id, share) in &second {
            assert!(Arc::ptr_eq(share, &first[id]), "{} of {}", id, assignor.name());
        }
    }
}

#[test]
fn range_gives_the_same_partitions_of_equal_topics() {
    let spec = group(&[3, 3]).member("a", &[0, 1]).member("b", &[0, 1]);
    let expected: &Shares<'_> = &[("a", &[(0, &[0, 1]), (1, &[0, 1])]), ("b", &[(0, &[2]), (1, &[2])])];
    check(&Range, &spec, expected);
}

#[test]
fn range_cuts_each_topic_among_its_subscribers() {
    let spec = group(&[3, 3]).member("a", &[0, 1]).member("b", &[0]).member("c", &[1]);
    let expected: &Shares<'_> = &[("a", &[(0, &[0, 1]), (1, &[0, 1])]), ("b", &[(0, &[2])]), ("c", &[(1, &[2])])];
    check(&Range, &spec, expected);
}

#[test]
fn range_gives_nothing_to_more_members_than_partitions() {
    let spec = group(&[1]).member("a", &[0]).member("b", &[0]);
    check(&Range, &spec, &[("a", &[(0, &[0])]), ("b", &[])]);
}

#[test]
fn static_member_keeps_its_range_under_a_new_id() {
    let before = group(&[4]).static_member("m1", "one", &[0]).static_member("m2", "two", &[0]);
    check(&Range, &before, &[("m1", &[(0, &[0, 1])]), ("m2", &[(0, &[2, 3])])]);
    let after = group(&[4]).static_member("m9", "one", &[0]).static_member("m2", "two", &[0]);
    check(&Range, &after, &[("m2", &[(0, &[2, 3])]), ("m9", &[(0, &[0, 1])])]);
}

#[test]
fn range_puts_static_members_before_the_others() {
    let spec = group(&[2]).member("a", &[0]).static_member("z", "zebra", &[0]);
    check(&Range, &spec, &[("a", &[(0, &[1])]), ("z", &[(0, &[0])])]);
}

/// Partitions as in `2:0,1;5:3`, by the number of the topic.
fn parse_share(text: &str) -> Partitions {
    let number = |text: &str| text.parse::<i32>().unwrap();
    let topics = text.split(';').filter_map(|topic| topic.split_once(':'));
    let share = topics.map(|(of, partitions)| {
        (topic(number(of) as usize), partitions.split(',').map(|index| PartitionIndex(number(index))).collect())
    });
    share.collect()
}

/// Each line of `testdata/kafka/ranges.txt` is what the `RangeAssignor` of Apache Kafka 4.3.1 made of a group: sizes of
/// topics | members as `id/instance:topics` | shares as `id=topic:partitions`.
#[test]
fn range_gives_what_kafkas_gives() {
    for line in include_str!("../../../testdata/kafka/ranges.txt").lines() {
        let parts: Vec<&str> = line.split(" | ").collect();
        let sizes: Vec<usize> = parts[0].split(',').map(|size| size.parse().unwrap()).collect();
        let mut spec = group(&sizes);
        for member in parts[1].split(' ') {
            let (names, topics) = member.split_once(':').unwrap();
            let (id, instance) = names.split_once('/').unwrap();
            let topics: Vec<usize> =
                topics.split(',').filter(|topic| !topic.is_empty()).map(|topic| topic.parse().unwrap()).collect();
            spec = match instance {
                "-" => spec.member(id, &topics),
                instance => spec.static_member(id, instance, &topics),
            };
        }
        let shares = parts[2].split(' ').map(|share| share.split_once('=').unwrap());
        let expected: Assignment =
            shares.map(|(id, share)| (MemberId::from(id), Arc::new(parse_share(share)))).collect();
        assert_eq!(Range.assign(&spec), expected, "{line}");
    }
}

/// What somebody was to own: any partitions of any topics, also of some that do not exist.
fn old_share() -> impl Strategy<Value = Vec<(usize, i32)>> {
    prop::collection::vec((0..7usize, 0..9i32), 0..12)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..9usize, 1..6)
}

/// Any group whose members want the same.
fn alike() -> impl Strategy<Value = GroupSpec> {
    (sizes(), prop::collection::vec(old_share(), 1..9), any::<u8>()).prop_map(|(sizes, shares, wanted)| {
        let all: Vec<usize> = (0..sizes.len()).filter(|number| wanted & (1 << number) != 0).collect();
        let wanted = vec![all; shares.len()];
        build(&sizes, &shares, &wanted)
    })
}

/// Any group.
fn different() -> impl Strategy<Value = GroupSpec> {
    let members = prop::collection::vec((old_share(), prop::collection::vec(0..6usize, 0..6)), 1..9);
    (sizes(), members).prop_map(|(sizes, members)| {
        let (shares, wanted): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        build(&sizes, &shares, &wanted)
    })
}

/// Old shares without two owners of one partition, as every target assignment is.
fn build(sizes: &[usize], shares: &[Vec<(usize, i32)>], wanted: &[Vec<usize>]) -> GroupSpec {
    let mut spec = group(sizes);
    let mut taken = BTreeSet::new();
    for (number, (share, wanted)) in shares.iter().zip(wanted).enumerate() {
        let id = format!("m{number}");
        spec = spec.member(&id, wanted);
        let mut assigned = Partitions::new();
        for (number, partition) in share.iter().filter(|owned| taken.insert(**owned)) {
            assigned.entry(topic(*number)).or_default().insert(PartitionIndex(*partition));
        }
        spec.members.get_mut(&MemberId::from(id)).unwrap().assigned = Arc::new(assigned);
    }
    spec
}

fn load(share: &Partitions) -> usize {
    share.values().map(BTreeSet::len).sum()
}

/// A1, and that nobody is left out of the answer.
fn check_complete(spec: &GroupSpec, assignment: &Assignment) {
    assert!(assignment.keys().eq(spec.members.keys()));
    let mut owned = BTreeSet::new();
    for (id, share) in assignment {
        for (topic, partitions) in share.iter() {
            assert!(spec.members[id].subscribed.contains(topic), "{id} did not ask for {topic}");
            assert!(!partitions.is_empty());
            for partition in partitions {
                assert!(owned.insert((*topic, *partition)), "two own partition {partition} of {topic}");
            }
        }
    }
    let wanted: BTreeSet<&TopicId> = spec.members.values().flat_map(|member| member.subscribed.iter()).collect();
    let all = spec.topics.iter().filter(|(id, _)| wanted.contains(id));
    let all = all.flat_map(|(id, topic)| (0..topic.partitions).map(|index| (*id, PartitionIndex(index as i32))));
    assert!(owned.into_iter().eq(all), "every partition has an owner");
}

/// How many of a member's wanted and existing partitions it keeps.
fn kept(spec: &GroupSpec, assignment: &Assignment) -> usize {
    let kept = |(id, member): (&MemberId, &MemberSpec)| {
        let new = &assignment[id];
        let of = |(topic, old): (&TopicId, &BTreeSet<PartitionIndex>)| {
            new.get(topic).map_or(0, |new| new.intersection(old).count())
        };
        member.assigned.iter().map(of).sum::<usize>()
    };
    spec.members.iter().map(kept).sum()
}

/// The most that any balanced assignment can leave where it is.
fn can_be_kept(spec: &GroupSpec) -> usize {
    let had = |member: &MemberSpec| {
        let counts = |(id, owned): (&TopicId, &BTreeSet<PartitionIndex>)| match spec.topics.get(id) {
            Some(topic) if member.subscribed.contains(id) => {
                owned.iter().filter(|partition| (partition.0 as usize) < topic.partitions).count()
            }
            _ => 0,
        };
        member.assigned.iter().map(counts).sum::<usize>()
    };
    let wanted: BTreeSet<&TopicId> = spec.members.values().flat_map(|member| member.subscribed.iter()).collect();
    let total: usize = wanted.into_iter().filter_map(|id| spec.topics.get(id)).map(|topic| topic.partitions).sum();
    let (least, odd) = (total / spec.members.len(), total % spec.members.len());
    let had: Vec<usize> = spec.members.values().map(had).collect();
    let with_more = had.iter().filter(|had| **had > least).count();
    had.iter().map(|had| (*had).min(least)).sum::<usize>() + odd.min(with_more)
}

proptest! {
    #[test]
    fn uniform_is_balanced_and_moves_no_more_than_it_must(spec in alike()) {
        let assignment = Uniform.assign(&spec);
        check_complete(&spec, &assignment);
        let loads: Vec<usize> = assignment.values().map(|share| load(share)).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
        prop_assert_eq!(kept(&spec, &assignment), can_be_kept(&spec));
        let again = Uniform.assign(&spec.clone().after(&assignment));
        prop_assert_eq!(again, assignment);
    }

    #[test]
    fn uniform_levels_every_topic(spec in different()) {
        let assignment = Uniform.assign(&spec);
        check_complete(&spec, &assignment);
        for topic in spec.topics.keys() {
            let subscribers = spec.members.iter().filter(|(_, member)| member.subscribed.contains(topic));
            let Some(least) = subscribers.map(|(id, _)| load(&assignment[id])).min() else { continue };
            let owners = assignment.iter().filter(|(_, share)| share.contains_key(topic));
            for (owner, share) in owners {
                prop_assert!(load(share) <= least + 1, "{} has {}, another subscriber {}", owner, load(share), least);
            }
        }
        let again = Uniform.assign(&spec.clone().after(&assignment));
        prop_assert_eq!(again, assignment);
    }

    #[test]
    fn uniform_keeps_what_stays_when_a_member_leaves(spec in alike(), leaver: prop::sample::Index) {
        let settled = spec.clone().after(&Uniform.assign(&spec));
        let mut left = settled.clone();
        let leaver = leaver.get(&settled.members.keys().cloned().collect::<Vec<_>>()).clone();
        left.members.remove(&leaver);
        prop_assume!(!left.members.is_empty());
        let assignment = Uniform.assign(&left);
        for (id, share) in &assignment {
            for (topic, partitions) in settled.members[id].assigned.iter() {
                prop_assert!(share[topic].is_superset(partitions), "{} lost partitions of {}", id, topic);
            }
        }
    }

    #[test]
    fn range_cuts_runs_of_about_one_length(spec in different()) {
        let assignment = Range.assign(&spec);
        check_complete(&spec, &assignment);
        for topic in spec.topics.keys() {
            let subscribers = spec.members.iter().filter(|(_, member)| member.subscribed.contains(topic));
            let runs: Vec<Vec<i32>> = subscribers
                .map(|(id, _)| assignment[id].get(topic).into_iter().flatten().map(|partition| partition.0).collect())
                .collect();
            for run in &runs {
                prop_assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1), "{:?}", run);
            }
            let lengths = || runs.iter().map(Vec::len);
            prop_assert!(lengths().max().unwrap_or(0) - lengths().min().unwrap_or(0) <= 1, "{:?}", runs);
        }
    }
}
