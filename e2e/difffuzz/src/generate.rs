//! Random requests over few keys, so that they meet: sensible ones mostly, and every oddity that the interface allows.
//! A generator sees nothing but the current revision and what it asked for before, so a seed and the same answers give
//! the same requests.

use crate::op::{BIAS, CHOSEN, Contest, FAR, Op};
use bytes::Bytes;
use quorate_base::Rng;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::{compare::TargetUnion, request_op::Request};

/// Watch streams of a run; one more, the last, watches everything from the beginning.
pub const STREAMS: usize = 3;

const KEYS: [&[u8]; 19] = [
    b"a",
    b"b",
    b"c",
    b"aa",
    b"ab",
    b"abc",
    b"b\0",
    b"b\0\0",
    b"\0",
    b"\xff",
    b"\xff\xff",
    b"k0",
    b"k1",
    b"k2",
    b"k3",
    b"k4",
    b"k5",
    b"k\xff",
    &[b'z'; 5000],
];
/// Values that sort, repeat, are empty, and are longer than a short string.
const VALUES: [&[u8]; 8] =
    [b"", b"0", b"1", b"2", b"10", b"a", b"\xff\0", b"a value that is a little longer than others"];
/// Ids that the client chooses.
const LEASES: [i64; 6] = [1, 2, 3, 77, -7, i64::MAX - 1];
/// Lives of leases that outlive any run, and what is refused or raised.
const TTLS: [i64; 6] = [3600, 4000, 100_000, 9_000_000_000, 9_000_000_001, i64::MAX];

/// Where the random requests of one run come from.
pub struct Generator {
    rng: Rng,
    slots: i64,
    /// Whether both sides are newer than etcd 3.4, of which some things cannot be asked: see `differences.md`.
    newer: bool,
    /// The current symbolic revision, as far as it is known.
    pub revision: i64,
    /// The compacted symbolic revision.
    pub compacted: i64,
}

impl Generator {
    pub fn new(seed: u64, newer: bool) -> Self {
        Self { rng: Rng::stream(seed, "requests"), slots: 0, newer, revision: BIAS, compacted: BIAS }
    }

    /// The next request.
    pub fn next_op(&mut self) -> Op {
        match self.rng.below(1000) {
            230..250 => self.contest(),
            250..450 => Op::Put(self.put()),
            450..540 => Op::Delete(self.delete()),
            540..760 => {
                let depth = self.rng.below(4);
                let mut txn = self.txn(depth);
                if deletes_from_key(&txn) {
                    ignore_nothing(&mut txn);
                }
                Op::Txn(txn)
            }
            760..772 => Op::Compact(pb::CompactionRequest {
                revision: self.compaction_revision(),
                physical: self.rng.chance(1, 2),
            }),
            772..802 => self.grant(),
            802..820 => Op::Revoke(self.lease()),
            820..835 => Op::KeepAlive((0..self.rng.between(1, 3)).map(|_| self.lease()).collect()),
            835..860 => {
                Op::TimeToLive(pb::LeaseTimeToLiveRequest { id: self.lease(), keys: self.rng.chance(2, 3) })
            }
            860..868 => Op::Leases,
            868..872 => Op::Brief { ttl: *self.rng.pick(&[-1, 0, 1, 2, 3, 5]), id: *self.rng.pick(&[0, 5]) },
            872..922 => Op::WatchCreate { stream: self.stream(), request: self.watch() },
            922..952 => Op::WatchCancel { stream: self.stream(), id: self.rng.below(14) as i64 - 1 },
            952..964 => {
                Op::WatchProgress { stream: self.stream(), times: if self.one_in(4) { 2 } else { 1 } }
            }
            964..966 => Op::WatchNothing { stream: self.stream() },
            966..971 => Op::Status,
            971..975 => Op::Members { linearizable: self.rng.chance(1, 2) },
            975..982 => Op::Settle,
            982..985 => Op::Authenticate,
            985..987 => Op::AuthStatus,
            987..989 => Op::Alarms(self.alarm()),
            989 if self.one_in(2) => Op::Learner,
            989 if self.one_in(2) => Op::HandOver,
            989 => Op::Upkeep { revision: self.read_revision(), snapshot: self.one_in(4) },
            990 => Op::Put(self.large_put()),
            991 => Op::Txn(large_txn()),
            992..995 => Op::Txn(self.long_txn()),
            995 => Op::Txn(self.unknown_compare()),
            996..998 => Op::WatchReopen { stream: self.stream() },
            998 if self.rng.chance(1, 4) => {
                Op::Expire { keys: (0..self.rng.between(1, 4)).map(|_| self.key()).collect() }
            }
            // 0 to 230, and what is left above.
            _ => Op::Range(self.range()),
        }
    }

    /// A step under a lease that there may be, and now and then of a name or a lease that there is not.
    fn contest(&mut self) -> Op {
        let off = i64::from(self.one_in(5));
        let step = match self.rng.below(10) {
            0..3 => Contest::Lock,
            3 => Contest::Unlock,
            4..6 => Contest::Campaign(self.value()),
            6..8 => Contest::Proclaim(self.value(), off),
            8 => Contest::Leader,
            _ => Contest::Resign(off),
        };
        let name = Bytes::from_static(self.rng.pick::<&[u8]>(&[b"N", b"N", b"M", b"N/M", b""]));
        Op::Contest { step, name, lease: *self.rng.pick(&LEASES) }
    }

    fn stream(&mut self) -> usize {
        self.rng.below(STREAMS as u64) as usize
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.rng.chance(1, n)
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS[self.rng.below(KEYS.len() as u64) as usize])
    }

    /// A key, rarely the empty one that is refused.
    fn any_key(&mut self) -> Bytes {
        if self.one_in(60) { Bytes::new() } else { self.key() }
    }

    fn range_end(&mut self, key: &Bytes) -> Bytes {
        match self.rng.below(100) {
            0..50 => Bytes::new(),
            50..62 => Bytes::from_static(b"\0"),
            62..78 => prefix_end(key),
            78..95 => self.key(),
            95..98 => key.clone(),
            _ => Bytes::from_static(b"\xff\xff\xff"),
        }
    }

    fn value(&mut self) -> Bytes {
        if self.one_in(8) {
            Bytes::from(vec![b'x'; self.rng.between(100, 400) as usize])
        } else {
            Bytes::from_static(VALUES[self.rng.below(VALUES.len() as u64) as usize])
        }
    }

    /// A revision of history, mostly a readable one.
    fn past_revision(&mut self) -> i64 {
        let low = self.compacted.min(self.revision);
        self.rng.between(low as u64, self.revision as u64) as i64
    }

    fn read_revision(&mut self) -> i64 {
        match self.rng.below(100) {
            0..55 => 0,
            55..80 => self.past_revision(),
            80..86 => self.compacted,
            86..90 => self.compacted - 1,
            90..92 => self.rng.between(1, self.revision as u64) as i64,
            92..95 => self.revision,
            95..97 => self.revision + self.rng.between(1, 5) as i64,
            97 => -1,
            98 => i64::MIN,
            _ => FAR,
        }
    }

    fn compaction_revision(&mut self) -> i64 {
        match self.rng.below(100) {
            0..70 => self.past_revision(),
            70..78 => self.compacted,
            78..84 => self.revision,
            84..90 => self.revision + 1,
            90..94 => self.compacted - 1,
            94..96 => 0,
            96..98 => -1,
            _ => FAR,
        }
    }

    /// A bound on revisions in a filter: mostly none.
    fn bound(&mut self) -> i64 {
        match self.rng.below(40) {
            0..33 => 0,
            33..39 => self.past_revision(),
            _ => -1,
        }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let key = self.any_key();
        pb::RangeRequest {
            range_end: self.range_end(&key),
            key,
            limit: match self.rng.below(100) {
                0..60 => 0,
                60..92 => self.rng.between(1, 6) as i64,
                92..95 => 100,
                95..97 => -1,
                97..99 => i64::MAX,
                _ => i64::MIN,
            },
            revision: self.read_revision(),
            sort_order: self.enumeration(3),
            sort_target: self.enumeration(5),
            serializable: self.one_in(8),
            keys_only: self.one_in(8),
            count_only: self.one_in(8),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    /// One of `count` values, and rarely one that does not exist.
    fn enumeration(&mut self, count: i32) -> i32 {
        if self.newer && self.one_in(80) {
            *self.rng.pick(&[count, -1, 99])
        } else {
            self.rng.below(count as u64) as i32
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let ignore_value = self.one_in(12);
        let ignore_lease = self.one_in(12);
        pb::PutRequest {
            key: self.any_key(),
            // Both a value and the wish to ignore it is refused.
            value: if ignore_value && !self.one_in(5) { Bytes::new() } else { self.value() },
            lease: if self.one_in(5) && (!ignore_lease || self.one_in(4)) { self.lease() } else { 0 },
            prev_kv: self.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    fn large_put(&mut self) -> pb::PutRequest {
        let limit = 3 << 19;
        let size = *self.rng.pick(&[limit - 1000, limit, limit + 1, (2 << 20) + 1]);
        pb::PutRequest { key: self.key(), value: vec![b'x'; size].into(), ..Default::default() }
    }

    /// No alarm is ever raised; others than these say so, or disarm it.
    fn alarm(&mut self) -> pb::AlarmRequest {
        pb::AlarmRequest { action: *self.rng.pick(&[0, 0, 2]), member_id: 0, alarm: self.rng.below(3) as i32 }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let key = self.any_key();
        pb::DeleteRangeRequest { range_end: self.range_end(&key), key, prev_kv: self.one_in(2) }
    }

    fn txn(&mut self, depth: u64) -> pb::TxnRequest {
        let compares = self.rng.below(4);
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        }
    }

    fn ops(&mut self, depth: u64) -> Vec<pb::RequestOp> {
        let count = self.rng.below(4);
        (0..count).map(|_| self.request_op(depth)).collect()
    }

    fn request_op(&mut self, depth: u64) -> pb::RequestOp {
        let request = match self.rng.below(100) {
            0..1 => None,
            1..30 => Some(Request::RequestRange(pb::RangeRequest {
                // A revision that cannot be read fails the whole, which would be most of them.
                revision: if self.one_in(12) { self.read_revision() } else { 0 },
                ..self.range()
            })),
            30..65 => Some(Request::RequestPut(self.put())),
            65..85 => Some(Request::RequestDeleteRange(self.delete())),
            _ if depth > 0 => Some(Request::RequestTxn(self.txn(depth - 1))),
            _ => Some(Request::RequestPut(self.put())),
        };
        pb::RequestOp { request }
    }

    /// A compare that does not exist, in a transaction that changes nothing.
    fn unknown_compare(&mut self) -> pb::TxnRequest {
        let mut compare = pb::Compare { range_end: Bytes::new(), ..self.compare() };
        let unknown = *self.rng.pick(&[5, -1, 99]);
        if self.one_in(2) {
            compare.result = unknown;
        } else {
            compare.target = unknown;
        }
        pb::TxnRequest { compare: vec![compare], ..Default::default() }
    }

    /// A transaction about as long as is allowed, here or there.
    fn long_txn(&mut self) -> pb::TxnRequest {
        let count = self.rng.between(127, 129);
        let get = pb::RequestOp {
            request: Some(Request::RequestRange(pb::RangeRequest { key: self.key(), ..Default::default() })),
        };
        let gets = vec![get; count as usize];
        let compare = pb::Compare {
            key: self.key(),
            target_union: Some(TargetUnion::Version(1)),
            ..Default::default()
        };
        match self.rng.below(4) {
            0 => pb::TxnRequest { success: gets, ..Default::default() },
            1 => pb::TxnRequest { failure: gets, ..Default::default() },
            2 => pb::TxnRequest { compare: vec![compare; count as usize], ..Default::default() },
            _ => {
                let inner = pb::TxnRequest { success: gets, ..Default::default() };
                let op = pb::RequestOp { request: Some(Request::RequestTxn(inner)) };
                pb::TxnRequest { success: vec![op], ..Default::default() }
            }
        }
    }

    fn compare(&mut self) -> pb::Compare {
        let key = self.any_key();
        let target = self.rng.below(5) as i32;
        let union = if self.one_in(15) { self.rng.below(5) as i32 } else { target };
        let target_union = match union {
            _ if self.one_in(25) => None,
            0 => Some(TargetUnion::Version(self.rng.below(5) as i64)),
            1 => Some(TargetUnion::CreateRevision(self.compared_revision())),
            2 => Some(TargetUnion::ModRevision(self.compared_revision())),
            3 => Some(TargetUnion::Value(self.value())),
            _ => Some(TargetUnion::Lease(if self.one_in(2) { 0 } else { self.lease() })),
        };
        // Which of two ids is the greater is chance where the server chose one of them.
        let chosen =
            matches!(target_union, Some(TargetUnion::Lease(id)) if id >= CHOSEN && id != i64::MAX - 1);
        pb::Compare {
            range_end: if self.one_in(4) { self.range_end(&key) } else { Bytes::new() },
            key,
            result: if chosen { *self.rng.pick(&[0, 3]) } else { self.rng.below(4) as i32 },
            target,
            target_union,
        }
    }

    fn compared_revision(&mut self) -> i64 {
        match self.rng.below(6) {
            0..3 => 0,
            3 => -1,
            _ => self.past_revision(),
        }
    }

    /// A lease that may be there: chosen by the client, or by the server not long ago.
    fn lease(&mut self) -> i64 {
        match self.rng.below(10) {
            0..4 => *self.rng.pick(&LEASES),
            4..9 if self.slots > 0 => {
                CHOSEN + self.slots - 1 - self.rng.below(8.min(self.slots as u64)) as i64
            }
            4..9 => 1,
            _ => *self.rng.pick(&[0, -1, 999]),
        }
    }

    fn grant(&mut self) -> Op {
        let chosen = self.one_in(2);
        if chosen {
            self.slots += 1;
        }
        let ttl = if self.one_in(4) { *self.rng.pick(&TTLS) } else { 3600 };
        let id = if chosen { 0 } else { *self.rng.pick(&LEASES) };
        Op::Grant { request: pb::LeaseGrantRequest { ttl, id }, slot: CHOSEN + self.slots - 1 }
    }

    fn watch(&mut self) -> pb::WatchCreateRequest {
        let key = self.any_key();
        pb::WatchCreateRequest {
            range_end: self.range_end(&key),
            key,
            start_revision: match self.rng.below(100) {
                45..75 => self.past_revision().max(self.compacted + i64::from(!self.newer)),
                75..80 if self.newer => self.compacted,
                80..82 => self.compacted - 1,
                82..86 if self.revision > self.compacted => self.revision,
                0..86 => 0,
                86..92 => self.revision + 1,
                92..97 => self.revision + self.rng.between(2, 30) as i64,
                97..99 if self.newer => -1,
                _ => FAR,
            },
            progress_notify: self.one_in(10),
            filters: match self.rng.below(20) {
                0..13 => vec![],
                // One that does not exist filters nothing.
                13 => vec![7, self.rng.below(2) as i32],
                14..16 => vec![0],
                16..18 => vec![1],
                18 => vec![0, 1],
                _ => vec![*self.rng.pick(&[0, 1]); 2],
            },
            prev_kv: self.one_in(2),
            watch_id: match self.rng.below(20) {
                0..5 => self.rng.between(1, 6) as i64,
                5 => -2,
                _ => 0,
            },
            fragment: self.one_in(4),
        }
    }
}

/// Two values in one revision; with the values before, the events are more than one reply of a watch with fragments.
fn large_txn() -> pb::TxnRequest {
    let put = |key: &'static [u8]| {
        let value = vec![b'x'; 700 << 10].into();
        let put = pb::PutRequest { key: Bytes::from_static(key), value, ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    };
    pb::TxnRequest { success: vec![put(b"k0"), put(b"k1")], ..Default::default() }
}

/// Whether a transaction deletes everything from some key on. etcd's check for overlaps does not see that such a delete
/// meets a put; where that put relies on the key's earlier value, etcd ends with "unexpected error during txn".
fn deletes_from_key(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestDeleteRange(delete)) => delete.range_end[..] == b"\0"[..],
        Some(Request::RequestTxn(inner)) => deletes_from_key(inner),
        _ => false,
    })
}

/// Makes every put one that relies on nothing.
fn ignore_nothing(txn: &mut pb::TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(Request::RequestTxn(inner)) => ignore_nothing(inner),
            _ => {}
        }
    }
}

/// The end of the range of all keys that begin with `key`.
fn prefix_end(key: &Bytes) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}
