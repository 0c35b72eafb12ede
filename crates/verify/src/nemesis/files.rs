//! What happens to the files of a node that does not run: an old copy comes back, bits flip.

use super::{Effect, Stage};
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node may take to be whole again; other faults may be at work meanwhile.
const WHOLE: Duration = Duration::from_secs(90);
/// Files smaller than this are markers, whose damage is another story: a node refuses to start with it, and says so.
const FILE_MIN: u64 = 4096;
/// So many bytes on either side of a flipped bit tell whether it is still there.
const AROUND: u64 = 32;

/// A node is stopped, its directory is copied, it runs on, is stopped again, and the old copy comes back.
pub(super) async fn stale_disk(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    // Nobody else may be behind: what is going to be forgotten here must stand at all others.
    for at in 0..stage.cluster.len() {
        stage.whole(at).await?;
    }
    let (claim, what) = stage.claim().await;
    let victim = claim.at;
    stage.mend_unread(victim);
    let data = stage.cluster.places[victim].data.clone();
    let old = data.with_extension("old");
    stage.note("copy-disk", &what);
    stage.cluster.kill(victim).await?;
    copy(&data, &old).map_err(said(&old))?;
    stage.cluster.start(victim)?;
    let before = stage.revision(victim).await?;
    stage.hold(1500, 5000).await;
    // What it has confirmed since is what it is going to forget.
    let after = stage.revision(victim).await?;
    stage.note("stale-disk", &what);
    stage.cluster.kill(victim).await?;
    fs::remove_dir_all(&data).and_then(|()| fs::rename(&old, &data)).map_err(said(&data))?;
    stage.cluster.start(victim)?;
    stage.whole(victim).await?;
    stage.note("fresh-disk", &what);
    let forgotten = after.saturating_sub(before).max(0) as u64;
    Ok((what, Effect::new(forgotten, format!("{forgotten} revisions forgotten"))))
}

/// A node is stopped, some bits in one of its files flip, and it is started again.
pub(super) async fn corrupt(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (claim, node) = stage.claim().await;
    let victim = claim.at;
    stage.mend_unread(victim);
    stage.note("corrupt", &node);
    stage.cluster.kill(victim).await?;
    let place = stage.cluster.places[victim].clone();
    let mut files = Vec::new();
    collect(&place.data, &mut files).map_err(said(&place.data))?;
    files.sort();
    if files.is_empty() {
        stage.cluster.start(victim)?;
        return Ok((node, Effect::new(0, "it has no file to speak of")));
    }
    let file = stage.rng.pick(&files).clone();
    let bits = stage.rng.between(1, 8);
    let mut flipped = 0;
    stage.cluster.harm(victim);
    for _ in 0..bits {
        let size = fs::metadata(&file).map_err(said(&file))?.len();
        let bit = stage.rng.below(size * 8);
        let around = Around::flip(&file, bit).map_err(said(&file))?;
        flipped += u64::from(around.is_some());
        stage.turns.flips.borrow_mut().extend(around.map(|around| (victim, around)));
    }
    let logged = fs::metadata(&place.log).map_or(0, |meta| meta.len());
    stage.cluster.start(victim)?;
    stage.whole(victim).await?;
    stage.note("healed", &node);
    let told = fs::read(&place.log).is_ok_and(|log| {
        let new = String::from_utf8_lossy(&log[(logged as usize).min(log.len())..]).to_lowercase();
        ["damage", "checksum", "corrupt", "set aside"].iter().any(|word| new.contains(word))
    });
    let name = file.strip_prefix(&place.data).unwrap_or(&file).display().to_string();
    let words = if told { "the node told of it" } else { "the node told of nothing: an unread place" };
    Ok((
        format!("{node}, {bits} bits of {name}"),
        Effect::new(flipped, format!("{flipped} bits flipped; {words}")),
    ))
}

impl Stage<'_> {
    /// A node is about to lose what it holds. Where bits have flipped at others and nobody has read them, they are flipped back: what
    /// one node lacks must stand whole at all others, or it is lost, whatever the system does.
    pub(super) fn mend_unread(&self, victim: usize) {
        let (kept, others): (Vec<_>, Vec<_>) =
            self.turns.flips.take().into_iter().partition(|(node, _)| *node == victim);
        // The last one first: what stands around one of them may have another in it.
        for (_, around) in others.iter().rev() {
            // The file may be gone, or another by now.
            let _ = around.mend();
        }
        self.turns.flips.replace(kept);
    }

    async fn revision(&self, at: usize) -> Result<i64, String> {
        self.whole(at).await?;
        Ok(crate::target::status(&self.cluster.places[at].direct()).await?.revision)
    }

    /// Waits until a node serves again; one that stops in order to be started again is.
    pub(super) async fn whole(&self, at: usize) -> Result<(), String> {
        let end = Instant::now() + WHOLE;
        loop {
            let Err(why) = self.cluster.serves(at).await else { return Ok(()) };
            self.cluster.revive(at)?;
            if Instant::now() > end {
                let tail = self.cluster.tail(at);
                return Err(format!(
                    "node {} does not serve within {} s: {why}{tail}",
                    at + 1,
                    WHOLE.as_secs()
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn said(path: &Path) -> impl Fn(io::Error) -> String + use<> {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Every file that holds more than a marker.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            collect(&entry.path(), files)?;
        } else if meta.is_file() && meta.len() >= FILE_MIN && entry.file_name() != "reserve" {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// A flipped bit, and what stood around it then: by this it is known again.
pub(super) struct Around {
    file: PathBuf,
    inode: u64,
    from: u64,
    bytes: Vec<u8>,
    bit: u64,
}

impl Around {
    /// Flips a bit; nothing if it is seen not to be another one now.
    fn flip(path: &Path, bit: u64) -> io::Result<Option<Self>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        let (meta, (mut byte, mut now)) = (file.metadata()?, ([0], [0]));
        file.read_exact_at(&mut byte, bit / 8)?;
        file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], bit / 8)?;
        file.read_exact_at(&mut now, bit / 8)?;
        if now == byte {
            return Ok(None);
        }
        let from = (bit / 8).saturating_sub(AROUND);
        let mut bytes = vec![0; (meta.len() - from).min(2 * AROUND) as usize];
        file.read_exact_at(&mut bytes, from)?;
        Ok(Some(Self { file: path.into(), inode: meta.ino(), from, bytes, bit }))
    }

    /// Flips it back, where it still stands as it was left; whether it did.
    fn mend(&self) -> io::Result<bool> {
        let file = fs::OpenOptions::new().read(true).write(true).open(&self.file)?;
        let mut bytes = vec![0; self.bytes.len()];
        file.read_exact_at(&mut bytes, self.from)?;
        if file.metadata()?.ino() != self.inode || bytes != self.bytes {
            return Ok(false);
        }
        let flipped = self.bytes[(self.bit / 8 - self.from) as usize];
        file.write_all_at(&[flipped ^ (1 << (self.bit % 8))], self.bit / 8)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_a_flip_is_one_bit() {
        let home = std::env::temp_dir().join(format!("quorate-files-{}", std::process::id()));
        fs::create_dir_all(home.join("a/deep")).unwrap();
        fs::write(home.join("a/deep/big"), vec![7; FILE_MIN as usize]).unwrap();
        fs::write(home.join("a/small"), "x").unwrap();
        copy(&home.join("a"), &home.join("b")).unwrap();
        assert_eq!(fs::read(home.join("b/small")).unwrap(), b"x");
        let mut files = Vec::new();
        collect(&home.join("b"), &mut files).unwrap();
        assert_eq!(files, [home.join("b/deep/big")]);
        let flips =
            [8 * 100 + 3, 8 * 120, 8 * 4095].map(|bit| Around::flip(&files[0], bit).unwrap().unwrap());
        let bytes = fs::read(&files[0]).unwrap();
        assert_eq!((bytes[99], bytes[100], bytes[101]), (7, 15, 7));
        // In the order in which they were made they are not found again: one stands in what was around another.
        assert!(!flips[0].mend().unwrap());
        assert!(flips.iter().rev().all(|flip| flip.mend().unwrap()));
        assert_eq!(fs::read(&files[0]).unwrap(), vec![7; FILE_MIN as usize]);
        // Another file of that name is left alone.
        let flip = Around::flip(&files[0], 9).unwrap().unwrap();
        fs::copy(&files[0], home.join("c")).unwrap();
        fs::rename(home.join("c"), &files[0]).unwrap();
        assert!(!flip.mend().unwrap());
        fs::remove_dir_all(&home).unwrap();
    }
}
