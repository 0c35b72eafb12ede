//! The MANIFEST of a checkpoint: which files it is made of, and what they hold.
//!
//! A store's own list of its files may carry no checksum; this one does, and it is believed instead. It is written to a
//! temporary name, synced, renamed, and its directory synced: it is there whole or not at all.

use crate::journal::Identity;
use bytes::{Buf, BufMut, Bytes};
use quorate_base::NodeId;
use quorate_base::disk::{Disk, DiskError, DiskErrorKind};
use std::fmt;

const MAGIC: [u8; 8] = *b"QRTmanif";
const VERSION: u16 = 1;
/// The name of the file in a checkpoint's directory.
pub const NAME: &str = "MANIFEST";
/// No checkpoint has more files.
const FILES_MAX: usize = 1 << 20;

/// One file of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// Its path below the checkpoint's directory.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// CRC32C of all of it, where it is small enough to be read at every start.
    pub crc: Option<u32>,
}

/// A checkpoint's list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Whose state it is.
    pub identity: Identity,
    /// Its number.
    pub generation: u64,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// Why a manifest is not believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestError {
    /// The disk refused.
    Disk(DiskError),
    /// The checksum or the form does not hold.
    Damaged(String),
    /// It is of a newer release.
    Newer(u16),
    /// It is another node's.
    Foreign(Identity),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Damaged(path) => write!(f, "{path} is damaged"),
            Self::Newer(version) => {
                write!(f, "the checkpoint has format version {version}, newer than this release")
            }
            Self::Foreign(found) => {
                write!(f, "the checkpoint belongs to node {} of cluster {:016x}", found.node, found.cluster)
            }
        }
    }
}

impl std::error::Error for ManifestError {}

impl From<DiskError> for ManifestError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl Manifest {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION);
        out.put_u64_le(self.identity.cluster);
        out.put_u64_le(self.identity.node.0);
        out.put_u64_le(self.generation);
        out.put_u32_le(self.files.len() as u32);
        for file in &self.files {
            out.put_u16_le(file.name.len() as u16);
            out.put_slice(file.name.as_bytes());
            out.put_u64_le(file.size);
            out.put_u8(u8::from(file.crc.is_some()));
            out.put_u32_le(file.crc.unwrap_or(0));
        }
        out.put_u32_le(crc32c::crc32c(&out));
        out
    }

    /// The inverse; `path` is for the error's text.
    pub fn decode(bytes: &[u8], path: &str) -> Result<Self, ManifestError> {
        let damaged = || ManifestError::Damaged(path.to_string());
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*crc) != crc32c::crc32c(body) || !body.starts_with(&MAGIC) {
            return Err(damaged());
        }
        let mut rest = Bytes::copy_from_slice(&body[MAGIC.len()..]);
        let version = rest.try_get_u16_le().map_err(|_| damaged())?;
        if version != VERSION {
            return Err(ManifestError::Newer(version));
        }
        read_body(&mut rest).filter(|_| rest.is_empty()).ok_or_else(damaged)
    }

    /// Writes it into `dir`, durably.
    pub fn write(&self, disk: &dyn Disk, dir: &str) -> Result<(), ManifestError> {
        let bytes = self.encode();
        let (temporary, path) = (format!("{dir}/{NAME}.tmp"), format!("{dir}/{NAME}"));
        match disk.remove(&temporary) {
            Ok(()) => {}
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let mut file = disk.create(&temporary, bytes.len() as u64)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(&temporary, &path)?;
        disk.sync_dir(dir)?;
        Ok(())
    }

    /// Reads and verifies the one in `dir`.
    pub fn read(disk: &dyn Disk, dir: &str, identity: Identity) -> Result<Self, ManifestError> {
        let path = format!("{dir}/{NAME}");
        let file = disk.open(&path)?;
        let size = file.size()?;
        if size > 64 << 20 {
            return Err(ManifestError::Damaged(path));
        }
        let mut bytes = vec![0; size as usize];
        file.read_at(0, &mut bytes)?;
        let manifest = Self::decode(&bytes, &path)?;
        if manifest.identity != identity {
            return Err(ManifestError::Foreign(manifest.identity));
        }
        Ok(manifest)
    }
}

fn read_body(rest: &mut Bytes) -> Option<Manifest> {
    let cluster = rest.try_get_u64_le().ok()?;
    let node = NodeId(rest.try_get_u64_le().ok()?);
    let generation = rest.try_get_u64_le().ok()?;
    let count = rest.try_get_u32_le().ok()? as usize;
    if count > FILES_MAX {
        return None;
    }
    let mut files = Vec::new();
    for _ in 0..count {
        let len = usize::from(rest.try_get_u16_le().ok()?);
        if len > rest.len() {
            return None;
        }
        let name = String::from_utf8(rest.split_to(len).to_vec()).ok()?;
        let size = rest.try_get_u64_le().ok()?;
        let has_crc = rest.try_get_u8().ok()? == 1;
        let crc = rest.try_get_u32_le().ok()?;
        files.push(FileEntry { name, size, crc: has_crc.then_some(crc) });
    }
    Some(Manifest { identity: Identity { cluster, node }, generation, files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;
    use quorate_faulty::FaultyDisk;

    #[test]
    fn every_flipped_bit_is_seen() {
        let manifest = Manifest {
            identity: Identity { cluster: 7, node: NodeId(2) },
            generation: 9,
            files: vec![
                FileEntry { name: "tables/4".into(), size: 1000, crc: None },
                FileEntry { name: "v4".into(), size: 10, crc: Some(77) },
            ],
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes, "m"), Ok(manifest));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bad, "m").is_err(), "bit {bit}");
        }
    }

    /// Claim: a manifest that was written is there after the power went, whenever it goes before that there is the one before it, and
    /// never half of one. Another node's is refused.
    #[test]
    fn a_manifest_is_there_whole_or_not_at_all() {
        let identity = Identity { cluster: 7, node: NodeId(2) };
        let of = |generation| Manifest {
            identity,
            generation,
            files: vec![FileEntry { name: "tables/4".into(), size: 1000, crc: None }; 40],
        };
        let whole = FaultyDisk::new(0);
        whole.create_dir("d").unwrap();
        of(1).write(&whole, "d").unwrap();
        let before = whole.operations();
        of(2).write(&whole, "d").unwrap();
        let other = Identity { node: NodeId(3), ..identity };
        assert_eq!(Manifest::read(&whole, "d", other), Err(ManifestError::Foreign(identity)));
        for k in before..=whole.operations() {
            for seed in 0..8 {
                let disk = FaultyDisk::new(seed);
                disk.create_dir("d").unwrap();
                of(1).write(&disk, "d").unwrap();
                disk.freeze_at(k);
                let done = of(2).write(&disk, "d").is_ok();
                disk.heal();
                disk.power_loss();
                let found = Manifest::read(&disk, "d", identity).map(|manifest| manifest.generation);
                assert!(found == Ok(2) || !done && found == Ok(1), "frozen at {k}, seed {seed}: {found:?}");
                // What was left of it is in nobody's way.
                of(3).write(&disk, "d").unwrap();
            }
        }
    }

    /// Seed 7: checksums that hold over nonsense are an error or a manifest, and one that is read is written the same.
    #[test]
    fn no_bytes_are_a_panic() {
        let mut rng = Rng::new(7);
        let (mut read, mut refused) = (0, 0);
        for round in 0..20_000 {
            let files = (0..rng.below(4)).map(|n| FileEntry {
                name: format!("tables/{n}"),
                size: rng.next_u64(),
                crc: rng.chance(1, 2).then(|| rng.next_u64() as u32),
            });
            let files = files.collect();
            let identity = Identity { cluster: rng.next_u64(), node: NodeId(rng.next_u64()) };
            let mut bytes = Manifest { identity, generation: rng.next_u64(), files }.encode();
            bytes.truncate(bytes.len() - 4);
            let at = rng.between(MAGIC.len() as u64, bytes.len() as u64 - 1) as usize;
            match rng.below(4) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << rng.below(8),
                2 => {
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].fill(0xff);
                }
                _ => bytes.extend((0..rng.below(9)).map(|_| rng.next_u64() as u8)),
            }
            bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
            match Manifest::decode(&bytes, "m") {
                Ok(manifest) => {
                    assert_eq!(
                        Manifest::decode(&manifest.encode(), "m"),
                        Ok(manifest),
                        "seed 7, round {round}"
                    );
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
    }
}
