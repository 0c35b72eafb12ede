use super::*;
use crate::config::tests::good;
use prost::Message;
use quorate_storage::journal::{Identity, Journal, Options};
use quorate_storage::state::StateStore;
use quorate_wire::kv::{KeyRange, Put, Range};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Taken by Debian's etcdctl 3.4 from an etcd of one member, with the sum of a snapshot behind it.
const SNAPSHOT: &[u8] = include_bytes!("../../tests/etcd-3.4.snap");
const NODE: u64 = 0x474f_8fd6_da73_ef6f;
const CLUSTER: u64 = 0xcdf8_181e_3227_2818;
/// Where the file of the log has room for more.
const PREALLOCATED: usize = 8192;

/// A directory as etcd leaves it.
struct Scratch {
    config: ServerConfig,
    applied: u64,
    revision: Revision,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(uint32, tag = "2")]
    crc: u32,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Numbers {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    second: u64,
    #[prost(uint64, tag = "3")]
    third: u64,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

/// A log as etcd writes it.
struct Log {
    crc: u32,
    bytes: Vec<u8>,
}

impl Log {
    fn new(node: u64) -> Self {
        let mut log = Self { crc: 0, bytes: Vec::new() };
        log.record(4, Vec::new());
        log.numbers(1, node, CLUSTER, 0, b"");
        log
    }

    fn record(&mut self, kind: i64, data: Vec<u8>) {
        self.crc = crc32c::crc32c_append(self.crc, &data);
        let record = Record { kind, crc: self.crc, data }.encode_to_vec();
        let padding = record.len().next_multiple_of(8) - record.len();
        let mark = if padding == 0 { 0 } else { 0x80 | padding as u64 };
        self.bytes.extend((record.len() as u64 | mark << 56).to_le_bytes());
        self.bytes.extend(&record);
        self.bytes.resize(self.bytes.len() + padding, 0);
    }

    fn numbers(&mut self, kind: i64, first: u64, second: u64, third: u64, data: &[u8]) {
        self.record(kind, Numbers { first, second, third, data: data.to_vec() }.encode_to_vec());
    }

    fn entry(&mut self, index: u64, put: &str) {
        self.numbers(2, 0, 2, index, put.as_bytes());
    }

    fn member(&mut self, index: u64, id: u64) {
        let json = format!(r#"{{"id":{id},"peerURLs":["http://127.0.0.1:{}"],"name":"m"}}"#, 2380 + index);
        let change = Numbers { first: 1, second: 0, third: id, data: json.into_bytes() };
        let term = if index <= 3 { 1 } else { 2 };
        self.numbers(2, 1, term, index, &change.encode_to_vec());
    }

    fn committed(&mut self, index: u64) {
        self.numbers(3, 2, 0, index, b"");
    }
}

impl Scratch {
    /// With the fixture as its store; `log` writes what is behind what the store has applied.
    fn new(name: &str, log: impl FnOnce(&mut Log, u64)) -> Self {
        let store = Bytes::from_static(&SNAPSHOT[..SNAPSHOT.len() - 32]);
        let kept = bbolt::read(&Source::Bytes(store.clone()), &mut |_| Ok(())).unwrap();
        let (applied, revision) = (kept.cluster.applied.unwrap(), kept.foreign.revision);
        let mut config = good();
        config.data = std::env::temp_dir().join(format!("quorate-etcddir-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&config.data);
        for part in ["snap", "wal"] {
            fs::create_dir_all(config.data.join("member").join(part)).unwrap();
        }
        let scratch = Self { config, applied, revision };
        fs::write(scratch.store(), &store).unwrap();
        let mut written = Log::new(NODE);
        written.member(1, NODE);
        for index in 2..=applied {
            written.entry(index, "before");
        }
        log(&mut written, applied);
        scratch.log(written);
        scratch
    }

    fn log(&self, log: Log) {
        let mut bytes = log.bytes;
        bytes.resize(PREALLOCATED.max(bytes.len()), 0);
        fs::write(self.wal(), bytes).unwrap();
    }

    fn store(&self) -> PathBuf {
        self.config.data.join("member/snap/db")
    }

    fn wal(&self) -> PathBuf {
        self.config.data.join("member/wal/0000000000000000-0000000000000000.wal")
    }

    fn take(&self) -> Result<Option<Taken>, ServeError> {
        take_over(&self.config, &put, false)
    }

    fn refused(&self, says: &str) {
        let error = self.take().unwrap_err();
        let told = format!("{} {}", error.message, error.hint);
        assert!(told.contains(says), "{told} does not say {says}");
        let left = fs::read_dir(&self.config.data).unwrap().count();
        assert_eq!(left, 1, "something was written");
    }

    /// The values of a key in what was made, and of whom it is.
    fn made(&self, key: &'static str) -> (Revision, String, Base) {
        let identity = Identity { cluster: CLUSTER, node: NodeId(NODE) };
        let disk = Arc::new(crate::disk::FsDisk::new(&self.config.data));
        let (_, found) =
            Journal::open(disk, "journal", identity, Options::default(), quorate_base::Mint::for_journal())
                .unwrap();
        let base = found.shards[&crate::run::KV].base.clone();
        let mut store = quorate_lsm::LsmStore::new(
            &self.config.data.join("state"),
            identity,
            quorate_lsm::Options::default(),
        );
        let kv = Kv::open(crate::run::KV, store.open(Some(1)).unwrap()).unwrap();
        assert_eq!(kv.applied(), base.id);
        let range = Range { range: KeyRange { key: key.into(), end: Bytes::new() }, ..Range::default() };
        let mut told = String::new();
        for pair in kv.view().range(&range).unwrap().kvs {
            write!(told, "{}@{}", String::from_utf8_lossy(&pair.value), pair.mod_revision).unwrap();
        }
        (kv.revision(), told, base)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.config.data);
    }
}

/// What stands in these logs: the value of a key `k`, or nothing.
fn put(entry: &Bytes) -> Result<Option<Command>, String> {
    match &entry[..] {
        b"" => Ok(None),
        b"bad" => Err("it is bad".into()),
        value => Ok(Some(Command::Put(Put {
            key: "k".into(),
            value: Bytes::copy_from_slice(value),
            ..Put::default()
        }))),
    }
}

/// Claim: what the log has behind the store is applied, in order, under etcd's ids and behind etcd's last entry; a second time it is this
/// program's directory, and etcd's files are as they were.
#[test]
fn a_member_alone_goes_on_with_all_that_its_log_has() {
    let scratch = Scratch::new("alone", |log, applied| {
        log.entry(applied + 1, "first");
        log.committed(applied + 1);
        log.entry(applied + 2, "");
        log.entry(applied + 3, "second");
    });
    let before = (fs::read(scratch.store()).unwrap(), fs::read(scratch.wal()).unwrap());
    let taken = scratch.take().unwrap().unwrap();
    assert_eq!((taken.cluster, taken.node, taken.entries, taken.torn), (CLUSTER, NodeId(NODE), 3, false));
    assert_eq!((taken.revision, taken.peers.len()), (scratch.revision + 2, 1));
    let (revision, k, base) = scratch.made("k");
    assert_eq!((revision, k), (scratch.revision + 2, format!("second@{}", scratch.revision + 2)));
    assert_eq!(base.id, EntryId::new(Term(2), Index(scratch.applied + 3)));
    let members = Membership::decode(&base.membership).unwrap();
    assert_eq!((members.voters.len(), Book::of(&members).used), (1, NodeId(NODE)));
    assert_eq!(scratch.take().unwrap(), None, "it is ours now");
    assert_eq!(before, (fs::read(scratch.store()).unwrap(), fs::read(scratch.wal()).unwrap()));
    // Interrupted, and with something half made, it begins again.
    fs::write(scratch.config.data.join(TAKING_OVER), "").unwrap();
    fs::remove_dir_all(scratch.config.data.join("journal")).unwrap();
    assert_eq!(scratch.take().unwrap(), Some(taken));
    assert_eq!(scratch.made("k").0, scratch.revision + 2);
}

/// Claim: whatever bit of the log flips, it is noticed, and nothing is written; cut off in the middle of its last record, as a process that
/// ends leaves it, it ends before that.
#[test]
fn a_flipped_bit_of_the_log_is_noticed_and_a_torn_record_left_out() {
    let scratch = Scratch::new("flips", |log, applied| {
        log.entry(applied + 1, "first");
        log.entry(applied + 2, &"x".repeat(1500));
        log.committed(applied + 1);
        log.entry(applied + 3, &"y".repeat(1500));
    });
    let good = fs::read(scratch.wal()).unwrap();
    let end = good.iter().rposition(|&byte| byte != 0).unwrap();
    let mut rng = quorate_base::Rng::new(5);
    for _ in 0..600 {
        let at: usize = rng.below(good.len() as u64) as usize;
        let mut bad = good.clone();
        bad[at] ^= 1 << rng.below(8);
        fs::write(scratch.wal(), &bad).unwrap();
        let taken = scratch.take();
        assert!(taken.is_err(), "a bit of byte {at} flipped, and it was taken over");
        assert_eq!(fs::read_dir(&scratch.config.data).unwrap().count(), 1, "byte {at}");
    }
    // From a sector on nothing of the last record was written.
    let cut = end / 512 * 512 - 512;
    let mut torn = good.clone();
    torn[cut..].fill(0);
    fs::write(scratch.wal(), &torn).unwrap();
    let taken = scratch.take().unwrap().unwrap();
    assert!(taken.torn && taken.entries == 2, "{taken:?}");
    assert_eq!(scratch.made("k").0, scratch.revision + 2);
}

/// Claim: a member of several that has run is refused with the way out, unless it is forced to go on alone, with what is committed; a log
/// that lacks what is committed, entries that cannot be had, a member that was removed and a store in use are refused, too.
#[test]
fn what_cannot_be_had_is_refused_and_nothing_is_written() {
    let several = Scratch::new("several", |log, applied| {
        log.member(applied + 1, NODE + 1);
        log.entry(applied + 2, "committed");
        log.committed(applied + 2);
        log.entry(applied + 3, "perhaps");
    });
    several.refused("a cluster of 2, which has run");
    several.refused("etcdctl snapshot save");
    let forced = take_over(&several.config, &put, true).unwrap().unwrap();
    assert_eq!((forced.peers.len(), forced.entries), (1, 2));
    let (_, k, base) = several.made("k");
    assert_eq!(k, format!("committed@{}", several.revision + 1));
    let members = Membership::decode(&base.membership).unwrap();
    assert_eq!((Book::of(&members).used, members.voters), (NodeId(NODE + 1), [NodeId(NODE)].into()));

    Scratch::new("short", |log, applied| log.committed(applied + 1))
        .refused("ends before what it says is committed");
    Scratch::new("bad", |log, applied| log.entry(applied + 1, "bad")).refused("it is bad");
    Scratch::new("gap", |log, applied| log.entry(applied + 2, "x")).refused("an entry is missing");
    let of_another = Scratch::new("another", |_, _| {});
    let mut log = Log::new(NODE + 7);
    log.entry(of_another.applied, "x");
    of_another.log(log);
    of_another.refused("was removed from its cluster");
    let used = Scratch::new("used", |_, _| {});
    let etcd = File::options().write(true).open(used.store()).unwrap();
    etcd.lock().unwrap();
    used.refused("an etcd runs on this directory");
    drop(etcd);
    used.take().unwrap().unwrap();
}

/// Claim: a restored directory of one of three, with nothing but members in its log, becomes one of three, behind the same entry and with the
/// same state as the others.
#[test]
fn members_of_a_restore_begin_together() {
    let ids = [NODE, NODE + 1, NODE + 2];
    let made: Vec<_> = ids
        .iter()
        .map(|&own| {
            let scratch = Scratch::new(&format!("restored-{own:x}"), |_, _| {});
            let mut log = Log::new(own);
            for (n, &id) in (1..).zip(&ids) {
                log.member(n, id);
            }
            log.numbers(3, 1, 0, 3, b"");
            // As a restore writes it: the entry is the last of the members.
            let wal = {
                scratch.log(log);
                wal::read(&scratch.config.data.join("member/wal"), 3).unwrap()
            };
            assert_eq!((wal.node, wal.normal, wal.last), (own, 0, (3, 1)));
            let mut members = Members::default();
            wal.entries.iter().for_each(|at| assert!(members.change(&wal.data(at).unwrap())));
            (members.membership().unwrap(), members.len())
        })
        .collect();
    assert!(made.iter().all(|one| *one == made[0] && one.1 == 3));
    assert_eq!(Book::of(&made[0].0).used, NodeId(NODE + 2));
}

/// Claim: what a bit makes of the descriptions of the store is noticed.
#[test]
fn a_flipped_bit_of_a_description_is_noticed() {
    let scratch = Scratch::new("descriptions", |_, _| {});
    let good = fs::read(scratch.store()).unwrap();
    for at in (16..80).chain(4096 + 16..4096 + 80) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(scratch.store(), &bad).unwrap();
        scratch.refused("does not verify");
    }
}

/// Claim: a start beside etcd's files sees whether an etcd has written to them since they were taken over, and says both ways out; one
/// from before that was kept passes.
#[test]
fn an_etcd_that_went_on_is_seen() {
    let scratch = Scratch::new("since", |_, _| {});
    let taken = scratch.take().unwrap().unwrap();
    let config = ServerConfig { cluster: taken.cluster, node: taken.node, ..scratch.config.clone() };
    let open = || DataDir::open(&config).map(drop);
    let before = fs::read(scratch.wal()).unwrap();
    open().unwrap();
    // Another time, the same content: a copy.
    fs::write(scratch.wal(), &before).unwrap();
    open().unwrap();
    let mut after = before.clone();
    after[PREALLOCATED - 1] = 1;
    fs::write(scratch.wal(), &after).unwrap();
    let refused = open().unwrap_err();
    assert!(refused.message.contains("an etcd has run on it since"), "{refused}");
    assert!(refused.hint.contains("move") && refused.hint.contains("anew"), "{}", refused.hint);
    fs::write(scratch.wal(), &before).unwrap();
    let next = scratch.config.data.join("member/wal/0000000000000001-0000000000000099.wal");
    fs::write(&next, "").unwrap();
    assert!(open().is_err());
    fs::remove_file(&next).unwrap();
    open().unwrap();
    let note = scratch.config.data.join("from-etcd");
    fs::write(&note, "file = a").unwrap();
    assert_eq!(open().unwrap_err().kind, ServeErrorKind::Damaged);
    let found = crate::doctor::examine(&scratch.config.data).unwrap().findings;
    assert!(found.iter().any(|finding| finding.file == "from-etcd"), "{found:?}");
    fs::rename(scratch.config.data.join("member"), scratch.config.data.join("log")).unwrap();
    open().unwrap();
}

/// Claim: what failed behind a take-over is not said to have changed nothing, and one that was cut short has words of its own.
#[test]
fn hints_behind_a_take_over_are_true() {
    let scratch = Scratch::new("hints", |_, _| {});
    let data = scratch.config.data.clone();
    let room = "nothing was changed; make room";
    assert_eq!(hint_behind(&data, room), None);
    let cut = write_fails(&data, || scratch.take().unwrap_err());
    assert!(cut.hint.contains("was not taken over") && !cut.hint.contains("restore"), "{}", cut.hint);
    scratch.take().unwrap().unwrap();
    let hint = hint_behind(&data, room).unwrap();
    assert!(!hint.contains("nothing was changed") && hint.ends_with("; make room"), "{hint}");
    assert_eq!(hint_behind(&data, "another"), None);
}

/// A directory stands where the note of etcd's log is to be written.
fn write_fails<T>(data: &Path, run: impl FnOnce() -> T) -> T {
    let way = data.join("from-etcd.new");
    fs::create_dir(&way).unwrap();
    let done = run();
    fs::remove_dir(&way).unwrap();
    done
}

/// Claim: keys of version 2 are found where etcd has them: in its newest snapshot, and in the log behind that, also in what the store has
/// applied; what etcd keeps of itself is none.
#[test]
fn keys_of_version_2_are_refused_also_where_they_are_applied() {
    let summed = |keys: &str| {
        let own = r#""0":{"Path":"/0","Children":{"version":{"Value":"3.4.0","Children":null}}}"#;
        let json = format!(
            r#"{{"Root":{{"Path":"/","Children":{{{own},"1":{{"Path":"/1","Children":{keys}}}}}}},"CurrentIndex":4}}"#
        );
        let data = Numbers { data: json.into_bytes(), ..Numbers::default() };
        let mut data = data.encode_to_vec();
        // The content stands in field 1 there.
        data[0] = 0x0a;
        let mut out = vec![0x08];
        prost::encoding::encode_varint(u64::from(crc32c::crc32c(&data)), &mut out);
        out.push(0x12);
        prost::encoding::encode_varint(data.len() as u64, &mut out);
        out.extend(&data);
        out
    };
    let request = |method: &str, path: &str| {
        let part = |tag: u8, text: &str| [&[tag, text.len() as u8], text.as_bytes()].concat();
        [part(0x12, method), part(0x1a, path)].concat()
    };
    let with = |name: &str, entry: &[u8]| {
        let scratch = Scratch::new(name, |_, _| {});
        let mut log = Log::new(NODE);
        log.member(1, NODE);
        for index in 2..=scratch.applied {
            match index {
                4 => log.numbers(2, 0, 2, index, entry),
                _ => log.entry(index, "before"),
            }
        }
        scratch.log(log);
        scratch
    };
    let put = request("PUT", "/1/foo");
    with("v2-log", &put).refused("version 2, as \"/foo\"");
    with("v2-wrapped", &[&[0x12, put.len() as u8], &put[..]].concat()).refused("version 2, as \"/foo\"");
    assert!(with("v2-own", &request("PUT", "/0/version")).take().unwrap().is_some());
    // Behind the entry a snapshot says what is left.
    let snapshot = |scratch: &Scratch, index: u64, keys: &str| {
        let name = format!("member/snap/{:016x}-{index:016x}.snap", 2);
        fs::write(scratch.config.data.join(name), summed(keys)).unwrap();
    };
    let scratch = with("v2-snap", &put);
    snapshot(&scratch, 3, "{}");
    scratch.refused("version 2");
    snapshot(&scratch, 5, r#"{"bar":{"Path":"/1/bar","Value":"x","Children":null}}"#);
    scratch.refused("version 2, as \"/bar\"");
    snapshot(&scratch, 6, "{}");
    assert!(scratch.take().unwrap().is_some());
}
