//! How much memory this process may have: what the machine has, and no more than its control group, or one around that, allows.

use std::path::{Path, PathBuf};

/// Bytes; `None` where the system does not tell.
pub(crate) fn allowed() -> Option<u64> {
    allowed_below(Path::new("/"))
}

fn allowed_below(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits_of(root, line));
    limits.chain(machine).min()
}

/// The limits of the group that a line of `/proc/self/cgroup` names, and of those around it: version 2 (`0::/path`), or version 1
/// (`N:memory:/path`). A container may see its own group as the root.
fn limits_of(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        some if some.split(',').any(|one| one == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let mut group = PathBuf::from(path.trim_start_matches('/'));
    let mut out = Vec::new();
    loop {
        let limit = std::fs::read_to_string(root.join(mount).join(&group).join(file));
        // "max" is no limit; nor is the number that version 1 has for it, which no machine reaches.
        out.extend(limit.ok().and_then(|text| text.trim().parse::<u64>().ok()));
        if !group.pop() {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_limit_around_counts() {
        let root = std::env::temp_dir().join(format!("quorate-memory-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(allowed_below(&root), None);
        write("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        assert_eq!(allowed_below(&root), Some(16 << 20));
        write("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(allowed_below(&root), Some(16 << 20));
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        write("sys/fs/cgroup/a/memory.max", "4096\n");
        assert_eq!(allowed_below(&root), Some(4096));
        write("proc/self/cgroup", "9:cpu:/a\n5:hugetlb,memory:/c\nno line\n");
        assert_eq!(allowed_below(&root), Some(16 << 20));
        write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "8192\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(allowed_below(&root), Some(8192));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
