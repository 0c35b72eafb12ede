//! The room on the disk of a data directory: when it is short, and what is kept for then.
//!
//! Taking things away needs room too: the log that says so, a checkpoint, tables while they are merged. So a node says that
//! its disk is nearly full while there is still some, and beside that keeps a file, `reserve`, that is worth nothing but the
//! room it takes: it goes where others have eaten what was left, and comes back when there is enough again. The journal's next
//! segment is made in advance too, so that a full disk does not stop it at once.
//!
//! What is left out: a state or a journal that lies on another disk than the directory.

use crate::inbox::Inbox;
use quorate_node::lane::Event;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

const RESERVE: &str = "reserve";
/// How often the disk is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const MIB: u64 = 1 << 20;

/// The bounds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// Less than this is short.
    low: u64,
    /// What the reserve takes.
    reserve: u64,
}

impl Bounds {
    /// A tenth of the disk, within limits that fit small and large ones, unless it is set.
    fn of(low: Option<u64>, size: u64) -> Self {
        let low = low.unwrap_or_else(|| (size / 10).clamp(64 * MIB, 2048 * MIB));
        Self { low, reserve: (low / 4).min(64 * MIB) }
    }
}

/// What is to be done about the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserve {
    Stay,
    Release,
    Make,
}

/// Whether so many free bytes are short, and what becomes of the reserve. What was short is so until there is an eighth more,
/// so that no trickle makes it go back and forth.
fn judge(bounds: Bounds, free: u64, was_short: bool, reserved: bool) -> (bool, Reserve) {
    let Bounds { low, reserve } = bounds;
    let enough = low + low / 8;
    let short = free < if was_short { enough } else { low };
    let reserve = match reserved {
        true if free < reserve => Reserve::Release,
        false if free >= enough + reserve => Reserve::Make,
        _ => Reserve::Stay,
    };
    (short, reserve)
}

/// The room of one data directory.
pub(crate) struct Room {
    path: PathBuf,
    bounds: Bounds,
    short: bool,
    reserved: bool,
}

impl Room {
    /// Looks at the disk that `data` lies on. Where it is full the reserve goes now: a start writes, too.
    pub(crate) fn open(data: &Path, low: Option<u64>) -> Self {
        let size = fs_room(data).map_or(0, |(_, size)| size);
        let reserved = data.join(RESERVE).exists();
        let bounds = Bounds::of(low, size);
        let mut room = Self { path: data.to_path_buf(), bounds, short: false, reserved };
        room.look();
        room
    }

    /// Looks, and sees to the reserve; what has changed since the last time.
    fn look(&mut self) -> Option<bool> {
        let (free, _) = fs_room(&self.path)?;
        let (short, reserve) = judge(self.bounds, free, self.short, self.reserved);
        let file = self.path.join(RESERVE);
        match reserve {
            Reserve::Stay => {}
            Reserve::Release => {
                self.reserved = fs::remove_file(&file).is_err();
                tracing::warn!(free, "the disk is full: what was kept in reserve is given to deletions");
            }
            Reserve::Make => {
                self.reserved = make(&file, self.bounds.reserve).is_ok();
                if !self.reserved {
                    let _ = fs::remove_file(&file);
                }
            }
        }
        let changed = short != self.short;
        self.short = short;
        changed.then_some(short)
    }
}

/// What may be written for a while without making the disk short.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    dir: PathBuf,
    low: Option<u64>,
}

impl Spare {
    /// Of the disk that this directory lies on, with the bound that is set for it.
    pub(crate) fn new(dir: &Path, low: Option<u64>) -> Self {
        Self { dir: dir.to_path_buf(), low }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is room for so many bytes.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        fs_room(&self.dir).is_none_or(|(free, size)| {
            let bounds = Bounds::of(self.low, size);
            !judge(bounds, free.saturating_sub(bytes), true, true).0
        })
    }
}

/// Bytes that this user may still write, and bytes in all.
fn fs_room(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

fn make(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file = File::create(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    file.sync_all()
}

/// Watches the room on a thread of its own, which ends when what comes back is dropped.
pub(crate) fn watch(mut room: Room, inbox: Arc<Inbox>) -> std::io::Result<Sender<()>> {
    let (stop, stopped): (Sender<()>, Receiver<()>) = channel();
    std::thread::Builder::new().name("room".into()).spawn(move || {
        if room.short {
            tell(&room, &inbox);
        }
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
            if room.look().is_some() {
                tell(&room, &inbox);
            }
        }
    })?;
    Ok(stop)
}

fn tell(room: &Room, inbox: &Inbox) {
    let (short, mib) = (room.short, room.bounds.low / MIB);
    if short {
        tracing::warn!(
            data = %room.path.display(),
            "the disk has less than {mib} MiB left: writes that need room are refused by an alarm; make room (delete, \
             compact, defragment), then disarm it"
        );
    } else {
        tracing::info!(data = %room.path.display(), "the disk has room again; the alarm stands until it is disarmed");
    }
    inbox.push(Event::Room { short });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_disks_have_bounds_that_fit() {
        assert_eq!(Bounds::of(None, 0), Bounds { low: 64 * MIB, reserve: 16 * MIB });
        assert_eq!(Bounds::of(None, 4 << 30), Bounds { low: (4 << 30) / 10, reserve: 64 * MIB });
        assert_eq!(Bounds::of(None, 1 << 50).low, 2048 * MIB);
        assert_eq!(Bounds::of(Some(8 * MIB), 1 << 50), Bounds { low: 8 * MIB, reserve: 2 * MIB });
    }

    #[test]
    fn the_reserve_goes_when_nothing_is_left_and_comes_back_with_room() {
        let bounds = Bounds { low: 800, reserve: 200 };
        assert_eq!(judge(bounds, 2000, false, false), (false, Reserve::Make));
        assert_eq!(judge(bounds, 800, false, true), (false, Reserve::Stay));
        assert_eq!(judge(bounds, 799, false, true), (true, Reserve::Stay));
        assert_eq!(judge(bounds, 199, true, true), (true, Reserve::Release));
        // What it gave is not enough to call it room.
        assert_eq!(judge(bounds, 399, true, false), (true, Reserve::Stay));
        assert_eq!(judge(bounds, 899, true, false), (true, Reserve::Stay));
        assert_eq!(judge(bounds, 900, true, false), (false, Reserve::Stay));
        assert_eq!(judge(bounds, 1100, false, false), (false, Reserve::Make));
        // And making it again leaves enough.
        assert_eq!(judge(bounds, 900, false, true), (false, Reserve::Stay));
    }

    #[test]
    fn the_file_takes_its_room_and_gives_it_back() {
        let dir = std::env::temp_dir().join(format!("quorate-room-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut room = Room::open(&dir, Some(4 * MIB));
        assert_eq!(fs::metadata(dir.join(RESERVE)).unwrap().len(), MIB);
        // As if nothing were left.
        room.bounds = Bounds { low: u64::MAX / 2, reserve: u64::MAX / 4 };
        assert_eq!(room.look(), Some(true));
        assert!(!dir.join(RESERVE).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
