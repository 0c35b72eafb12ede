//! A bound on a process' memory, page cache included: a control group of its own, of either version of the kernel's interface.
//! That needs root, and a memory controller; where one is missing, the caller says so and looks at what it can.

use std::fs::OpenOptions;
use std::io::{self, Error, Write};
use std::path::{Path, PathBuf};

/// Where the memory controller may be: version 2, version 1.
const ROOTS: [(&str, &str); 2] =
    [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];

/// A group, which is gone with this value, once its processes are.
#[derive(Debug)]
pub struct MemoryLimit {
    group: PathBuf,
}

impl MemoryLimit {
    /// A group that holds at most so many bytes.
    pub fn new(name: &str, bytes: u64) -> io::Result<Self> {
        let mut why = Error::other("no memory controller");
        for (root, file) in ROOTS {
            let group = Path::new(root).join(format!("quorate-{}-{name}", std::process::id()));
            if let Err(error) = std::fs::create_dir(&group) {
                why = error;
                continue;
            }
            let limit = Self { group };
            // Where no controller is mounted the directory may be a plain one, which has no such file.
            let file = OpenOptions::new().write(true).open(limit.group.join(file));
            match file.and_then(|mut file| file.write_all(bytes.to_string().as_bytes())) {
                Ok(()) => return Ok(limit),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Puts a process into the group; what it holds already stays where it is.
    pub fn hold(&self, pid: u32) -> io::Result<()> {
        std::fs::write(self.group.join("cgroup.procs"), pid.to_string())
    }

    /// The most that the group has held, and how often it met its limit, as far as the kernel tells.
    pub fn most(&self) -> (Option<u64>, Option<u64>) {
        let number = |file: &str| std::fs::read_to_string(self.group.join(file)).ok()?.trim().parse().ok();
        let met = || {
            let events = std::fs::read_to_string(self.group.join("memory.events")).ok()?;
            events.lines().find_map(|line| line.strip_prefix("max "))?.parse().ok()
        };
        let most = number("memory.peak").or_else(|| number("memory.max_usage_in_bytes"));
        (most, met().or_else(|| number("memory.failcnt")))
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.group);
    }
}
