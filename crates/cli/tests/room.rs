//! A node whose disk is nearly full, on a file system of a limited size: a tmpfs in namespaces of its own, for which nobody
//! need be root. Where the system allows none the tests say so and pass.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use crate::common::{Alone, PATIENCE, Scratch, eventually};
use quorate_proto::etcdserverpb as pb;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use tonic::transport::Channel;

const MIB: usize = 1 << 20;

/// A node on a disk of its own.
struct Small {
    node: Alone,
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    /// Its data directory, as it is seen from here.
    data: String,
    _scratch: Scratch,
}

impl Small {
    /// With so many MiB in all, and more on its command line; `None` where there are no such file systems.
    fn start(name: &str, mib: usize, more: &[&str]) -> Option<Self> {
        if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: this system lets no user make a file system of a limited size");
            return None;
        }
        let scratch = Scratch::new(name);
        let data = scratch.path("n1");
        std::fs::create_dir(&data).unwrap();
        let before = format!(
            "exec unshare -rm sh -c 'mount -t tmpfs -o size={mib}m tmpfs {data} && exec \"$0\" \"$@\"' \"$0\" \"$@\" \
             2>{data}.log;"
        );
        let node = Alone::start_with(&data, &before, more).unwrap();
        let data = format!("/proc/{}/root{data}", node.pid());
        Some(Self::of(node, data, scratch))
    }

    /// One on the disk of all others.
    fn start_large(name: &str, more: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let data = scratch.path("n1");
        Self::of(Alone::start_with(&data, "", more).unwrap(), data, scratch)
    }

    fn of(node: Alone, data: String, scratch: Scratch) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.etcd)).unwrap();
        let channel = runtime.block_on(endpoint.timeout(PATIENCE).connect()).unwrap();
        Self { node, runtime, channel, data, _scratch: scratch }
    }

    /// Bytes on the disk below its data directory; what has two names is counted once.
    fn bytes(&self) -> u64 {
        fn add(dir: &Path, seen: &mut BTreeMap<u64, u64>) {
            // What goes meanwhile takes no room.
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => add(&entry.path(), seen),
                    Ok(meta) => drop(seen.insert(meta.ino(), meta.blocks() * 512)),
                    Err(_) => {}
                }
            }
        }
        let mut seen = BTreeMap::new();
        add(Path::new(&self.data), &mut seen);
        seen.values().sum()
    }

    fn put(&self, key: &str, bytes: usize) -> Result<(), String> {
        // What does not shrink.
        let mut state = key.len() as u64 * 977 + key.bytes().map(u64::from).sum::<u64>();
        let value: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(bytes)
        .collect();
        let put = pb::PutRequest { key: key.to_string().into(), value: value.into(), ..Default::default() };
        let mut client = pb::kv_client::KvClient::new(self.channel.clone());
        self.runtime.block_on(client.put(put)).map(drop).map_err(|status| {
            assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}; {}", self.node.log());
            status.message().to_string()
        })
    }

    fn delete_all(&self) -> i64 {
        let all = bytes::Bytes::from_static(&[0]);
        let delete = pb::DeleteRangeRequest { key: all.clone(), range_end: all, prev_kv: false };
        let mut client = pb::kv_client::KvClient::new(self.channel.clone());
        self.runtime.block_on(client.delete_range(delete)).unwrap().into_inner().deleted
    }

    fn delete(&self, keys: std::ops::Range<usize>) {
        let mut client = pb::kv_client::KvClient::new(self.channel.clone());
        for n in keys {
            let delete = pb::DeleteRangeRequest { key: format!("k{n}").into(), ..Default::default() };
            assert_eq!(self.runtime.block_on(client.delete_range(delete)).unwrap().into_inner().deleted, 1);
        }
    }

    fn compact(&self) {
        let mut client = pb::kv_client::KvClient::new(self.channel.clone());
        let status = self.status();
        let revision = status.header.unwrap().revision;
        self.runtime.block_on(client.compact(pb::CompactionRequest { revision, physical: true })).unwrap();
    }

    fn status(&self) -> pb::StatusResponse {
        let mut client = pb::maintenance_client::MaintenanceClient::new(self.channel.clone());
        self.runtime.block_on(client.status(pb::StatusRequest {})).unwrap().into_inner()
    }

    /// The alarms, each with its member, behind an action on that of this node.
    fn alarm(&self, action: pb::alarm_request::AlarmAction) -> Vec<(u64, i32)> {
        let request = pb::AlarmRequest { action: action as i32, member_id: 1, alarm: 1 };
        let mut client = pb::maintenance_client::MaintenanceClient::new(self.channel.clone());
        let reply = self.runtime.block_on(client.alarm(request)).unwrap().into_inner();
        reply.alarms.iter().map(|a| (a.member_id, a.alarm)).collect()
    }

    fn disarm(&self) {
        assert_eq!(self.alarm(pb::alarm_request::AlarmAction::Deactivate), [(1, 1)]);
    }

    /// Disarms till a put is taken: it looks at its disk a few times a second, and raises again what is short as it knows.
    fn serves_again(&self, key: &str) {
        eventually("it serves again", || {
            self.alarm(pb::alarm_request::AlarmAction::Deactivate);
            self.put(key, 10).is_ok()
        });
    }

    fn alarms(&self) -> Vec<(u64, i32)> {
        self.alarm(pb::alarm_request::AlarmAction::Get)
    }

    fn defragment(&self) {
        let mut client = pb::maintenance_client::MaintenanceClient::new(self.channel.clone());
        self.runtime.block_on(client.defragment(pb::DefragmentRequest {})).unwrap();
    }

    /// Free bytes of its disk.
    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.data).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.node.etcd).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Takes so many MiB of the disk away, or all that is left.
    fn fill(&self, mib: usize) {
        let mut file = File::create(format!("{}/filler", self.data)).unwrap();
        let zeros = vec![0; MIB / 4];
        let _ = (0..4 * mib).try_for_each(|_| file.write_all(&zeros));
    }

    fn empty(&self) {
        std::fs::remove_file(format!("{}/filler", self.data)).unwrap();
    }
}

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// Claim: a disk that others fill makes the node refuse what needs room, by an alarm that all can see; taking away goes on,
/// also where nothing at all is left, and once there is room and the alarm is disarmed it serves as before.
#[test]
fn a_nearly_full_disk_refuses_writes_and_serves_again() {
    let Some(small) = Small::start("room-full", 320, &[]) else { return };
    for n in 0..20 {
        small.put(&format!("k{n}"), 10_000).unwrap();
    }
    small.fill(240);
    eventually("the alarm is raised", || small.alarms() == [(1, 1)]);
    assert_eq!(small.put("more", 10), Err(NO_SPACE.into()));
    assert_eq!(small.status().errors, ["memberID:1 alarm:NOSPACE "]);
    assert!(small.page("/health").contains("503 Service Unavailable"));
    assert!(small.page("/health").contains(r#"{"health":"false","reason":"ALARM NOSPACE"}"#));
    assert!(small.page("/health?exclude=NOSPACE").contains(r#"{"health":"true","reason":""}"#));
    assert!(small.page("/readyz").contains("200 OK"));
    small.disarm();
    eventually("what is still short is raised again", || small.alarms() == [(1, 1)]);

    small.fill(1_000);
    eventually("the reserve is given", || !std::fs::exists(format!("{}/reserve", small.data)).unwrap());
    assert_eq!(small.delete_all(), 20);
    small.compact();
    assert_eq!(small.put("more", 10), Err(NO_SPACE.into()));

    small.empty();
    eventually("the reserve is back", || std::fs::exists(format!("{}/reserve", small.data)).unwrap());
    assert_eq!(small.put("more", 10), Err(NO_SPACE.into()), "the alarm stands until it is disarmed");
    small.serves_again("more");
    assert!(small.alarms().is_empty() && small.status().errors.is_empty());
    assert!(small.page("/health").contains("200 OK"));
    small.node.stop();
}

/// Claim: a node that has filled its own disk refuses more before the disk does; what is deleted, compacted and defragmented
/// comes back to the file system without a stop, and behind the disarming it serves as before.
#[test]
fn a_disk_that_a_node_filled_itself_is_given_back() {
    let Some(small) = Small::start("room-own", 448, &["--min-free", "160M"]) else { return };
    let taken = (0..1_000).take_while(|n| small.put(&format!("k{n}"), MIB).is_ok()).count();
    assert!((50..300).contains(&taken), "{taken} MiB were taken");
    eventually("the alarm is raised", || small.alarms() == [(1, 1)]);
    // Till it is compacted what is deleted can be read: on a nearly full disk one deletes a part at a time.
    for from in (0..taken).step_by(10) {
        small.delete(from..taken.min(from + 10));
        small.compact();
    }
    small.defragment();
    eventually("the room is back", || small.free() > 300 * MIB as u64);
    small.serves_again("again");
    for n in 0..20 {
        small.put(&format!("again{n}"), MIB).unwrap();
    }
    assert_eq!(small.node.log_has("ERROR"), 0);
    small.node.stop();
}

/// Claim: with automatic compaction the room of what was overwritten comes back to the file system, without a stop and without
/// anybody asking for it.
#[test]
fn history_that_is_compacted_unasked_gives_its_room_back() {
    let large = Small::start_large("room-auto", &["--auto-compaction", "1s"]);
    for round in 0..3 {
        for n in 0..60 {
            large.put(&format!("k{n}"), MIB + round).unwrap();
        }
    }
    for n in 0..60 {
        large.put(&format!("k{n}"), 10).unwrap();
    }
    let most = large.bytes();
    // The journal and the reserve stay: 64 MiB and 64.
    eventually("the room is back", || large.bytes() < 140 * MIB as u64);
    assert!(most > 240 * MIB as u64, "it had grown to {most} bytes");
    large.node.stop();
}
