//! Whether etcd went on with a directory that was taken over: what it wrote then is not in this program's data.
//!
//! What is written first, at each start of an etcd already, is its log. So the name of the newest file of that is kept, with the sum over
//! what is in it, in `from-etcd` beside `member`, from before the take-over counts; each start compares.

use crate::datadir::{FROM_ETCD, OF_ETCD, io};
use crate::error::{ServeError, ServeErrorKind};
use crate::sealed;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The newest file of a log.
#[derive(PartialEq, Eq, Debug)]
struct Newest {
    file: String,
    sum: u32,
}

impl Newest {
    /// `None` where there is no log.
    fn of(data: &Path) -> Result<Option<Self>, ServeError> {
        let dir = data.join(OF_ETCD).join("wal");
        let Ok(files) = fs::read_dir(&dir) else { return Ok(None) };
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let Some(file) = names.filter(|name| name.strip_suffix(".wal").is_some()).max() else {
            return Ok(None);
        };
        let path = dir.join(&file);
        let sum = sum(&path).map_err(|e| io(&path, "read", &e))?;
        Ok(Some(Self { file, sum }))
    }

    fn decode(text: &str) -> Option<Self> {
        let sum = u32::from_str_radix(sealed::field(text, "sum")?, 16).ok()?;
        Some(Self { file: sealed::field(text, "file")?.to_string(), sum })
    }
}

fn sum(path: &Path) -> std::io::Result<u32> {
    let (mut file, mut buffer, mut sum) = (File::open(path)?, vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum),
            some => sum = crc32c::crc32c_append(sum, &buffer[..some]),
        }
    }
}

/// Keeps how etcd's log ends. Durable before it returns.
pub(super) fn keep(data: &Path) -> Result<(), ServeError> {
    let Some(Newest { file, sum }) = Newest::of(data)? else { return Ok(()) };
    let text = format!(
        "# How the log of etcd ended when it was taken over, so that a start can tell whether an etcd has written to it since.\n\
         file = {file}\nsum = {sum:08x}\n"
    );
    sealed::store(data, FROM_ETCD, &text)
}

/// Refuses a directory on which an etcd has run since it was taken over.
pub(crate) fn must_be_as_taken(data: &Path) -> Result<(), ServeError> {
    let member = data.join(OF_ETCD);
    let ways = format!(
        "to go on with what this node has, move {} away, out of this directory: what etcd wrote is not in it. To go on with what etcd \
         has, move that into a directory of its own and start `quorate etcd` there, which takes it over anew; nothing was changed",
        member.display()
    );
    let refuse = |kind, what: &str| Err(ServeError::new(kind, format!("{}: {what}", data.display()), &ways));
    let kept = match sealed::load(data, FROM_ETCD) {
        Ok(None) => return Ok(()),
        Ok(Some(text)) => Newest::decode(&text),
        Err(error) if error.kind == ServeErrorKind::Damaged => None,
        Err(error) => return Err(error),
    };
    let Some(newest) = Newest::of(data)? else { return Ok(()) };
    match kept {
        Some(kept) if kept == newest => Ok(()),
        Some(_) => refuse(ServeErrorKind::DataDir, "an etcd has run on it since it was taken over from etcd"),
        None => refuse(
            ServeErrorKind::Damaged,
            "its file `from-etcd` is damaged: whether an etcd has run on it since it was taken over cannot be told",
        ),
    }
}

/// Whether the note of it does not verify.
pub(crate) fn is_damaged(data: &Path) -> bool {
    sealed::is_damaged(data, FROM_ETCD, Newest::decode)
}

/// Whether all of what etcd has there was taken over.
pub(super) fn is_taken(data: &Path) -> bool {
    data.join(FROM_ETCD).exists() && !crate::backup::taking_over(data)
}
