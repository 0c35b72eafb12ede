//! Transactions across shards: two-phase commit made non-blocking, as in *Consensus on Transaction Commit* (Gray and
//! Lamport 2006), over shards that are replicated by Raft.
//!
//! Two-phase commit (Gray 1978) asks each participant to *prepare*, and when all have said Yes, its coordinator decides,
//! writes the decision down and tells them. It *blocks*: who has said Yes may neither commit nor abort by itself, so while
//! the one coordinator is gone with the one decision, its keys stay locked. Three-phase commit puts a step between, and is
//! wrong where a network can be slow.
//!
//! Here nobody decides. A participant is a shard, and its vote is an entry of its log, which a majority keeps. The outcome is
//! a *function of the votes*, and whoever wants to know it can ask for them, or see to it that there are some:
//!
//! 1. A gateway sends [`Prepare`] to the leaders of all participants at once, with the names of all.
//! 2. It is one entry of each log. Where the entry is *applied*, the vote is computed, and every replica computes the same: a
//!    transaction that has a vote keeps it; a key that another holds, or a condition that is false, is No; otherwise the keys
//!    are locked (shared where nothing is written), what they will hold is stored as an *intent*, and the vote is Yes.
//! 3. **A transaction is committed from the instant at which the last participant's Yes is chosen, and aborted from the
//!    first No.** A [`Command::Refuse`] is a No where there is no vote.
//! 4. The gateway answers its client when all votes are in, or at a No. [`Command::Outcome`] entries make intents values, or
//!    drop them, and unlock. Nobody waits for those, so that one entry may carry several, which is as if they followed each other.
//! 5. With one participant there is nothing to agree on: a single [`Command::Execute`] evaluates and writes.
//! 6. Anyone may *recover* a transaction: refuse it everywhere, read the votes that stand then, and send the outcome.
//!
//! | part | where |
//! | --- | --- |
//! | what a shard's machine does with entries | [`participant`] |
//! | who is proposed, waits, is refused before the log; no circle of waiters | [`leader`] |
//! | who asks for votes and answers clients, tries again, lets participants forget | [`gateway`] |
//! | what anyone does about a transaction whose gateway is silent | [`recovery`] |
//! | reads that meet an intent; read-only transactions | [`reader`] |
//! | what a restarted gateway does for its earlier lives | [`heir`] |
//!
//! A shard is taken for an ordered, durable log whose entries are applied deterministically, and nothing else of Raft is
//! used: what is chosen stays, what was proposed may be lost with its leader, and a question for the newest state is answered
//! behind a read index.
//!
//! # What it costs
//!
//! | | round trips before the answer | flushes one behind the other | entries |
//! | --- | --- | --- | --- |
//! | one shard, no token: `Execute` | 2 (client's node to leader, leader to followers; 1 if the leader is at hand) | 1 | 1 |
//! | several shards, or a token | the same, in parallel | 1 | 2 a participant, the second behind the answer, and shared with other transactions |
//! | a read that meets an intent | one more, to the other participants | 0 | 0 |
//! | a page that does | the same, and another look at it where some are committed | 0 | 0 |
//! | a read-only transaction over several shards | two rounds of reads | 0 | 0 |
//! | two-phase commit over replicated shards, with its decision written down | 2 more for the decision | 2 | 2 a participant, 1 for the decision |
//!
//! # Why it is strictly serializable
//!
//! *The outcome is one.* A vote is the first entry about the transaction in that shard's log, so that there is one, and it is
//! the same for all who ask ([`participant`]: whatever comes later is answered by the record). "All Yes" and "a No" exclude
//! each other, and once either is true it stays. Whoever sends an outcome has read votes that make it so.
//!
//! *Each write transaction happens at its last Yes.* At that instant it holds the locks on all its keys: it took each at its
//! vote, and no outcome could be sent, so none let go of them, before the last vote. So what each shard evaluated at its vote
//! is still what it holds: a condition that was true is true, what an update was computed from is there. From then on its
//! intents are the values of those keys (a reader that meets one finds all Yes), and nobody can write or lock them before the
//! outcome is applied. A plain write happens at its entry, where none of its keys is locked against it.
//!
//! *Each read happens while it is under way.* A key without an intent held what was read when the shard was read. With the
//! intent of X: if all the others say Yes, X is committed by now; its lock was held when the shard was read, so the key held
//! X's value from that instant or from X's last Yes, whichever is later, and both lie before the answer. If one says No or has
//! no vote, asked *after* the shard was read, then X was not committed when it was read. If one has forgotten X, then X's
//! outcome is applied everywhere, and the shard is read again. A read-only transaction finds each key at the same version in
//! two rounds, the first complete before the second begins; a version is the index of the entry that the last committed write
//! was voted on or executed at, and a deletion is a write: so no key changed between the rounds.
//!
//! Every such point lies between the request and its answer, so the order of the points respects real time. No clock took
//! part: priorities and timeouts decide who waits, never what is true.
//!
//! *It does not block.* While each participant has a quorum, anyone can have each of them vote. Where one has lost its quorum,
//! the keys that are locked for undecided transactions stay locked, and a reader that meets such an intent hears nothing
//! rather than a guess.
//!
//! # Forgetting
//!
//! A participant must remember a vote as long as somebody may ask, or a late `Prepare` may come. A gateway knows when all of
//! that is over for its own: once every participant of every attempt has voted No or has applied the outcome. It numbers its
//! requests, and tells participants the number up to which they may forget: the *low-water mark* of [`Gate`]. At or below it,
//! nothing is voted on any more. Each life has a mark of its own; one that ended with its book open is closed by the next ([`heir`]).
//!
//! # Departures
//!
//! - Paxos Commit runs one instance of Paxos for each vote, led by the participant at first. Here the instance is the shard's
//!   log: a Refuse competes with the Prepare for the first place, as a recovering leader's "aborted" does in ballot 1.
//! - A participant there may change its mind before it prepares; here a Prepare brings all that there is to evaluate.
//! - Locks are declared with the operations (strict two-phase locking with all keys known up front), so that there is one round
//!   of locking. Waiting before the log is wait-die (Rosenkrantz, Stearns and Lewis 1978).
//! - Validated reads without locks or writes are those of DynamoDB's transactions (Idziorek and others 2023), whose timestamp
//!   ordering is not used: alone it would be serializable, not strictly.
//!
//! # Left out
//!
//! Transactions whose keys come out of what they read; reads of the past; locking a range against what is not there yet.
//!
//! # Planted bugs
//!
//! [`Mutant`]; each has a script that shows it, in `crates/protocol/scripts/commit`.

pub mod gateway;
pub mod heir;
pub mod leader;
pub mod participant;
pub mod reader;
pub mod recovery;
mod types;

pub use types::*;
