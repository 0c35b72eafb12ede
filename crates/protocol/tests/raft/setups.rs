//! The configurations that are searched, with their budgets: each comes to its end within minutes on one core.
//!
//! What they do not show: three nodes in two terms with disks by hand (`three-faults` has its disks flush at once, and
//! `three-once` has one term); Figure 8 with two time-outs over all links (`figure8-once` has all links, `figure8` has none
//! between 1 and 4, 5, and its campaigns in the order of the paper); the change of 2015 with a second time-out. None of these
//! came to its end when it was tried, within minutes and six gigabytes.

use crate::cluster::{Cluster, Member, Options, SHARD, n};
use crate::search::Budget;
use quorate_base::time::Duration;
use quorate_base::{EntryId, Index, Instant, Term};
use quorate_protocol::raft::{Config, Input, Membership, Mutant};

/// A cluster in which every timer may fire at any moment.
fn timeless(voters: &[u64], mutant: Option<Mutant>) -> Cluster {
    let config = Config {
        heartbeat: Duration::from_secs(1 << 30),
        election_min: Duration::from_nanos(1),
        election_max: Duration::from_nanos(1),
        ..Config::new(SHARD, n(0))
    };
    let options = Options { auto_disk: false, mutant, config, ..Options::default() };
    let mut cluster = Cluster::new(options, voters, &[]);
    cluster.now = Instant(1000);
    cluster
}

/// The logs of Figure 8 (b), and leaders that send one entry a message.
fn figure8(mutant: Option<Mutant>) -> Cluster {
    let mut cluster = timeless(&[1, 2, 3, 4, 5], mutant);
    cluster.options.auto_disk = true;
    cluster.options.config.max_append_entries = 1;
    for (node, terms) in [(1, &[1, 2][..]), (2, &[1, 2]), (3, &[1]), (4, &[1]), (5, &[1, 3])] {
        cluster.seed(n(node), 3, terms);
    }
    cluster
}

/// A start, by name, with its budgets.
pub struct Setup {
    pub name: &'static str,
    pub about: &'static str,
    pub start: fn(Option<Mutant>) -> (Cluster, Budget),
    /// What must be among the states.
    pub visits: &'static [(&'static str, Sought)],
}

/// Whether all nodes together are what one looks for.
pub type Sought = fn(&[&Member]) -> bool;

/// Node 1 leads in term 4 and knows that 2 and 3 have confirmed 2@2.
fn figure8_c(nodes: &[&Member]) -> bool {
    let Some(raft) = &nodes[0].raft else { return false };
    let knows = |id| raft.progress().get(&n(id)).is_some_and(|p| p.matched >= Index(2));
    raft.is_leader() && raft.term() == Term(4) && knows(2) && knows(3)
}

/// It still does, and has committed nothing; 2 and 3 have 3@2 by then, from node 5, which leads in term 5.
fn figure8_d(nodes: &[&Member]) -> bool {
    let newer = |m: &Member| m.disk.holds(EntryId::new(Term(3), Index(2)));
    let leads = nodes[4].raft.as_ref().is_some_and(|r| r.is_leader() && r.term() == Term(5));
    figure8_c(nodes) && leads && newer(nodes[1]) && newer(nodes[2])
}

pub const SETUPS: &[Setup] = &[
    Setup {
        name: "two",
        about: "two nodes from empty, two terms, any number of time-outs, one crash, one command, disks by hand",
        start: |mutant| {
            let budget = Budget { campaigners: vec![1, 2], crash: 1, propose: 1, ..Budget::default() };
            (timeless(&[1, 2], mutant), budget)
        },
        visits: &[],
    },
    Setup {
        name: "three",
        about: "three nodes from empty, two time-outs of nodes 1 and 2, two terms, disks at once",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3], mutant);
            cluster.options.auto_disk = true;
            (cluster, Budget { campaigners: vec![1, 2], timeouts: 2, ..Budget::default() })
        },
        visits: &[],
    },
    Setup {
        name: "three-faults",
        about: "three nodes from empty, node 1 and then node 2 loses patience, one crash, one command, disks at once",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3], mutant);
            cluster.options.auto_disk = true;
            let budget = Budget {
                campaigners: vec![1, 2],
                timeouts: 2,
                in_turn: true,
                again: 1,
                crash: 1,
                propose: 1,
                ..Budget::default()
            };
            (cluster, budget)
        },
        visits: &[],
    },
    Setup {
        name: "three-once",
        about: "three nodes from empty, one time-out of anybody, one crash, one command, disks by hand",
        start: |mutant| {
            let budget = Budget { timeouts: 1, crash: 1, propose: 1, ..Budget::default() };
            (timeless(&[1, 2, 3], mutant), budget)
        },
        visits: &[],
    },
    Setup {
        name: "three-reads",
        about: "three nodes, one leads in term 1 with a command committed; node 2 loses patience, twice at most, one read, one command",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3], mutant);
            cluster.options.auto_disk = true;
            cluster.step(n(1), Input::Tick);
            cluster.stabilize();
            cluster.propose(n(1), "a");
            cluster.stabilize();
            let budget = Budget {
                campaigners: vec![2],
                timeouts: 2,
                again: 1,
                read: 1,
                propose: 1,
                ..Budget::default()
            };
            (cluster, budget)
        },
        visits: &[],
    },
    Setup {
        name: "figure8",
        about: "Figure 8 from (b) through (c) and (d), one entry a message, no word between 1 and 4, 5: 1 loses patience, then 5, twice",
        start: |mutant| {
            let mut cluster = figure8(mutant);
            for (a, b) in [(1, 4), (1, 5)] {
                cluster.cut.extend([(n(a), n(b)), (n(b), n(a))]);
            }
            // Node 5 hears of term 4 only when it is refused.
            let campaigners = vec![1, 5, 5];
            let budget = Budget {
                campaigners,
                term_max: 5,
                timeouts: 3,
                in_turn: true,
                again: 1,
                ..Budget::default()
            };
            (cluster, budget)
        },
        visits: &[
            ("(c): in term 4 an entry of term 2 is on a majority", figure8_c),
            ("(d): the leader of term 5 has overwritten it", figure8_d),
        ],
    },
    Setup {
        name: "figure8-once",
        about: "Figure 8 from (b), one entry a message, all links: node 1, or node 5, loses patience once",
        start: |mutant| {
            let budget =
                Budget { campaigners: vec![1, 5], term_max: 5, timeouts: 1, again: 1, ..Budget::default() };
            (figure8(mutant), budget)
        },
        visits: &[],
    },
    Setup {
        name: "figure7",
        about: "Figure 7, shortened: nodes 1 and 3 lose patience, twice at most",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3, 4, 5], mutant);
            cluster.options.auto_disk = true;
            let logs =
                [(1, &[1, 4, 6][..]), (2, &[1]), (3, &[1, 4, 6, 7]), (4, &[1, 4, 4]), (5, &[1, 2, 3, 3])];
            for (node, terms) in logs {
                cluster.seed(n(node), 7, terms);
            }
            let budget =
                Budget { campaigners: vec![1, 3], term_max: 9, timeouts: 2, again: 0, ..Budget::default() };
            (cluster, budget)
        },
        visits: &[],
    },
    Setup {
        name: "change-2015",
        about: "four voters; node 1 alone has begun to remove 4; one time-out of 1 or 2; a leader may be asked to remove 1",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3, 4], mutant);
            cluster.options.auto_disk = true;
            cluster.step(n(1), Input::Tick);
            cluster.stabilize();
            let voters = |ids: &[u64]| Membership::of_voters(ids.iter().map(|&i| n(i)));
            cluster.change(n(1), &voters(&[1, 2, 3]));
            let changes = vec![voters(&[2, 3, 4])];
            let budget = Budget { campaigners: vec![1, 2], timeouts: 1, changes, ..Budget::default() };
            (cluster, budget)
        },
        visits: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locals::{feed_member, fingerprint};
    use crate::plain::{Net, reach};
    use crate::search::{EVER, Search, search};
    use std::collections::BTreeSet;

    /// How many states each start may take here; the example goes on to the end.
    const LIMIT: usize = 5000;

    #[test]
    fn nothing_is_wrong_within_the_small_budget() {
        for setup in SETUPS {
            let (cluster, budget) = (setup.start)(None);
            match search(&cluster, budget, LIMIT) {
                Ok(report) => println!("{} ({}): {report}", setup.name, setup.about),
                Err(why) => panic!("{}: {why}", setup.name),
            }
        }
    }

    /// In less time than the whole takes: node 5 has heard of term 4 already.
    #[test]
    fn figure8_goes_where_the_paper_goes() {
        let setup = SETUPS.iter().find(|s| s.name == "figure8").unwrap();
        let (mut cluster, mut budget) = (setup.start)(None);
        cluster.seed(n(5), 4, &[1, 3]);
        for words in ["campaigners=1,5", "timeouts=2", "again=0"] {
            assert!(budget.set(words));
        }
        let mut search = Search::new(&cluster, budget);
        assert_eq!(search.run(usize::MAX), Ok(true));
        println!("figure8: {}", search.report(true));
        for (what, sought) in setup.visits {
            assert!(search.visits(*sought), "{what} is not among the states");
        }
    }

    /// Small enough for the plain search to come to its end.
    fn small() -> Vec<(&'static str, Cluster, Budget)> {
        let by_hand = timeless(&[1, 2], None);
        let once = |campaigners: &[u64], crash, propose| Budget {
            campaigners: campaigners.to_vec(),
            timeouts: 1,
            crash,
            propose,
            ..Budget::default()
        };
        let mut uneven = timeless(&[1, 2], None);
        uneven.options.auto_disk = true;
        uneven.options.config.max_append_entries = 1;
        uneven.seed(n(1), 2, &[1, 2]);
        uneven.seed(n(2), 2, &[1, 1, 1]);
        let again = |again| Budget { again, term_max: 3, ..once(&[1], 0, 0) };
        vec![
            ("two, disks by hand", by_hand, once(&[1], 1, 0)),
            ("two, a log to be mended", uneven.clone(), again(EVER)),
            ("two, a log to be mended, each rejection once", uneven.clone(), again(0)),
            ("two, a log to be mended, one rejection twice", uneven, again(1)),
        ]
    }

    #[test]
    fn what_is_saved_loses_no_state_of_the_nodes() {
        let view = |m: &Member| fingerprint(|h| feed_member(m, false, h));
        for (name, cluster, budget) in small() {
            let plain = reach(&cluster, &budget, Net::Set).unwrap();
            for trim in [true, false] {
                let mut search = Search::new(&cluster, budget.clone());
                search.trim = trim;
                assert_eq!(search.run(usize::MAX), Ok(true), "{name}");
                let saved: BTreeSet<Vec<u128>> = search.views(view);
                println!("{name}, trimmed {trim}: {}", search.report(true));
                assert!(saved == plain, "{name}, {trim}: {} and {} vectors", saved.len(), plain.len());
            }
            let links = reach(&cluster, &budget, Net::Links { lose: 1 }).unwrap();
            println!("{name}: {} vectors, {} of them with ordered links", plain.len(), links.len());
            assert!(links.is_subset(&plain), "{name}: ordered links do what the set does not");
        }
    }
}
