//! The leader of a shard, before its log: who is proposed, who waits, who is refused.
//!
//! A Prepare that meets a lock would vote No. Its leader spares it that where waiting cannot close a circle: *wait-die*
//! (Rosenkrantz, Stearns and Lewis 1978). The older of two transactions waits for the younger, the younger is refused, so that
//! whoever waits is older than all that it waits for, over all shards, and no circle exists. When a lock passes on, the oldest
//! gets it, and those that it is older than are refused in their turn.
//!
//! A refusal is an entry ([`Command::Refuse`]), not a word: its gateway may try again only once this attempt can never commit.
//! Whatever a leader knows beside that is a convenience. It is lost with the leadership, and what waited is sent again.
//!
//! A plain write waits, too, but holds nothing while it does: nobody is refused for it, and it is refused for nobody.
//!
//! For a moment a leader may let no Prepare into its log at all ([`Leader::pause`]): whoever reads many keys at once, and finds others
//! committed each time it looks, so comes to an end of them. It waits for none of those that wait, so this closes no circle.

use super::participant::{self, View};
use super::types::{Answer, Command, Mode, Mutant, No, Outcome, Priority, TxnId, Vote, mutant};
use quorate_base::time::Duration;
use quorate_base::{Instant, ShardId};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// Settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// What has known no outcome for so long is recovered. Too short costs entries, too long makes others wait.
    pub recover_after: Duration,
    /// So many may wait; more are refused.
    pub waiting: usize,
    /// The planted bug.
    pub mutant: Option<Mutant>,
}

/// By what an answer finds its way back. The driver gives it.
pub type Caller = u64;

/// What a leader wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbox<O, R> {
    /// Commands for the log, in this order.
    pub propose: Vec<(Ticket, Command<O>)>,
    /// Answers.
    pub answers: Vec<(Caller, Answer<R>)>,
    /// To be recovered, with all participants.
    pub recover: Vec<(TxnId, Vec<ShardId>)>,
}

impl<O, R> Default for Outbox<O, R> {
    fn default() -> Self {
        Self { propose: Vec::new(), answers: Vec::new(), recover: Vec::new() }
    }
}

/// A proposal's number in this leadership.
pub type Ticket = u64;

/// One leadership of one shard.
///
/// Invariant, behind each [`Leader::applied`]: whoever is in `waiting` with an id is older than all that hold, or are about to
/// hold, a key that it wants; a pause ends with one of those.
#[derive(Clone, Debug)]
pub struct Leader<K, O> {
    config: Config,
    next: Ticket,
    proposed: BTreeMap<Ticket, Proposed>,
    /// What Prepares that are proposed, and not applied, will hold if they vote Yes.
    coming: BTreeMap<TxnId, Holding<K>>,
    /// By age; a plain write, which has no id, by its arrival.
    waiting: BTreeMap<(Option<Priority>, u64), Waiting<K, O>>,
    arrivals: u64,
    /// Since when a transaction is seen undecided here.
    since: BTreeMap<TxnId, Instant>,
    /// No Prepare is proposed.
    paused: bool,
}

#[derive(Clone, Debug)]
struct Proposed {
    callers: Vec<Caller>,
    id: Option<TxnId>,
}

#[derive(Clone, Debug)]
struct Holding<K> {
    priority: Priority,
    keys: Vec<(K, Mode)>,
}

#[derive(Clone, Debug)]
struct Waiting<K, O> {
    callers: Vec<Caller>,
    id: Option<TxnId>,
    keys: Vec<(K, Mode)>,
    command: Command<O>,
}

/// What becomes of one who wants keys.
enum Fate {
    Goes,
    Waits,
    /// Refused, because of this one.
    Dies(TxnId),
}

impl<K: Clone + Ord, O: Clone> Leader<K, O> {
    /// A leadership that has just begun: nothing is known of those that waited at the last leader.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            next: 1,
            proposed: BTreeMap::new(),
            coming: BTreeMap::new(),
            waiting: BTreeMap::new(),
            arrivals: 0,
            since: BTreeMap::new(),
            paused: false,
        }
    }

    /// Prepares wait from now on, whatever they want, or do so no more: then [`Leader::look_again`] lets them go. As many as may wait do.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Somebody sends a command. `machine` is what is applied here.
    pub fn request<M>(
        &mut self,
        machine: &M,
        caller: Caller,
        command: Command<O>,
        out: &mut Outbox<O, M::Reason>,
    ) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        match &command {
            Command::Prepare(asked) => {
                let wants = (caller, Some(asked.id), Some(asked.id.priority(asked.began)));
                // A vote that is applied is chosen, whoever leads by now.
                match participant::vote(machine, &asked.id)? {
                    Answer::Over if mutant(self.config.mutant, Mutant::LatePrepareReruns) => {}
                    Answer::Missing => {}
                    answer => {
                        out.answers.push((caller, answer));
                        return Ok(());
                    }
                }
                if !self.joins(caller, &asked.id) {
                    let keys = machine.keys(&asked.ops)?;
                    self.wants(machine, wants, keys.ok(), command, out)?;
                }
            }
            Command::Execute(ops) => {
                let keys = machine.keys(ops)?;
                self.wants(machine, (caller, None, None), keys.ok(), command, out)?;
            }
            Command::Refuse { id, .. } => match participant::vote(machine, id)? {
                Answer::Missing if mutant(self.config.mutant, Mutant::RefuseNotDurable) => {
                    out.answers.push((caller, Answer::Vote(Vote::No(No::Refused))));
                }
                Answer::Missing => {
                    // Whoever waits with its Prepare hears the same.
                    let mut callers = self.stop_waiting(id);
                    callers.push(caller);
                    self.propose(callers, None, command, out);
                }
                answer => out.answers.push((caller, answer)),
            },
            Command::Outcome { id, outcome } if participant::is_settled(machine, id, *outcome)? => {
                out.answers.push((caller, Answer::Settled));
            }
            Command::Outcome { id, .. } => {
                self.stop_waiting(id);
                self.propose(vec![caller], None, command, out);
            }
            Command::Fence { .. } | Command::Forget { .. } | Command::Close { .. } => {
                self.propose(vec![caller], None, command, out);
            }
        }
        Ok(())
    }

    /// A proposal is applied, and `machine` has its effects.
    pub fn applied<M>(
        &mut self,
        machine: &M,
        ticket: Ticket,
        answer: &Answer<M::Reason>,
        out: &mut Outbox<O, M::Reason>,
    ) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let Some(proposed) = self.proposed.remove(&ticket) else { return Ok(()) };
        out.answers.extend(proposed.callers.iter().map(|caller| (*caller, answer.clone())));
        if let Some(id) = proposed.id
            && !(mutant(self.config.mutant, Mutant::SharedLockLost)
                && matches!(answer, Answer::Vote(Vote::Yes)))
        {
            self.coming.remove(&id);
        }
        if mutant(self.config.mutant, Mutant::SharedLockLost) {
            self.let_go_of_remembered(machine)?;
        }
        self.pass_on(machine, out)
    }

    /// A proposal will never be applied under this leadership: its callers hear nothing, and ask again.
    pub fn dropped(&mut self, ticket: Ticket) {
        if let Some(id) = self.proposed.remove(&ticket).and_then(|proposed| proposed.id) {
            self.coming.remove(&id);
        }
    }

    /// Time has passed: what is undecided for too long is to be recovered.
    pub fn tick<M>(
        &mut self,
        now: Instant,
        machine: &M,
        out: &mut Outbox<O, M::Reason>,
    ) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let undecided = participant::undecided(machine)?;
        self.since.retain(|id, _| undecided.iter().any(|(other, _)| other == id));
        for (id, participants) in undecided {
            let since = self.since.entry(id).or_insert(now);
            if now.since(*since) < self.config.recover_after {
                continue;
            }
            // Tried again after as long a time, if it does not help.
            *since = now;
            if mutant(self.config.mutant, Mutant::PresumedAbort) {
                self.propose(vec![], None, Command::Outcome { id, outcome: Outcome::Abort }, out);
            } else {
                out.recover.push((id, participants));
            }
        }
        Ok(())
    }

    /// Who is answered when a proposal is applied.
    pub fn callers(&self, ticket: Ticket) -> &[Caller] {
        self.proposed.get(&ticket).map_or(&[], |proposed| &proposed.callers)
    }

    /// Whether a caller waits, or is answered when a proposal is applied.
    pub fn knows(&self, caller: Caller) -> bool {
        let proposed = self.proposed.values().map(|proposed| &proposed.callers);
        proposed.chain(self.waiting.values().map(|waiting| &waiting.callers)).any(|of| of.contains(&caller))
    }

    /// Something is applied that was not proposed under this leadership: locks may have passed on.
    pub fn look_again<M>(&mut self, machine: &M, out: &mut Outbox<O, M::Reason>) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        self.pass_on(machine, out)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whoever waits with a plain write waits no more: it was not proposed, and never will be. False if it was.
    pub fn give_up(&mut self, caller: Caller) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|_, waiting| waiting.id.is_some() || !waiting.callers.contains(&caller));
        self.waiting.len() < before
    }

    /// What tells two leaderships apart that have nothing under way, for a search: who waits for what.
    pub fn fingerprint(&self, h: &mut impl Hasher)
    where
        K: Hash,
    {
        for ((priority, _), waiting) in &self.waiting {
            (priority, waiting.id, &waiting.keys, &waiting.callers).hash(h);
        }
    }

    // ---- wait-die ----

    /// Somebody wants keys, or has operations without any, whose vote will say why.
    fn wants<M>(
        &mut self,
        machine: &M,
        (caller, id, priority): (Caller, Option<TxnId>, Option<Priority>),
        keys: Option<Vec<(K, Mode)>>,
        command: Command<O>,
        out: &mut Outbox<O, M::Reason>,
    ) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let keys = keys.unwrap_or_default();
        let mut fate = self.fate(machine, id.as_ref(), priority, &keys)?;
        if self.paused && matches!(fate, Fate::Goes) && id.is_some() {
            fate = Fate::Waits;
        }
        if let (Fate::Goes, Some(_), Some(older)) = (&fate, priority, self.older_waiting(priority, &keys)) {
            // It would go ahead of one that is older, again and again.
            fate = Fate::Dies(older);
        }
        if matches!(fate, Fate::Waits) && self.waiting.len() >= self.config.waiting {
            fate = match participant::conflict(machine, &keys)? {
                Some(holder) if id.is_some() => Fate::Dies(holder),
                _ => Fate::Goes,
            };
        }
        let waiting = Waiting { callers: vec![caller], id, keys, command };
        match fate {
            Fate::Goes => self.goes(machine, waiting, priority, out)?,
            Fate::Waits => {
                self.arrivals += 1;
                self.waiting.insert((priority, self.arrivals), waiting);
            }
            Fate::Dies(because) => self.die(waiting, because, out),
        }
        Ok(())
    }

    fn goes<M>(
        &mut self,
        machine: &M,
        waiting: Waiting<K, O>,
        priority: Option<Priority>,
        out: &mut Outbox<O, M::Reason>,
    ) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let Waiting { callers, id, keys, command } = waiting;
        if let (Some(id), Some(priority)) = (id, priority) {
            self.coming.insert(id, Holding { priority, keys });
        }
        if let Command::Prepare(asked) = &command
            && mutant(self.config.mutant, Mutant::VoteInMemory)
        {
            let keys = machine.keys(&asked.ops)?.unwrap_or_default();
            let holder = participant::conflict(machine, &keys)?;
            let vote = holder.map_or(Vote::Yes, |holder| Vote::No(No::Conflict(holder)));
            out.answers.extend(callers.iter().map(|caller| (*caller, Answer::Vote(vote.clone()))));
        }
        self.propose(callers, id, command, out);
        Ok(())
    }

    fn die<R>(&mut self, waiting: Waiting<K, O>, because: TxnId, out: &mut Outbox<O, R>) {
        if let Some(id) = waiting.id {
            self.propose(waiting.callers, None, Command::Refuse { id, because: Some(because) }, out);
        }
    }

    /// Locks have passed on: the oldest first, whoever can go goes; who now waits for an older one is refused.
    fn pass_on<M>(&mut self, machine: &M, out: &mut Outbox<O, M::Reason>) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        // Plain writes sort before all that have a priority, and may not starve them: they are looked at last.
        let (plain, mut order): (Vec<_>, Vec<_>) =
            self.waiting.keys().copied().partition(|(p, _)| p.is_none());
        order.extend(plain);
        for key in order {
            let Some(waiting) = self.waiting.get(&key) else { continue };
            let (id, keys) = (waiting.id, waiting.keys.clone());
            match self.fate(machine, id.as_ref(), key.0, &keys)? {
                Fate::Waits => {}
                Fate::Goes if self.paused && id.is_some() => {}
                Fate::Goes => {
                    if let Some(waiting) = self.waiting.remove(&key) {
                        self.goes(machine, waiting, key.0, out)?;
                    }
                }
                Fate::Dies(because) => {
                    if let Some(waiting) = self.waiting.remove(&key) {
                        self.die(waiting, because, out);
                    }
                }
            }
        }
        Ok(())
    }

    fn fate<M>(
        &self,
        machine: &M,
        id: Option<&TxnId>,
        priority: Option<Priority>,
        keys: &[(K, Mode)],
    ) -> Result<Fate, M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let mut waits = false;
        for (holder, theirs) in self.holders(machine, keys)? {
            match priority {
                _ if id == Some(&holder) => {}
                Some(own) if own > theirs => return Ok(Fate::Dies(holder)),
                _ => waits = true,
            }
        }
        Ok(if waits { Fate::Waits } else { Fate::Goes })
    }

    /// Who holds, or is about to hold, one of these keys against one who wants it so.
    fn holders<M>(&self, machine: &M, keys: &[(K, Mode)]) -> Result<BTreeMap<TxnId, Priority>, M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let mut holders = BTreeMap::new();
        for (key, mode) in keys {
            for holder in participant::against(machine, key, *mode)? {
                if let Some(super::Record::Yes(prepared)) = machine.record(&holder)? {
                    holders.insert(holder, holder.priority(prepared.began));
                }
            }
        }
        let coming = self.coming.iter().filter(|(_, holding)| clash(&holding.keys, keys));
        holders.extend(coming.map(|(id, holding)| (*id, holding.priority)));
        Ok(holders)
    }

    /// One that waits for one of these keys and is older.
    fn older_waiting(&self, priority: Option<Priority>, keys: &[(K, Mode)]) -> Option<TxnId> {
        let older = self.waiting.range(..(priority, 0));
        older.filter(|(_, waiting)| clash(&waiting.keys, keys)).find_map(|(_, waiting)| waiting.id)
    }

    // ---- the rest ----

    fn propose<R>(
        &mut self,
        callers: Vec<Caller>,
        id: Option<TxnId>,
        command: Command<O>,
        out: &mut Outbox<O, R>,
    ) {
        let ticket = self.next;
        self.next += 1;
        self.proposed.insert(ticket, Proposed { callers, id });
        out.propose.push((ticket, command));
    }

    /// It has come before, and waits or is proposed: true if this caller is answered with the others.
    fn joins(&mut self, caller: Caller, id: &TxnId) -> bool {
        let proposed = self.proposed.values_mut().find(|p| p.id == Some(*id)).map(|p| &mut p.callers);
        let callers = match proposed {
            Some(callers) => Some(callers),
            None => self.waiting.values_mut().find(|w| w.id == Some(*id)).map(|w| &mut w.callers),
        };
        let Some(callers) = callers else { return false };
        if !callers.contains(&caller) {
            callers.push(caller);
        }
        true
    }

    /// It is aborted, so it waits no more; who waited for its vote.
    fn stop_waiting(&mut self, id: &TxnId) -> Vec<Caller> {
        let at = self.waiting.iter().find(|(_, waiting)| waiting.id == Some(*id)).map(|(at, _)| *at);
        at.and_then(|at| self.waiting.remove(&at)).map_or_else(Vec::new, |waiting| waiting.callers)
    }

    /// Only under a planted bug.
    fn let_go_of_remembered<M>(&mut self, machine: &M) -> Result<(), M::Error>
    where
        M: View<Key = K, Ops = O>,
    {
        let proposed: Vec<_> = self.proposed.values().filter_map(|p| p.id).collect();
        for id in self.coming.keys().copied().collect::<Vec<_>>() {
            if !proposed.contains(&id) && !matches!(machine.record(&id)?, Some(super::Record::Yes(_))) {
                self.coming.remove(&id);
            }
        }
        Ok(())
    }
}

/// Whether two lists of keys have one in common that one of them writes.
fn clash<K: Ord>(a: &[(K, Mode)], b: &[(K, Mode)]) -> bool {
    a.iter().any(|(key, mode)| {
        b.iter()
            .any(|(other, theirs)| key == other && (*mode == Mode::Exclusive || *theirs == Mode::Exclusive))
    })
}
