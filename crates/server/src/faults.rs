//! Faults that a test orders from outside, in builds with the feature `faults` alone: never in a release.
//!
//! The environment's `QUORATE_FAULTS` names a Unix socket that the node makes. A line is an order, one line answers:
//!
//! ```text
//! clock jump MS         it is MS milliseconds later at once, as after the machine slept
//! clock rate PERMILLE   the clock runs at so many thousandths of its pace; 0 stands still, 1000 is true
//! wall MS               the wall clock shows MS milliseconds more than the system's; MS may be negative, 0 is true
//! disk hold MS          writes stay in memory until a sync, which takes MS milliseconds longer; `disk pass` ends it
//! disk fail             the next sync fails, and what it should have kept is lost
//! disk full             no write finds room, until `disk pass`
//! power-loss SEED       of the writes that are not synced each is lost, kept or torn by chance; then the disk is still: the
//!                       process is to be killed now
//! counts                what was done so far, and how many milliseconds the clock is ahead
//! ```
//!
//! With `disk hold`, `kill -9` costs what a power cut costs. It covers what goes through [`crate::disk`]: journal, votes,
//! checkpoints' records; not the tables, which their crate writes itself, and which a start can make anew from the journal.

use quorate_base::Rng;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The variable that names the socket.
const VARIABLE: &str = "QUORATE_FAULTS";

/// The pace of a true clock.
const TRUE: u64 = 1000;

/// A clock that may be wrong: what is shown at a true moment, and how fast it goes on from there.
#[derive(Debug)]
struct Skewed {
    real: u64,
    shown: u64,
    permille: u64,
}

#[derive(Debug, Default)]
struct Disk {
    hold: Option<Duration>,
    fail: bool,
    full: bool,
    /// Writes that no sync has seen, by file, in order.
    pending: BTreeMap<PathBuf, Vec<(u64, Vec<u8>)>>,
    counts: Counts,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    held: u64,
    failed: u64,
    full: u64,
    lost: u64,
    kept: u64,
    torn: u64,
}

/// So many milliseconds the wall clock shows more than the system's.
static AHEAD: AtomicI64 = AtomicI64::new(0);
static CLOCK: Mutex<Skewed> = Mutex::new(Skewed { real: 0, shown: 0, permille: TRUE });
static DISK: Mutex<Disk> = Mutex::new(Disk {
    hold: None,
    fail: false,
    full: false,
    pending: BTreeMap::new(),
    counts: Counts { held: 0, failed: 0, full: 0, lost: 0, kept: 0, torn: 0 },
});

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- the clock ----

impl Skewed {
    fn at(&self, real: u64) -> u64 {
        let passed =
            u128::from(real.saturating_sub(self.real)) * u128::from(self.permille) / u128::from(TRUE);
        self.shown.saturating_add(passed as u64)
    }

    /// From now on it goes otherwise.
    fn turn(&mut self, real: u64, ahead: u64, permille: u64) {
        self.shown = self.at(real).saturating_add(ahead);
        (self.real, self.permille) = (real, permille);
    }
}

/// What the clock shows after so many true nanoseconds.
pub(crate) fn shown(real: u64) -> u64 {
    lock(&CLOCK).at(real)
}

/// When the clock will show this, in true nanoseconds. A clock that stands still is looked at again soon.
pub(crate) fn real(shown: u64, now: u64) -> u64 {
    let clock = lock(&CLOCK);
    let missing = u128::from(shown.saturating_sub(clock.at(now)));
    let wait = match clock.permille {
        0 => 20_000_000,
        permille => (missing * u128::from(TRUE) / u128::from(permille)) as u64,
    };
    now.saturating_add(wait)
}

/// What the wall clock shows where the system's shows so many milliseconds.
pub(crate) fn wall(system: u64) -> u64 {
    system.saturating_add_signed(AHEAD.load(Ordering::Relaxed))
}

// ---- the disk ----

/// Takes a write over; false where it is to be done at once.
pub(crate) fn write(path: &Path, offset: u64, bytes: &[u8]) -> std::io::Result<bool> {
    let mut disk = lock(&DISK);
    if disk.full {
        disk.counts.full += 1;
        return Err(Error::from(ErrorKind::StorageFull));
    }
    if disk.hold.is_none() && !disk.pending.contains_key(path) {
        return Ok(false);
    }
    disk.counts.held += 1;
    disk.pending.entry(path.into()).or_default().push((offset, bytes.to_vec()));
    Ok(true)
}

/// Puts what is held over what was read.
pub(crate) fn read(path: &Path, offset: u64, buf: &mut [u8]) {
    let disk = lock(&DISK);
    for (at, bytes) in disk.pending.get(path).into_iter().flatten() {
        let (from, to) = ((*at).max(offset), (at + bytes.len() as u64).min(offset + buf.len() as u64));
        if from < to {
            let source = &bytes[(from - at) as usize..(to - at) as usize];
            buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
    }
}

/// How far a file reaches with what is held.
pub(crate) fn end(path: &Path) -> u64 {
    let disk = lock(&DISK);
    disk.pending.get(path).into_iter().flatten().map(|(at, bytes)| at + bytes.len() as u64).max().unwrap_or(0)
}

/// Before a sync: what is held goes into the file, late, or is lost where the sync is to fail.
pub(crate) fn sync(path: &Path, file: &std::fs::File) -> std::io::Result<()> {
    let wait = lock(&DISK).hold;
    if let Some(wait) = wait {
        std::thread::sleep(wait);
    }
    let mut disk = lock(&DISK);
    let pending = disk.pending.remove(path).unwrap_or_default();
    if std::mem::take(&mut disk.fail) {
        disk.counts.failed += 1;
        return Err(Error::other("a sync fails by order"));
    }
    // Held by the lock: a power cut comes before all of it or after.
    pending.iter().try_for_each(|(at, bytes)| file.write_all_at(bytes, *at))
}

/// A file has another name now; nothing for one that is gone.
pub(crate) fn renamed(from: &Path, to: Option<&Path>) {
    let mut disk = lock(&DISK);
    if let (Some(pending), Some(to)) = (disk.pending.remove(from), to) {
        disk.pending.insert(to.into(), pending);
    }
}

impl Disk {
    /// Of the writes that are held each is lost, kept, or torn.
    fn power_loss(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, "power-loss");
        for (path, pending) in std::mem::take(&mut self.pending) {
            let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) else { continue };
            for (at, bytes) in pending {
                let kept = match rng.below(3) {
                    0 => 0,
                    1 => bytes.len(),
                    _ => rng.below(bytes.len() as u64 + 1) as usize,
                };
                let count = match kept {
                    0 => &mut self.counts.lost,
                    kept if kept == bytes.len() => &mut self.counts.kept,
                    _ => &mut self.counts.torn,
                };
                *count += 1;
                let _ = file.write_all_at(&bytes[..kept], at);
            }
        }
    }
}

// ---- orders ----

/// Listens for orders, where the environment names a socket. `real` is the true time of the clock that is to be skewed.
pub(crate) fn listen(real: impl Fn() -> u64 + Send + 'static) -> std::io::Result<()> {
    let Some(path) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    tracing::warn!(socket = %Path::new(&path).display(), "faults can be ordered: this build is for tests");
    std::thread::Builder::new().name("faults".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(&stream, &real);
        }
    })?;
    Ok(())
}

fn serve(stream: &UnixStream, real: &impl Fn() -> u64) -> std::io::Result<()> {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["power-loss", seed] = words[..] {
            let mut disk = lock(&DISK);
            disk.power_loss(seed.parse().unwrap_or(0));
            writeln!(out, "{}", counts(&disk.counts))?;
            // With the lock in hand nothing reaches the disk any more.
            loop {
                std::thread::park();
            }
        }
        let answer = obey(&words, real).unwrap_or_else(|| format!("not understood: {line}"));
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn obey(words: &[&str], real: &impl Fn() -> u64) -> Option<String> {
    match *words {
        ["clock", "jump", ms] => {
            let ahead = ms.parse::<u64>().ok()?.checked_mul(1_000_000)?;
            let mut clock = lock(&CLOCK);
            let permille = clock.permille;
            clock.turn(real(), ahead, permille);
        }
        ["clock", "rate", permille] => {
            let permille = permille.parse::<u64>().ok().filter(|permille| *permille <= 100 * TRUE)?;
            lock(&CLOCK).turn(real(), 0, permille);
        }
        ["wall", ms] => AHEAD.store(ms.parse().ok()?, Ordering::Relaxed),
        ["disk", "hold", ms] => lock(&DISK).hold = Some(Duration::from_millis(ms.parse().ok()?)),
        ["disk", "fail"] => lock(&DISK).fail = true,
        ["disk", "full"] => lock(&DISK).full = true,
        ["disk", "pass"] => {
            let mut disk = lock(&DISK);
            (disk.hold, disk.full, disk.fail) = (None, false, false);
        }
        ["counts"] => {}
        _ => return None,
    }
    let ahead = shown(real()) as i64 - real() as i64;
    Some(format!("{} ahead={}", counts(&lock(&DISK).counts), ahead / 1_000_000))
}

fn counts(counts: &Counts) -> String {
    let Counts { held, failed, full, lost, kept, torn } = counts;
    format!("held={held} failed={failed} full={full} lost={lost} kept={kept} torn={torn}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_jumps_and_drifts_and_stands_and_never_goes_back() {
        let mut clock = Skewed { real: 0, shown: 0, permille: TRUE };
        assert_eq!(clock.at(10), 10);
        clock.turn(10, 100, TRUE);
        assert_eq!((clock.at(10), clock.at(11)), (110, 111));
        clock.turn(20, 0, 500);
        assert_eq!((clock.at(20), clock.at(24)), (120, 122));
        clock.turn(24, 0, 0);
        assert_eq!(clock.at(1000), 122);
        clock.turn(1000, 0, 2000);
        assert_eq!(clock.at(1001), 124);
    }

    #[test]
    fn what_is_held_is_read_and_counted_and_comes_with_a_sync_or_not_at_all() {
        let path = std::env::temp_dir().join(format!("quorate-faults-{}", std::process::id()));
        std::fs::write(&path, [0; 8]).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let order = |line: &str| obey(&line.split_whitespace().collect::<Vec<_>>(), &|| 0).unwrap();
        assert!(!write(&path, 0, b"a").unwrap(), "unasked every write goes through");
        order("disk hold 0");
        assert!(write(&path, 2, b"bcd").unwrap());
        let mut seen = [0; 4];
        read(&path, 1, &mut seen);
        assert_eq!((&seen, end(&path)), (b"\0bcd", 5));
        assert_eq!(std::fs::read(&path).unwrap(), [0; 8]);
        sync(&path, &file).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0bcd\0\0\0");
        write(&path, 0, b"x").unwrap();
        order("disk fail");
        assert!(sync(&path, &file).is_err());
        assert!(sync(&path, &file).is_ok());
        assert_eq!(std::fs::read(&path).unwrap()[0], 0, "a failed sync has lost it");
        for at in 0..60 {
            write(&path, at, b"yz").unwrap();
        }
        lock(&DISK).power_loss(1);
        let Counts { lost, kept, torn, .. } = lock(&DISK).counts;
        assert!(lost > 5 && kept > 5 && torn > 5 && lost + kept + torn == 60, "{lost} {kept} {torn}");
        order("disk full");
        assert_eq!(write(&path, 0, b"a").unwrap_err().kind(), ErrorKind::StorageFull);
        order("disk pass");
        assert!(!write(&path, 0, b"a").unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
