//! Shared memory that outlives its users: a PostgreSQL server that is killed leaves a segment to whoever starts it again, and of a
//! run nobody does.
//!
//! The server notes the segment in its data directory (the seventh line of `postmaster.pid`: key and number). One is removed only
//! where the kernel's table says that this server made it under this key, and that nobody uses it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the last of those that were killed may take to let go of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A segment, as the server noted it.
struct Segment {
    server: String,
    key: String,
    number: String,
}

/// Removes the segments of the servers below a run's data directory. Which were, and of which that could not be done, and why.
pub(crate) fn release(data: &Path) -> (Vec<String>, Vec<String>) {
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    for segment in noted(data) {
        let end = Instant::now() + PATIENCE;
        let mut users = segment.users();
        while users.is_some_and(|users| users > 0) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
            users = segment.users();
        }
        let what = format!("segment {} of shared memory", segment.number);
        match users {
            None => {}
            Some(0) => match remove(&segment.number) {
                Ok(()) => removed.push(what),
                Err(why) => left.push(format!("{what}: {why}")),
            },
            Some(users) => left.push(format!("{what}: {users} processes use it")),
        }
    }
    (removed, left)
}

fn noted(data: &Path) -> Vec<Segment> {
    let below = std::fs::read_dir(data).into_iter().flatten().flatten().map(|entry| entry.path());
    let all: Vec<PathBuf> = below.chain([data.to_owned()]).collect();
    all.iter()
        .filter_map(|folder| segment(&std::fs::read_to_string(folder.join("postmaster.pid")).ok()?))
        .collect()
}

fn segment(note: &str) -> Option<Segment> {
    let mut lines = note.lines();
    let server = lines.next()?.trim().to_owned();
    let mut words = lines.nth(5)?.split_ascii_whitespace().map(str::to_owned);
    Some(Segment { server, key: words.next()?, number: words.next()? })
}

impl Segment {
    /// How many use it; nothing where there is no such segment, or it is somebody else's.
    fn users(&self) -> Option<u64> {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").ok()?;
        self.users_in(&table)
    }

    fn users_in(&self, table: &str) -> Option<u64> {
        table.lines().find_map(|row| {
            let words: Vec<&str> = row.split_ascii_whitespace().collect();
            // key shmid perms size cpid lpid nattch …
            let [key, number, _, _, maker, _, users, ..] = words[..] else { return None };
            (key == self.key && number == self.number && maker == self.server).then(|| users.parse().ok())?
        })
    }
}

fn remove(number: &str) -> Result<(), String> {
    let done = Command::new("ipcrm").args(["-m", number]).output().map_err(|e| format!("ipcrm: {e}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: only the segment that this very server made is taken for it, and only where nobody uses it.
    #[test]
    fn a_segment_is_known_by_key_number_and_maker() {
        let note = "7491\n/tmp/d\n1764538632\n5433\n\n127.0.0.1\n 11012033    262204\nready   \n";
        let segment = segment(note).unwrap();
        let table = |key: &str, number: &str, maker: &str, users: &str| {
            format!(
                "       key      shmid perms size cpid lpid nattch uid\n  {key} {number} 600 56 {maker} 7498 {users} 65534\n"
            )
        };
        assert_eq!(segment.users_in(&table("11012033", "262204", "7491", "0")), Some(0));
        assert_eq!(segment.users_in(&table("11012033", "262204", "7491", "3")), Some(3));
        for (key, number, maker) in
            [("11012034", "262204", "7491"), ("11012033", "262205", "7491"), ("11012033", "262204", "7492")]
        {
            assert_eq!(segment.users_in(&table(key, number, maker, "0")), None);
        }
        assert!(super::segment("7491\n/tmp/d\n").is_none());
    }
}
