//! The log that lets a power cut be played afterwards: what every call on a watched file changed, with what was there
//! before.
//!
//! ```text
//! record := length(u32, of the rest) kind(u8) body
//! ```
//!
//! All numbers are little-endian. A record is written before its call, so that a process killed between the two leaves
//! one record too many, which does no harm: undoing what was not done changes nothing. The end of a sync is written after
//! it. A torn record at the end of the log is none.

/// One change, or one half of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Bytes of file `ino` become `new`, or its length `new_len`.
    Write {
        /// The file.
        ino: u64,
        /// Where.
        offset: u64,
        /// Its length before.
        old_len: u64,
        /// The length it is given; `None` where it is only written.
        truncated: Option<u64>,
        /// What was there, as far as the file reached.
        old: Vec<u8>,
        /// What is there now.
        new: Vec<u8>,
    },
    /// Sync `call` of file or directory `ino` begins.
    SyncBegin {
        /// The file or directory.
        ino: u64,
        /// The number of the sync.
        call: u64,
    },
    /// Sync `call` came to a good end.
    SyncEnd {
        /// The number of the sync.
        call: u64,
    },
    /// A name in directory `dir` changed.
    Name {
        /// The directory.
        dir: u64,
        /// How.
        change: Change,
    },
}

/// A change of names. A grave is another name, outside, of the file that lost its last one here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file got this name.
    Made(String),
    /// This name was removed.
    Gone(String, String),
    /// A file was renamed; what had the name before lies in the grave, if anything had.
    Moved(String, String, String),
    /// A directory was made.
    DirMade(String),
    /// An empty directory was removed.
    DirGone(String),
}

impl Record {
    /// The record in bytes.
    #[allow(dead_code, reason = "the writer's half")]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Self::Write { ino, offset, old_len, truncated, old, new } => {
                out.push(1);
                let cut = truncated.map_or(u64::MAX, |len| len);
                numbers(&mut out, &[*ino, *offset, *old_len, cut]);
                put(&mut out, old);
                put(&mut out, new);
            }
            Self::SyncBegin { ino, call } => {
                out.push(2);
                numbers(&mut out, &[*ino, *call]);
            }
            Self::SyncEnd { call } => {
                out.push(3);
                numbers(&mut out, &[*call]);
            }
            Self::Name { dir, change } => {
                out.push(4);
                numbers(&mut out, &[*dir]);
                let (kind, paths): (u8, Vec<&String>) = match change {
                    Change::Made(path) => (1, vec![path]),
                    Change::Gone(path, grave) => (2, vec![path, grave]),
                    Change::Moved(from, to, grave) => (3, vec![from, to, grave]),
                    Change::DirMade(path) => (4, vec![path]),
                    Change::DirGone(path) => (5, vec![path]),
                };
                out.push(kind);
                for path in paths {
                    put(&mut out, path.as_bytes());
                }
            }
        }
        let len = out.len() as u32 - 4;
        out[..4].copy_from_slice(&len.to_le_bytes());
        out
    }

    /// All whole records of a log.
    #[allow(dead_code, reason = "the reader's half")]
    pub fn decode_all(mut log: &[u8]) -> Vec<Self> {
        let mut records = Vec::new();
        while let Some(len) = log.get(..4).map(|l| u32::from_le_bytes([l[0], l[1], l[2], l[3]]) as usize) {
            let Some(record) = log.get(4..4 + len).and_then(|body| Self::decode(&mut Cursor(body))) else {
                break;
            };
            records.push(record);
            log = &log[4 + len..];
        }
        records
    }

    #[allow(dead_code, reason = "the reader's half")]
    fn decode(c: &mut Cursor<'_>) -> Option<Self> {
        Some(match c.take(1)?[0] {
            1 => {
                let (ino, offset, old_len, cut) = (c.number()?, c.number()?, c.number()?, c.number()?);
                let (old, new) = (c.bytes()?, c.bytes()?);
                Self::Write { ino, offset, old_len, truncated: (cut != u64::MAX).then_some(cut), old, new }
            }
            2 => Self::SyncBegin { ino: c.number()?, call: c.number()? },
            3 => Self::SyncEnd { call: c.number()? },
            4 => {
                let dir = c.number()?;
                let change = match c.take(1)?[0] {
                    1 => Change::Made(c.text()?),
                    2 => Change::Gone(c.text()?, c.text()?),
                    3 => Change::Moved(c.text()?, c.text()?, c.text()?),
                    4 => Change::DirMade(c.text()?),
                    5 => Change::DirGone(c.text()?),
                    _ => return None,
                };
                Self::Name { dir, change }
            }
            _ => return None,
        })
    }
}

#[allow(dead_code, reason = "the writer's half")]
fn numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
}

#[allow(dead_code, reason = "the writer's half")]
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

#[allow(dead_code, reason = "the reader's half")]
struct Cursor<'a>(&'a [u8]);

#[allow(dead_code, reason = "the reader's half")]
impl Cursor<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(len as usize).map(<[u8]>::to_vec)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }
}
