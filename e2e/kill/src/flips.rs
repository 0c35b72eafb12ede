//! Bits that flip in the files of a stopped node.
//!
//! Every key is written once, with a value that follows from its number, so that whatever a node answers can be judged at
//! any moment: a key may be missing from a node that is catching up, but no value may be another. Each round writes a few
//! keys more, kills a node, flips one bit in one of its files, and starts it. From its first answer on its own state is read
//! (serializable reads); in the end it must hold every key. What the node said about the damage is counted:
//!
//! - *named*: it told the file, or refused to start because of it (`identity`; the bit is then flipped back, as a restored
//!   backup would);
//! - *unused*: the byte lay where nothing reads: the unwritten rest of a segment, a spare one, a lock, the reserve, the live
//!   copy that each start makes anew, a checkpoint that is not in force;
//! - *unread*: a block of a table in which no newest value lies. Its checksum is looked at when it is read, which a scrub
//!   or a compaction does; the bit is flipped back, so that rounds do not add up.
//!
//! Every tenth round flips the same bit of the same entry on two nodes at once.

use crate::client::{client, said};
use bytes::Bytes;
use e2e_cluster::{Cluster, Target, tail};
use quorate_base::Rng;
use quorate_proto::etcdserverpb as pb;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const NODES: usize = 3;
/// Bytes written before the first round: enough for checkpoints, and for segments behind them.
const LOAD_BYTES: usize = 44 << 20;
/// Keys each round adds.
const ADDED: u64 = 6;
/// How long a node may take to hold everything again.
const PATIENCE: Duration = Duration::from_secs(90);
const PREFIX: &str = "flip/";
const PAGE: i64 = 400;
/// So many bytes of a value are looked for.
const NEEDLE: usize = 48;
/// No batch of a segment is longer in this test.
const BATCH_MAX: u64 = 4 << 20;
/// The exit code of a node whose state failed a read: it is to be started again.
const STATE_DAMAGED: &str = "exit status: 7";
/// The exit code of a node whose data are damaged beyond what it may repair.
const REFUSED: &str = "exit status: 5";

/// What became of the flips.
#[derive(Default, Debug)]
struct Tally {
    flips: u64,
    pairs: u64,
    named: u64,
    refused: u64,
    stopped_and_started: u64,
    set_aside: u64,
    unused: u64,
    unread: u64,
    by_kind: BTreeMap<&'static str, u64>,
}

/// One flipped bit.
#[derive(Debug)]
struct Flip {
    node: usize,
    path: PathBuf,
    bit: u64,
    before: u8,
}

/// Runs `rounds` rounds.
pub async fn run(target: Target, data: &Path, rounds: u64, seed: u64) -> Result<(), String> {
    let cluster = Cluster::serving(target, NODES, data, PATIENCE).await.map_err(|e| e.to_string())?;
    let mut test = Test { cluster, rng: Rng::stream(seed, "flips"), keys: 0, tally: Tally::default() };
    let mut bytes = 0;
    while bytes < LOAD_BYTES {
        bytes += test.write(64).await?;
    }
    for node in 0..NODES {
        test.until_whole(node, None).await?;
    }
    println!("flips: {} keys with {} MiB of values", test.keys, bytes >> 20);
    for round in 1..=rounds {
        let two = round % 10 == 0;
        let what = if two { test.two().await } else { test.one().await };
        let what = what.map_err(|e| format!("round {round}: {e}"))?;
        if two || what.contains("named") || round == rounds || std::env::var_os("VERBOSE").is_some() {
            println!("round {round}: {what}");
        }
    }
    let tally = &test.tally;
    println!(
        "flips: {rounds} rounds: {tally:?}; never a wrong value, and every node holds all {} keys",
        test.keys
    );
    if rounds >= 100 && (tally.named == 0 || tally.set_aside == 0 || tally.pairs == 0 || tally.unused == 0) {
        return Err("a fault never fired, so nothing was shown".into());
    }
    Ok(())
}

struct Test {
    cluster: Cluster,
    rng: Rng,
    /// Keys 0 to this one, without it, are written.
    keys: u64,
    tally: Tally,
}

impl Test {
    // ---- rounds ----

    /// One flip on one node.
    async fn one(&mut self) -> Result<String, String> {
        for _ in 0..2 {
            self.write(ADDED / 2).await?;
        }
        let node = self.rng.below(NODES as u64) as usize;
        self.cluster.kill(node).map_err(said)?;
        let logged = self.log(node).len();
        let flip = self.flip(node)?;
        *self.tally.by_kind.entry(flip.kind()).or_default() += 1;
        let verdict = self.heal(&flip, logged).await?;
        Ok(format!("node {} {}: {verdict}", node + 1, flip.place()))
    }

    /// The same bit of the same entry on two nodes, which stop at once.
    async fn two(&mut self) -> Result<String, String> {
        let out = self.rng.below(NODES as u64) as usize;
        let pair: Vec<usize> = (0..NODES).filter(|&n| n != out).collect();
        let (key, places) = self.entry_of_both(&pair).await?;
        let bit = self.rng.below(NEEDLE as u64 * 8);
        let mut flips = Vec::new();
        for (&node, (path, at)) in pair.iter().zip(places) {
            flips.push((Flip::make(node, path, at * 8 + bit)?, self.log(node).len()));
        }
        for &node in &pair {
            self.cluster.restart(node).await.map_err(said)?;
        }
        self.tally.pairs += 1;
        let mut verdicts = Vec::new();
        for (flip, logged) in &flips {
            verdicts.push(self.heal(flip, *logged).await?);
        }
        Ok(format!("nodes {pair:?} (from 0), the entry of key {key}: {}", verdicts.join("; ")))
    }

    /// Stops two nodes, in whose journals an entry stands that was acknowledged: its key, and where. A node that was just healed
    /// has the newest entries in its state instead; then there are newer ones.
    async fn entry_of_both(&mut self, pair: &[usize]) -> Result<(u64, Vec<(PathBuf, u64)>), String> {
        for _ in 0..10 {
            self.write(ADDED).await?;
            for &node in pair {
                self.until_whole(node, None).await?;
            }
            self.cluster.kill_all(pair).map_err(said)?;
            let key = self.keys - 1 - self.rng.below(ADDED);
            let needle = value(key).slice(..NEEDLE);
            let places: Result<Vec<_>, _> = pair.iter().map(|&node| self.find(node, &needle)).collect();
            let places: Vec<(PathBuf, u64)> = places?.into_iter().flatten().collect();
            if places.len() == pair.len() {
                return Ok((key, places));
            }
            for &node in pair {
                self.cluster.restart(node).await.map_err(said)?;
            }
        }
        Err(format!("nodes {pair:?} (from 0) never hold the same new entry in their journals"))
    }

    /// Starts the node of a flip, reads from it until it holds everything, and says what it said of the damage.
    async fn heal(&mut self, flip: &Flip, logged: usize) -> Result<String, String> {
        self.tally.flips += 1;
        let node = flip.node;
        self.cluster.restart(node).await.map_err(said)?;
        let refused = self.until_whole(node, Some(flip)).await?;
        let log = self.log(node)[logged..].to_string();
        let aside = log.contains("set aside");
        self.tally.set_aside += u64::from(aside);
        self.forget_what_was_set_aside(node);
        if refused {
            self.tally.refused += 1;
            self.tally.named += 1;
            return Ok("named, refused, and restored".into());
        }
        if aside || flip.is_told(&log) {
            self.tally.named += 1;
            return Ok(if aside { "named, set aside, and healed" } else { "named and healed" }.into());
        }
        if flip.is_unused(&self.data(node))? {
            self.tally.unused += 1;
            return Ok("unused".into());
        }
        if flip.kind() == "table" {
            self.tally.unread += 1;
            flip.undo()?;
            return Ok("unread".into());
        }
        Err(format!(
            "node {} does not tell of {}\n{}",
            node + 1,
            flip.place(),
            tail(&self.cluster.places()[node].log(), 12)
        ))
    }

    // ---- reading ----

    /// Reads the node's own state until it holds every key. A node that stops because a read failed is started again; one that
    /// refuses gets its bit back. True if it refused.
    async fn until_whole(&mut self, node: usize, flip: Option<&Flip>) -> Result<bool, String> {
        let end = Instant::now() + PATIENCE;
        let url = self.cluster.places()[node].url();
        let mut refused = false;
        loop {
            let missing = match self.look(&url).await {
                Ok(0) => return Ok(refused),
                Ok(missing) => format!("{missing} keys are missing"),
                Err(Look::Wrong(wrong)) => return Err(format!("node {}: WRONG: {wrong}", node + 1)),
                Err(Look::Failed(why)) => why,
            };
            for (gone, how) in self.cluster.reap().map_err(said)? {
                match (how.as_str(), flip) {
                    (STATE_DAMAGED, _) => self.tally.stopped_and_started += 1,
                    (REFUSED, Some(flip)) if gone == flip.node && flip.kind() == "identity" => {
                        flip.undo()?;
                        refused = true;
                    }
                    _ => {
                        let log = tail(&self.cluster.places()[gone].log(), 12);
                        return Err(format!("node {} ended: {how}\n{log}", gone + 1));
                    }
                }
                self.cluster.restart(gone).await.map_err(said)?;
            }
            if Instant::now() > end {
                let log = tail(&self.cluster.places()[node].log(), 12);
                return Err(format!("node {} is not whole after {PATIENCE:?}: {missing}\n{log}", node + 1));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// One serializable reading of everything; how many keys are missing.
    async fn look(&self, url: &str) -> Result<u64, Look> {
        let mut client = client(url).map_err(Look::Failed)?;
        let (mut from, mut seen) = (Bytes::from_static(PREFIX.as_bytes()), 0);
        loop {
            let range = pb::RangeRequest {
                key: from.clone(),
                range_end: Bytes::from_static(b"flip0"),
                limit: PAGE,
                serializable: true,
                ..Default::default()
            };
            let asked = timeout(Duration::from_secs(5), client.range(range)).await;
            let reply = match asked {
                Ok(Ok(reply)) => reply.into_inner(),
                Ok(Err(status)) => return Err(Look::Failed(status.to_string())),
                Err(_) => return Err(Look::Failed("no answer".into())),
            };
            for kv in &reply.kvs {
                seen += 1;
                self.judge(kv).map_err(Look::Wrong)?;
            }
            match reply.kvs.last() {
                Some(last) if reply.more => {
                    from = [&last.key[..], &[0]].concat().into();
                }
                _ => break,
            }
        }
        if seen > self.keys {
            return Err(Look::Wrong(format!("{seen} keys, {} were written", self.keys)));
        }
        Ok(self.keys - seen)
    }

    fn judge(&self, kv: &quorate_proto::mvccpb::KeyValue) -> Result<(), String> {
        let name = String::from_utf8_lossy(&kv.key).into_owned();
        let number = name.strip_prefix(PREFIX).and_then(|n| n.parse::<u64>().ok());
        match number {
            Some(n) if n < self.keys && kv.version == 1 && kv.value == value(n) => Ok(()),
            _ => Err(format!(
                "{name} at version {} with {} bytes is not what was written",
                kv.version,
                kv.value.len()
            )),
        }
    }

    // ---- writing ----

    /// Writes `count` keys more in one transaction; gives their bytes. What is in doubt is looked up, as the keys are new.
    async fn write(&mut self, count: u64) -> Result<usize, String> {
        let new: Vec<(Bytes, Bytes)> = (self.keys..self.keys + count).map(|n| (key(n), value(n))).collect();
        let bytes = new.iter().map(|(_, value)| value.len()).sum();
        let put = |(key, value): &(Bytes, Bytes)| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
                key: key.clone(),
                value: value.clone(),
                ..Default::default()
            })),
        };
        let absent = pb::Compare {
            result: pb::compare::CompareResult::Equal as i32,
            target: pb::compare::CompareTarget::Create as i32,
            key: new[0].0.clone(),
            target_union: Some(pb::compare::TargetUnion::CreateRevision(0)),
            ..Default::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![absent],
            success: new.iter().map(put).collect(),
            failure: Vec::new(),
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let url = self.rng.pick(&self.cluster.urls()).clone();
            let mut client = client(&url)?;
            match timeout(Duration::from_secs(3), client.txn(txn.clone())).await {
                // Where it did not succeed, an earlier try had.
                Ok(Ok(_)) => break,
                other if Instant::now() > end => return Err(format!("no write succeeds: {other:?}")),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        self.keys += count;
        Ok(bytes)
    }

    // ---- files ----

    fn data(&self, node: usize) -> PathBuf {
        self.cluster.places()[node].data.clone()
    }

    fn log(&self, node: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(self.cluster.places()[node].log()).unwrap_or_default())
            .into_owned()
    }

    /// Flips a bit in a random file. Half of the time the byte is looked for among those that are not zero: most of a journal
    /// is not yet written.
    fn flip(&mut self, node: usize) -> Result<Flip, String> {
        let mut files = Vec::new();
        list(&self.data(node), &mut files)?;
        let files: Vec<(PathBuf, u64)> = files.into_iter().filter(|(_, size)| *size > 0).collect();
        let total: u64 = files.iter().map(|(_, size)| size).sum();
        let (path, size) = if self.rng.chance(1, 2) {
            self.rng.pick(&files).clone()
        } else {
            let mut at = self.rng.below(total);
            let by_size = files.iter().find(|(_, size)| {
                let here = at < *size;
                at = at.saturating_sub(*size);
                here
            });
            by_size.unwrap_or(&files[0]).clone()
        };
        let file = File::open(&path).map_err(said)?;
        let mut at = self.rng.below(size);
        if self.rng.chance(1, 2) {
            for _ in 0..200 {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).map_err(said)?;
                if byte[0] != 0 {
                    break;
                }
                at = self.rng.below(size);
            }
        }
        Flip::make(node, path, at * 8 + self.rng.below(8))
    }

    /// Where the newest segment that has `needle` has it.
    fn find(&self, node: usize, needle: &[u8]) -> Result<Option<(PathBuf, u64)>, String> {
        let mut files = Vec::new();
        list(&self.data(node).join("journal"), &mut files)?;
        files.sort();
        for (path, _) in files.iter().rev() {
            let mut bytes = Vec::new();
            File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(said)?;
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                return Ok(Some((path.clone(), at as u64)));
            }
        }
        Ok(None)
    }

    /// An operator's part.
    fn forget_what_was_set_aside(&self, node: usize) {
        for n in 1..100 {
            let _ = std::fs::remove_dir_all(self.data(node).join(format!("state.damaged-{n}")));
        }
    }
}

/// Why a reading told nothing, or too much.
enum Look {
    Failed(String),
    Wrong(String),
}

impl Flip {
    fn make(node: usize, path: PathBuf, bit: u64) -> Result<Self, String> {
        let mut flip = Self { node, path, bit, before: 0 };
        flip.before = flip.byte()?;
        flip.put(flip.before ^ (1 << (bit % 8)))?;
        Ok(flip)
    }

    fn byte(&self) -> Result<u8, String> {
        let mut byte = [0];
        let mut file = File::open(&self.path).map_err(said)?;
        file.seek(SeekFrom::Start(self.bit / 8)).and_then(|_| file.read_exact(&mut byte)).map_err(said)?;
        Ok(byte[0])
    }

    fn put(&self, byte: u8) -> Result<(), String> {
        let file = OpenOptions::new().write(true).open(&self.path).map_err(said)?;
        file.write_all_at(&[byte], self.bit / 8).map_err(said)
    }

    /// Puts the bit back, if the file is still there.
    fn undo(&self) -> Result<(), String> {
        if self.path.exists() { self.put(self.before) } else { Ok(()) }
    }

    /// What the node calls the file in its messages.
    fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn place(&self) -> String {
        format!("{} bit {}", self.path.display(), self.bit)
    }

    fn parent(&self) -> String {
        let parent = self.path.parent().and_then(Path::file_name);
        parent.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn kind(&self) -> &'static str {
        let name = self.name();
        match (self.parent().as_str(), name.as_str()) {
            ("tables", _) => "table",
            ("journal", "spare.seg") => "spare",
            ("journal", _) => "segment",
            (_, "identity") => "identity",
            (_, "lock" | "reserve") => "lock",
            _ => "small",
        }
    }

    /// Whether nothing that is in force lies there; judged after the start, by where it is and what stood there.
    fn is_unused(&self, data: &Path) -> Result<bool, String> {
        let inside =
            |part: &str| self.path.strip_prefix(data.join("state")).is_ok_and(|p| p.starts_with(part));
        Ok(match self.kind() {
            "spare" | "lock" => true,
            // The live copy is made anew at each start; but its tables are the checkpoint's own.
            "small" if inside("live") => true,
            // What the start has let go was not in force.
            _ if !self.path.exists() => true,
            "segment" => self.lies_behind_the_batches()? || self.renewed()?,
            _ => false,
        })
    }

    /// Whether a warning tells of it: by the file, and for a segment by the place of the batch it lies in.
    fn is_told(&self, log: &str) -> bool {
        let at = self.bit / 8;
        let told = |line: &str| {
            let place = line.split_once(&self.name()).map(|(_, rest)| rest).unwrap_or_default();
            let offset =
                place.strip_prefix(" at offset ").and_then(|o| o.split(':').next()?.parse::<u64>().ok());
            match self.kind() {
                "segment" => offset.is_some_and(|offset| offset <= at && at - offset < BATCH_MAX),
                "table" => false,
                _ => line.contains(&self.name()),
            }
        };
        log.lines().filter(|line| line.contains("WARN")).any(told)
    }

    /// Behind the last of its batches, whose numbers follow each other, or in the header's unused end, nothing is read. What
    /// lies there may be of the file's earlier life.
    fn lies_behind_the_batches(&self) -> Result<bool, String> {
        let mut bytes = Vec::new();
        File::open(&self.path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(said)?;
        let at = (self.bit / 8) as usize;
        bytes[at] = self.before;
        let long = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b));
        let (mut end, mut due) = (64, long(40));
        while end + 32 < bytes.len() && long(end + 8) == due {
            let len = (long(end) & 0xFFFF_FFFF) as usize;
            end += (32 + len).next_multiple_of(8);
            due += 1;
        }
        Ok(at >= end || (52..64).contains(&at))
    }

    /// The file has been written anew since: a segment that was recycled.
    fn renewed(&self) -> Result<bool, String> {
        Ok(self.byte()? != self.before ^ (1 << (self.bit % 8)))
    }
}

fn key(n: u64) -> Bytes {
    format!("{PREFIX}{n:08}").into()
}

/// Bytes that follow from the number and look like chance.
fn value(n: u64) -> Bytes {
    let mut rng = Rng::new(n ^ 0x666C_6970);
    let len = if n.is_multiple_of(7) { rng.between(4_000, 16_000) } else { rng.between(64, 2_000) };
    let mut out = Vec::with_capacity(len as usize + 8);
    while (out.len() as u64) < len {
        out.extend(rng.next_u64().to_le_bytes());
    }
    out.into()
}

fn list(dir: &Path, out: &mut Vec<(PathBuf, u64)>) -> Result<(), String> {
    for entry in std::fs::read_dir(dir).map_err(said)? {
        let entry = entry.map_err(said)?;
        let kind = entry.metadata().map_err(said)?;
        if kind.is_dir() {
            list(&entry.path(), out)?;
        } else {
            out.push((entry.path(), kind.len()));
        }
    }
    out.sort();
    Ok(())
}
