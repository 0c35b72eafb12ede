//! Which changes of members a leader takes: the checks of etcd's strict reconfiguration, and what a configuration and its
//! book become. Pure: what the leader knows comes in, the target or a refusal comes out.
//!
//! A member counts as *started* once it has published its name. A change that could leave the cluster without a majority of
//! members that have started and are heard is refused.
//!
//! A member is *sound* while it is heard and withholds nothing (the page of `protocol::raft`, "Replicas that may have forgotten").
//! To be heard is not enough: where one may have forgotten entries and another lost its disk, nobody can be elected once the
//! last sound one that has all is let go, though all that are left are up. (Seed 37 of the simulator: of four.) So a sound voter
//! goes only where the sound ones among the rest are a majority of it. That passes as the others heal, which the leader sees to by
//! itself. (Who withholds may get a vote all the same: as a voter it is healed, as a learner it may wait for long.) Groups of other
//! shards, whose members follow those of shard 1, wait for the same: [`had_better_wait`].

use quorate_base::NodeId;
use quorate_protocol::raft::Membership;
use quorate_wire::members::{Book, Change, Info, Refusal};
use std::collections::BTreeSet;

/// Ids go no higher, so that whoever counts on does not run over. Those of members that came from etcd are any numbers of 64 bits.
const ID_MAX: u64 = u64::MAX - 1;

/// What a leader knows when it is asked for a change.
pub(crate) struct Judge<'a> {
    /// The configuration in force, which is not joint.
    pub(crate) now: &'a Membership,
    /// Its book.
    pub(crate) book: &'a Book,
    /// Whether it has lately heard a member.
    pub(crate) hears: &'a dyn Fn(NodeId) -> bool,
    /// Whether it has, and the member has not said that it may have forgotten something.
    pub(crate) sound: &'a dyn Fn(NodeId) -> bool,
    /// Whether a learner holds the log.
    pub(crate) caught_up: &'a dyn Fn(NodeId) -> bool,
    /// So many learners there may be besides those that join.
    pub(crate) learners_max: usize,
}

impl Judge<'_> {
    /// The configuration to be, with its book, and the member that it is about; or why there will be none. The checks are
    /// those of etcd's strict reconfiguration, in its order.
    pub(crate) fn target(&self, change: &Change) -> Result<(Membership, Book, NodeId), Refusal> {
        if !change.fits() {
            return Err(Refusal::TooLarge);
        }
        let mut next = self.now.clone();
        let mut book = self.book.clone();
        book.members.retain(|&id, _| self.now.contains(id));
        book.used = book.used.max(self.now.nodes().last().copied().unwrap_or_default());
        let about = match change {
            Change::Add { peer_urls, learner } => {
                let id = self.may_add(peer_urls, *learner, &book)?;
                let info = Info { peer_urls: peer_urls.clone(), joins: !learner, ..Info::default() };
                next.learners.insert(id);
                book.members.insert(id, info);
                book.used = id;
                id
            }
            Change::Remove { id } => {
                self.may_remove(*id)?;
                next.voters.remove(id);
                next.learners.remove(id);
                *id
            }
            Change::Promote { id } => {
                self.may_promote(*id)?;
                next.learners.remove(id);
                next.voters.insert(*id);
                if let Some(info) = book.members.get_mut(id) {
                    info.joins = false;
                }
                *id
            }
            Change::Update { id, peer_urls } => {
                self.unused(peer_urls, Some(*id))?;
                let info = self.info(&mut book, *id)?;
                info.peer_urls.clone_from(peer_urls);
                *id
            }
            Change::Publish { id, name, client_urls } => {
                let info = self.info(&mut book, *id)?;
                info.name.clone_from(name);
                info.client_urls.clone_from(client_urls);
                *id
            }
        };
        Ok((next, book, about))
    }

    fn info<'b>(&self, book: &'b mut Book, id: NodeId) -> Result<&'b mut Info, Refusal> {
        if self.now.contains(id) { Ok(book.members.entry(id).or_default()) } else { Err(Refusal::NotFound) }
    }

    /// The voters, and those that will be.
    fn voting(&self) -> BTreeSet<NodeId> {
        let joins = |id: &NodeId| self.book.members.get(id).is_some_and(|info| info.joins);
        self.now.voters.iter().chain(self.now.learners.iter().filter(|id| joins(id))).copied().collect()
    }

    fn started(&self, id: NodeId) -> bool {
        self.book.members.get(&id).is_some_and(|info| !info.name.is_empty())
    }

    fn unused(&self, urls: &[String], but: Option<NodeId>) -> Result<(), Refusal> {
        let others = self.book.members.iter().filter(|&(&id, _)| self.now.contains(id) && Some(id) != but);
        let taken = others.flat_map(|(_, info)| &info.peer_urls).any(|url| urls.contains(url));
        if taken { Err(Refusal::UrlExists) } else { Ok(()) }
    }

    fn may_add(&self, urls: &[String], learner: bool, book: &Book) -> Result<NodeId, Refusal> {
        let voting = self.voting();
        let started = voting.iter().filter(|&&id| self.started(id)).count();
        let alone = voting.len() == 1 && started == 1;
        if !learner && !alone && started <= voting.len().div_ceil(2) {
            return Err(Refusal::NotEnoughStarted);
        }
        // As if the new one were out of reach.
        let heard = voting.iter().filter(|&&id| (self.hears)(id)).count();
        if voting.len() > 1 && heard < voting.len().div_ceil(2) + 1 {
            return Err(Refusal::Unhealthy);
        }
        self.unused(urls, None)?;
        let plain = self.now.learners.iter().filter(|id| !voting.contains(id)).count();
        if learner && plain >= self.learners_max {
            return Err(Refusal::TooManyLearners);
        }
        let id = NodeId(book.used.get().saturating_add(1));
        if id.get() >= ID_MAX { Err(Refusal::TooLarge) } else { Ok(id) }
    }

    fn may_remove(&self, id: NodeId) -> Result<(), Refusal> {
        if !self.now.contains(id) {
            return Err(Refusal::NotFound);
        }
        if !self.now.is_voter(id) {
            return Ok(());
        }
        let mut left = self.voting();
        left.remove(&id);
        let started = left.iter().filter(|&&id| self.started(id)).count();
        let stays = self.now.voters.len() > 1;
        if !stays || started < left.len() / 2 + 1 {
            return Err(Refusal::NotEnoughStarted);
        }
        if self.is_needed(id, self.hears) || self.is_needed(id, self.sound) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// Whether a voter is one of those that are `well`, and the rest of them were no majority without it. (One that is not well takes
    /// no part in the majority that there is.)
    fn is_needed(&self, id: NodeId, well: &dyn Fn(NodeId) -> bool) -> bool {
        let rest = self.now.voters.iter().filter(|&&voter| voter != id);
        let well_rest = rest.clone().filter(|&&voter| well(voter)).count();
        well(id) && well_rest <= rest.count() / 2
    }

    fn may_promote(&self, id: NodeId) -> Result<(), Refusal> {
        if !self.now.contains(id) {
            return Err(Refusal::NotFound);
        }
        if !self.now.is_learner(id) || self.book.members.get(&id).is_some_and(|info| info.joins) {
            return Err(Refusal::NotLearner);
        }
        if !(self.caught_up)(id) {
            return Err(Refusal::NotReady);
        }
        // Itself it has started, since it holds the log.
        let voting = self.voting();
        let started = voting.iter().filter(|&&id| self.started(id)).count();
        if started < voting.len().div_ceil(2) { Err(Refusal::NotEnoughStarted) } else { Ok(()) }
    }
}

/// A member that joins and holds the log: the configuration in which it votes.
pub(crate) fn arrived(judge: &Judge<'_>) -> Option<(Membership, Book)> {
    let joins = |id: NodeId| judge.book.members.get(&id).is_some_and(|info| info.joins);
    let id = *judge.now.learners.iter().find(|&&id| joins(id) && (judge.caught_up)(id))?;
    let (mut next, mut book) = (judge.now.clone(), judge.book.clone());
    book.members.retain(|&id, _| judge.now.contains(id));
    next.learners.remove(&id);
    next.voters.insert(id);
    book.asked = None;
    if let Some(info) = book.members.get_mut(&id) {
        info.joins = false;
    }
    Some((next, book))
}

/// Whether a group whose members are to be others had better wait: its sound voters are a majority, those of the target are none, and
/// a voter that stays is heard and heals by itself before long. (For who comes and withholds nobody waits: as a learner it may wait for
/// long itself.)
pub(crate) fn had_better_wait(
    now: &Membership,
    target: &Membership,
    hears: impl Fn(NodeId) -> bool,
    sound: impl Fn(NodeId) -> bool,
) -> bool {
    let mut stay = now.voters.intersection(&target.voters);
    now.is_quorum(&sound) && !target.is_quorum(&sound) && stay.any(|&id| hears(id) && !sound(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: members of a group are not changed while a voter that stays heals, if the sound ones would be no majority any more; for
    /// who is out of reach, and for who comes, nobody waits.
    #[test]
    fn a_group_waits_for_voters_that_heal() {
        let of = |ids: &[u64]| Membership::of_voters(ids.iter().map(|&id| NodeId(id)));
        let waits = |now: &[u64], target: &[u64], withhold: &[u64], away: &[u64]| {
            let hears = |id: NodeId| !away.contains(&id.0);
            let sound = |id: NodeId| hears(id) && !withhold.contains(&id.0);
            had_better_wait(&of(now), &of(target), hears, sound)
        };
        for (now, target, withhold, away, wait, why) in [
            (&[1, 2, 3][..], &[1, 2, 4][..], &[][..], &[][..], false, "all are sound"),
            (&[1, 2, 3], &[1, 2, 4], &[4], &[], false, "two of those that stay are a majority"),
            (&[1, 2, 3], &[1, 2, 4], &[2, 4], &[], true, "1 alone would be sound"),
            (&[1, 2, 3], &[1, 2, 4], &[2], &[], false, "1 and 4 are sound"),
            (&[1, 2, 3], &[1, 2, 4], &[4], &[2], false, "nobody knows when 2 is back"),
            (&[1, 2, 3], &[1, 4, 5], &[4, 5], &[], false, "who comes heals as a voter"),
            (&[1], &[4], &[4], &[], false, "the only one heals as the only one"),
            (&[1, 2, 3], &[1, 2, 4], &[2, 3, 4], &[], false, "there is no sound majority to lose"),
        ] {
            assert_eq!(waits(now, target, withhold, away), wait, "{now:?} to {target:?}: {why}");
        }
    }

    struct Cluster {
        now: Membership,
        book: Book,
        heard: Vec<u64>,
        withhold: Vec<u64>,
        caught_up: bool,
    }

    fn url(n: u64) -> Vec<String> {
        vec![format!("http://h:{n}")]
    }

    impl Cluster {
        /// Members 1 to `count`, all started and heard.
        fn of(count: u64) -> Self {
            let ids = || (1..=count).map(NodeId);
            let info = |id: NodeId| Info { name: format!("n{id}"), peer_urls: url(id.0), ..Info::default() };
            let members = ids().map(|id| (id, info(id))).collect();
            let book = Book { used: NodeId(count), asked: None, members };
            Self {
                now: Membership::of_voters(ids()),
                book,
                heard: (1..=count).collect(),
                withhold: vec![],
                caught_up: false,
            }
        }

        fn judge<T>(&self, with: impl FnOnce(&Judge<'_>) -> T) -> T {
            with(&Judge {
                now: &self.now,
                book: &self.book,
                hears: &|id| self.heard.contains(&id.0),
                sound: &|id| self.heard.contains(&id.0) && !self.withhold.contains(&id.0),
                caught_up: &|_| self.caught_up,
                learners_max: 1,
            })
        }

        fn ask(&mut self, change: &Change) -> Result<u64, Refusal> {
            let (next, book, about) = self.judge(|judge| judge.target(change))?;
            (self.now, self.book) = (next, book);
            Ok(about.0)
        }

        fn add(&mut self, n: u64, learner: bool) -> Result<u64, Refusal> {
            self.ask(&Change::Add { peer_urls: url(n), learner })
        }

        fn remove(&mut self, id: u64) -> Result<u64, Refusal> {
            self.ask(&Change::Remove { id: NodeId(id) })
        }

        fn promote(&mut self, id: u64) -> Result<u64, Refusal> {
            self.ask(&Change::Promote { id: NodeId(id) })
        }

        fn publish(&mut self, id: u64) -> Result<u64, Refusal> {
            let (name, client_urls) = (format!("n{id}"), url(id));
            self.ask(&Change::Publish { id: NodeId(id), name, client_urls })
        }
    }

    #[test]
    fn an_id_is_never_used_twice() {
        let mut c = Cluster::of(3);
        assert_eq!(c.add(4, true), Ok(4));
        assert_eq!(c.remove(4), Ok(4));
        assert!(c.book.was_removed(&c.now, NodeId(4)) && !c.book.was_removed(&c.now, NodeId(5)));
        assert_eq!(c.add(4, true), Ok(5));
        assert_eq!(c.remove(4), Err(Refusal::NotFound));
        assert!(!c.book.members.contains_key(&NodeId(4)), "it was kept until this change only");
        // As in a cluster that came from etcd.
        c.book.used = NodeId(0xfd42_2379_fda5_0e48);
        assert_eq!(c.remove(5), Ok(5));
        assert_eq!(c.add(5, true), Ok(0xfd42_2379_fda5_0e49));
        assert_eq!(c.remove(0xfd42_2379_fda5_0e49), Ok(0xfd42_2379_fda5_0e49));
        assert_eq!(c.add(5, true), Ok(0xfd42_2379_fda5_0e4a));
        assert_eq!(c.remove(0xfd42_2379_fda5_0e4a), Ok(0xfd42_2379_fda5_0e4a));
        c.book.used = NodeId(u64::MAX);
        assert_eq!(c.add(6, true), Err(Refusal::TooLarge));
    }

    #[test]
    fn what_would_cost_the_majority_is_refused() {
        let mut c = Cluster::of(3);
        c.heard = vec![1, 2];
        assert_eq!(c.add(4, false), Err(Refusal::Unhealthy), "of four three were needed");
        let (mut four, mut five) = (Cluster::of(4), Cluster::of(5));
        (four.heard, five.heard) = (vec![1, 2, 3], vec![1, 2, 3, 4]);
        assert_eq!(
            (four.add(5, true), five.add(6, false)),
            (Ok(5), Ok(6)),
            "enough are up without the new one"
        );
        five.heard = vec![1, 2, 3];
        assert_eq!(five.add(7, true), Err(Refusal::Unhealthy), "one of those that vote soon counts already");
        assert_eq!(c.remove(2), Err(Refusal::Unhealthy), "one of the two that are up");
        assert_eq!(c.remove(3), Ok(3), "the one that is down");
        assert_eq!(c.remove(2), Ok(2), "one is left, and it is up");
        let mut c = Cluster::of(1);
        assert_eq!(c.remove(1), Err(Refusal::NotEnoughStarted));
        assert_eq!(c.add(2, false), Ok(2), "one alone may begin to grow");
        assert_eq!(
            c.add(3, false),
            Err(Refusal::NotEnoughStarted),
            "but not on, before the second has started"
        );
        assert_eq!(c.remove(1), Err(Refusal::NotEnoughStarted));
        assert_eq!(c.publish(2), Ok(2));
        assert_eq!(c.remove(1), Err(Refusal::NotEnoughStarted), "the second has no vote yet");
        assert_eq!(c.add(3, false), Err(Refusal::Unhealthy), "nor before it is heard");
        c.heard.push(2);
        assert_eq!(c.add(3, false), Ok(3));
    }

    /// Of four that are up, one may have forgotten entries and one has lost its disk.
    #[test]
    fn who_could_be_elected_is_not_let_go_while_others_withhold() {
        let mut c = Cluster::of(4);
        c.withhold = vec![3, 4];
        assert_eq!(c.remove(1), Err(Refusal::Unhealthy), "one of the two that could elect somebody");
        assert_eq!(c.remove(4), Ok(4), "one that could not");
        assert_eq!(c.remove(1), Err(Refusal::Unhealthy), "2 is left, and 3 withholds");
        c.withhold.clear();
        assert_eq!(c.remove(1), Ok(1), "it has healed");
        let mut c = Cluster::of(3);
        (c.heard, c.withhold) = (vec![1, 2], vec![2]);
        assert_eq!(c.remove(2), Err(Refusal::Unhealthy), "it is needed all the same, to commit");
    }

    #[test]
    fn learners_are_promoted_when_they_hold_the_log() {
        let mut c = Cluster::of(3);
        assert_eq!(c.promote(2), Err(Refusal::NotLearner));
        assert_eq!(c.promote(9), Err(Refusal::NotFound));
        assert_eq!(c.add(4, true), Ok(4));
        assert_eq!(c.add(5, true), Err(Refusal::TooManyLearners));
        assert_eq!(c.promote(4), Err(Refusal::NotReady));
        c.caught_up = true;
        assert_eq!(c.promote(4), Ok(4));
        assert!(c.now.is_voter(NodeId(4)) && !c.now.is_learner(NodeId(4)));
    }

    #[test]
    fn who_joins_gets_its_vote_by_itself_once_it_holds_the_log() {
        let mut c = Cluster::of(3);
        assert_eq!(c.add(4, false), Ok(4));
        assert!(c.now.is_learner(NodeId(4)));
        assert_eq!(c.promote(4), Err(Refusal::NotLearner), "to who asks it is a voter");
        assert!(c.judge(arrived).is_none());
        c.caught_up = true;
        let (next, book) = c.judge(arrived).unwrap();
        assert!(next.is_voter(NodeId(4)) && !book.members[&NodeId(4)].joins);
    }

    #[test]
    fn addresses_are_one_members() {
        let mut c = Cluster::of(3);
        assert_eq!(c.add(2, true), Err(Refusal::UrlExists));
        let update = |id, n| Change::Update { id: NodeId(id), peer_urls: url(n) };
        assert_eq!(c.ask(&update(1, 2)), Err(Refusal::UrlExists));
        assert_eq!(c.ask(&update(1, 1)), Ok(1), "its own");
        assert_eq!(c.ask(&update(1, 7)), Ok(1));
        assert_eq!(c.ask(&update(9, 8)), Err(Refusal::NotFound));
        let long = Change::Add { peer_urls: vec![String::new(); 9], learner: true };
        assert_eq!(c.ask(&long), Err(Refusal::TooLarge));
    }
}
