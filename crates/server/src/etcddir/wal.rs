//! etcd's log: the files `member/wal/SEQUENCE-INDEX.wal`, read and verified from the first to the last.
//!
//! ```text
//! file   := { frame record padding }            to 8 bytes each; the last file has zeros behind its last record
//! frame  := length(56 bits) padding(8 bits: 0x80 and how many bytes, or 0)      little-endian
//! record := kind(1) crc(2) data(3)               a protobuf message; the sum goes over the data of all records so far
//! ```
//!
//! Of entries with one index the last counts. What is left out of memory is the entries' data: where they stand is kept, of those that
//! are asked for.
//!
//! The last file may end with a record of which only a beginning was written, by a process or a power that ended: it was acknowledged to
//! nobody. It is told from damage by the zeros that stand from some sector on to the file's end, and by its own length, which must be
//! that of its frame. Whatever else does not verify is damage: etcd may be asked what it makes of it, here nothing is guessed.

use crate::error::ServeError;
use prost::Message;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// No record is longer: etcd writes none that comes near.
const RECORD_MAX: u64 = 256 << 20;
const SECTOR: u64 = 512;
const FRAME: u64 = 8;
/// A record says within so many bytes how long it is.
const HEAD: usize = 32;

const METADATA: i64 = 1;
const ENTRY: i64 = 2;
const STATE: i64 = 3;
const CRC: i64 = 4;
const SNAPSHOT: i64 = 5;

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(uint32, tag = "2")]
    crc: u32,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    cluster: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint64, tag = "1")]
    kind: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "3")]
    commit: u64,
}

/// An entry's kind in etcd's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A request; nothing where a leader began.
    Normal,
    /// A change of the members.
    Change,
}

/// An entry that stands somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) kind: Kind,
    /// The number of its file, and where its record begins there, and how long that is.
    file: usize,
    offset: u64,
    len: u64,
}

/// All that was read.
#[derive(Debug)]
pub(super) struct Wal {
    files: Vec<(PathBuf, File)>,
    /// The member's id, and its cluster's.
    pub(super) node: u64,
    pub(super) cluster: u64,
    /// What the log knows to be committed.
    pub(super) commit: u64,
    pub(super) term: u64,
    /// The first entry that is there, if one is.
    pub(super) first: Option<u64>,
    /// Those that are kept, in order.
    pub(super) entries: Vec<At>,
    /// The last one: index and term.
    pub(super) last: (u64, u64),
    /// Requests, and beginnings of leaders, of any index.
    pub(super) normal: u64,
    /// The last entry that writes a key of version 2, and the key.
    pub(super) two: Option<(u64, String)>,
    /// Where a record is not whole.
    pub(super) torn: Option<u64>,
}

/// Reads the log in `dir`; kept are the entries behind `after`, and changes of members of any index.
pub(super) fn read(dir: &Path, after: u64) -> Result<Wal, ServeError> {
    let files = files(dir)?;
    let mut reading = Reading {
        after,
        crc: 0,
        node: None,
        wal: Wal {
            files: Vec::new(),
            node: 0,
            cluster: 0,
            commit: 0,
            term: 0,
            first: None,
            entries: Vec::new(),
            last: (0, 0),
            normal: 0,
            two: None,
            torn: None,
        },
    };
    let count = files.len();
    for (n, path) in files.into_iter().enumerate() {
        let file = File::open(&path).map_err(|e| super::io("open", &path, &e))?;
        reading.file(n, &path, &file, n + 1 == count)?;
        reading.wal.files.push((path, file));
    }
    let Some(Metadata { node, cluster }) = reading.node else {
        return Err(super::damaged(dir, 0, "no file of the log says whose it is"));
    };
    let wal = Wal { node, cluster, ..reading.wal };
    if wal.commit > wal.last.0 {
        return Err(super::damaged(dir, 0, "it ends before what it says is committed"));
    }
    Ok(wal)
}

/// The files by their sequence, of which none may be missing in between.
fn files(dir: &Path) -> Result<Vec<PathBuf>, ServeError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| super::io("list", dir, &e))? {
        let path = entry.map_err(|e| super::io("list", dir, &e))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts = name.strip_suffix(".wal").and_then(|name| name.split_once('-'));
        let sequence = parts.and_then(|(sequence, _)| u64::from_str_radix(sequence, 16).ok());
        files.extend(sequence.map(|sequence| (sequence, path)));
    }
    files.sort();
    if files.windows(2).any(|pair| pair[0].0 + 1 != pair[1].0) {
        return Err(super::damaged(dir, 0, "a file in the middle of the log is missing"));
    }
    if files.is_empty() {
        return Err(super::damaged(dir, 0, "there is no file of the log"));
    }
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

struct Reading {
    after: u64,
    /// The sum over all data so far.
    crc: u32,
    node: Option<Metadata>,
    wal: Wal,
}

impl Reading {
    fn file(&mut self, number: usize, path: &Path, file: &File, last: bool) -> Result<(), ServeError> {
        let io = |e: std::io::Error| super::io("read", path, &e);
        let bad = |at, what| Err(super::damaged(path, at, what));
        let size = file.metadata().map_err(io)?.len();
        let mut input = BufReader::with_capacity(1 << 20, file);
        let mut at = 0;
        while at < size {
            let mut frame = [0; FRAME as usize];
            if size - at < FRAME {
                return bad(at, "a record's length is not whole");
            }
            input.read_exact(&mut frame).map_err(io)?;
            let frame = u64::from_le_bytes(frame);
            if frame == 0 {
                if last_byte(file, at + FRAME - 1, size).map_err(io)? > at + FRAME {
                    return bad(at, "something stands behind the log's end");
                }
                break;
            }
            let (len, whole) = lengths(frame);
            let Some(whole) = whole else { return bad(at, "a record's length makes no sense") };
            if at + FRAME + whole > size {
                return self.tear(path, file, last, (at, len, size));
            }
            let mut bytes = vec![0; whole as usize];
            input.read_exact(&mut bytes).map_err(io)?;
            let record = Record::decode(&bytes[..len as usize]).ok();
            let Some(record) = record.filter(|record| self.verifies(record)) else {
                return self.tear(path, file, last, (at, len, size));
            };
            if bytes[len as usize..].iter().any(|&byte| byte != 0) {
                return bad(at, "something stands between two records");
            }
            if let Some(what) = self.take(&record, (number, at + FRAME, len)) {
                return bad(at, what);
            }
            at += FRAME + whole;
        }
        Ok(())
    }

    /// Whether the sum holds; it goes on from it.
    fn verifies(&mut self, record: &Record) -> bool {
        if record.kind == CRC {
            // The first that is still there says from what it goes on.
            let holds = self.crc == 0 || self.crc == record.crc;
            self.crc = record.crc;
            return holds;
        }
        self.crc = crc32c::crc32c_append(self.crc, &record.data);
        self.crc == record.crc
    }

    /// The log ends with a record that is not whole, or is damaged there.
    fn tear(
        &mut self,
        path: &Path,
        file: &File,
        last: bool,
        (at, len, size): (u64, u64, u64),
    ) -> Result<(), ServeError> {
        let io = |e: std::io::Error| super::io("read", path, &e);
        // From the sector behind the last byte that is anything there are zeros, or the file ends.
        let end = (at + FRAME + len).min(size);
        let written = end.min(last_byte(file, at, size).map_err(io)?.next_multiple_of(SECTOR));
        let mut head = vec![0; written.saturating_sub(at + FRAME).min(HEAD as u64) as usize];
        file.read_exact_at(&mut head, at + FRAME).map_err(io)?;
        let torn = last && written < at + FRAME + len && is_of(&head, len);
        if !torn {
            return Err(super::damaged(path, at, "a record does not verify"));
        }
        self.wal.torn = Some(at);
        Ok(())
    }

    /// Why the record makes no sense, if it does not.
    fn take(&mut self, record: &Record, (file, offset, len): (usize, u64, u64)) -> Option<&'static str> {
        match record.kind {
            METADATA => match Metadata::decode(&record.data[..]) {
                Ok(metadata) if self.node.is_none_or(|known| known == metadata) => self.node = Some(metadata),
                _ => return Some("it is of another member than the record before it"),
            },
            ENTRY => {
                let Ok(entry) = Entry::decode(&record.data[..]) else { return Some("an entry is malformed") };
                let kind = match entry.kind {
                    0 => Kind::Normal,
                    1 => Kind::Change,
                    _ => return Some("an entry is of a kind that is not known here"),
                };
                let (index, term) = (entry.index, entry.term);
                if kind == Kind::Normal
                    && let Some(key) = super::two::key(&entry.data)
                {
                    self.wal.two = Some((index, key));
                }
                return self.entry(At { index, term, kind, file, offset, len });
            }
            STATE => match State::decode(&record.data[..]) {
                Ok(State { term, commit }) => (self.wal.term, self.wal.commit) = (term, commit),
                Err(_) => return Some("a state is malformed"),
            },
            CRC | SNAPSHOT => {}
            _ => return Some("a record is of a kind that is not known here"),
        }
        None
    }

    fn entry(&mut self, at: At) -> Option<&'static str> {
        let wal = &mut self.wal;
        if wal.first.is_some() && at.index > wal.last.0 + 1 || at.index == 0 {
            return Some("an entry is missing");
        }
        if at.index == wal.last.0 + 1 && at.term < wal.last.1 {
            return Some("an entry is of an earlier term than the one before");
        }
        let first = wal.first.get_or_insert(at.index);
        *first = (*first).min(at.index);
        while wal.entries.pop_if(|last| last.index >= at.index).is_some() {}
        wal.last = (at.index, at.term);
        wal.normal += u64::from(at.kind == Kind::Normal);
        if at.index > self.after || at.kind == Kind::Change {
            wal.entries.push(at);
        }
        None
    }
}

impl Wal {
    /// The data of an entry.
    pub(super) fn data(&self, at: &At) -> Result<Vec<u8>, ServeError> {
        let (path, mut file) = self.files.get(at.file).map(|(path, file)| (path, file)).ok_or_else(lost)?;
        let mut bytes = vec![0; at.len as usize];
        let read = file.seek(SeekFrom::Start(at.offset)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| super::io("read", path, &e))?;
        let entry = Record::decode(&bytes[..]).and_then(|record| Entry::decode(&record.data[..]));
        match entry {
            Ok(entry) if entry.index == at.index => Ok(entry.data),
            _ => Err(super::damaged(path, at.offset, "an entry is not the same twice")),
        }
    }
}

fn lost() -> ServeError {
    ServeError::damaged("a file of etcd's log is gone")
}

/// A record's length, and that with its padding if both make sense.
fn lengths(frame: u64) -> (u64, Option<u64>) {
    let (len, padded) = (frame & (u64::MAX >> 8), frame >> 56);
    let padding = len.next_multiple_of(8) - len;
    let expected = if padding == 0 { 0 } else { 0x80 | padding };
    (len, (padded == expected && (1..=RECORD_MAX).contains(&len)).then_some(len + padding))
}

/// Whether a record that begins so has this length. Where it ends before that is said, so far.
fn is_of(head: &[u8], len: u64) -> bool {
    let mut rest = head;
    for expected in [0x08, 0x10, 0x1a] {
        let Some((&tag, more)) = rest.split_first() else { return true };
        rest = more;
        let Some(number) = varint(&mut rest) else { return head.len() < HEAD };
        if tag != expected {
            return false;
        }
        if expected == 0x1a {
            return (head.len() - rest.len()) as u64 + number == len;
        }
    }
    true
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, more) = rest.split_first()?;
        *rest = more;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Behind the last byte that is not zero, from here to there; the first is none.
fn last_byte(file: &File, from: u64, to: u64) -> std::io::Result<u64> {
    let (mut buffer, mut at, mut last) = (vec![0; 1 << 20], from, from + 1);
    while at < to {
        let some = (to - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..some], at)?;
        if let Some(place) = buffer[..some].iter().rposition(|&byte| byte != 0) {
            last = at + place as u64 + 1;
        }
        at += some as u64;
    }
    Ok(last)
}
