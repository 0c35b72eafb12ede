//! A library to preload into a node, so that `kill -9` can cost what a power cut costs.
//!
//! `kill -9` loses nothing that the kernel holds. With this library every change below `POWERCUT_ROOT` (bytes, lengths,
//! names) is written to `POWERCUT_LOG/changes` together with what was there before, and so is the end of each sync. When the
//! process is dead, `e2e-kill` undoes what no sync had covered, all of it or by chance a part, torn at any byte.
//!
//! It stands in for the functions of the C library by which Rust's standard library changes files, and calls the system
//! itself. Files changed through `mmap`, `sendfile` or `io_uring` would pass unseen; the product uses none of them.
//!
//! With `POWERCUT_DEAF=1` syncs are not believed: a check that the checks can fail.

mod record;

use libc::{c_char, c_int, c_long, c_uint, iovec, mode_t, off_t, size_t, ssize_t};
use record::{Change, Record};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What is watched, and the log.
struct Watch {
    root: String,
    graves: String,
    deaf: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    log: c_int,
    /// The files and directories below the root that were ever open; a grave keeps each number from being given again.
    known: HashSet<(u64, u64)>,
    next: u64,
}

static WATCH: OnceLock<Option<Watch>> = OnceLock::new();

fn watch() -> Option<&'static Watch> {
    WATCH.get_or_init(Watch::from_environment).as_ref()
}

impl Watch {
    fn from_environment() -> Option<Self> {
        let root = std::env::var("POWERCUT_ROOT").ok()?;
        let log = std::env::var("POWERCUT_LOG").ok()?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        let fd = sys_open(libc::AT_FDCWD, &c_path(&format!("{log}/changes")), flags, 0o600);
        assert!(fd >= 0, "powercut: {log}/changes cannot be written");
        Some(Self {
            root,
            graves: format!("{log}/graves"),
            deaf: std::env::var("POWERCUT_DEAF").is_ok(),
            inner: Mutex::new(Inner { log: fd, known: HashSet::new(), next: 0 }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path as an absolute one, if it lies below the root.
    fn below(&self, dir: c_int, path: *const c_char) -> Option<String> {
        // SAFETY: the caller of the function that is stood in for gave a string of C.
        let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
        let whole = if path.starts_with('/') {
            PathBuf::from(path)
        } else if dir == libc::AT_FDCWD {
            std::env::current_dir().ok()?.join(path)
        } else {
            std::fs::read_link(format!("/proc/self/fd/{dir}")).ok()?.join(path)
        };
        let whole = whole.to_str()?;
        let rest = whole.strip_prefix(&self.root)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| whole.to_string())
    }
}

impl Inner {
    fn note(&mut self, record: &Record) {
        let bytes = record.encode();
        // SAFETY: the buffer is ours and as long as said.
        let done = unsafe { libc::syscall(libc::SYS_write, self.log, bytes.as_ptr(), bytes.len()) };
        assert!(done == bytes.len() as c_long, "powercut: the log cannot be written");
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The file's number and length, if it is a watched one.
    fn watched(&self, fd: c_int) -> Option<(u64, u64)> {
        let stat = stat_fd(fd)?;
        let kind = stat.st_mode & libc::S_IFMT;
        (kind == libc::S_IFREG || kind == libc::S_IFDIR).then_some(())?;
        self.known.contains(&(stat.st_dev, stat.st_ino)).then_some((stat.st_ino, stat.st_size as u64))
    }

    fn note_write(&mut self, fd: c_int, offset: u64, new: Vec<u8>) {
        let Some((ino, old_len)) = self.watched(fd) else { return };
        let old = read_back(fd, offset, (new.len() as u64).min(old_len.saturating_sub(offset)));
        self.note(&Record::Write { ino, offset, old_len, truncated: None, old, new });
    }

    fn note_length(&mut self, fd: c_int, len: u64) {
        let Some((ino, old_len)) = self.watched(fd) else { return };
        let offset = len.min(old_len);
        let old = read_back(fd, offset, old_len - offset);
        self.note(&Record::Write { ino, offset, old_len, truncated: Some(len), old, new: Vec::new() });
    }

    fn note_name(&mut self, path: &str, change: Change) {
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        if let Some(stat) = stat_path(parent) {
            self.note(&Record::Name { dir: stat.st_ino, change });
        }
    }

    /// Gives what has this name another one, outside.
    fn bury(&mut self, graves: &str, path: &str) -> Option<String> {
        let grave = format!("{graves}/{}", self.number());
        let (from, to) = (c_path(path), c_path(&grave));
        // SAFETY: both are strings of C.
        let done = unsafe {
            libc::syscall(libc::SYS_linkat, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), 0)
        };
        (done == 0).then_some(grave)
    }
}

fn c_path(path: &str) -> CString {
    CString::new(path).unwrap_or_default()
}

fn stat_fd(fd: c_int) -> Option<libc::stat64> {
    let mut stat = std::mem::MaybeUninit::uninit();
    // SAFETY: it is filled where the call succeeds.
    unsafe { (libc::fstat64(fd, stat.as_mut_ptr()) == 0).then(|| stat.assume_init()) }
}

fn stat_path(path: &str) -> Option<libc::stat64> {
    let mut stat = std::mem::MaybeUninit::uninit();
    // SAFETY: it is filled where the call succeeds.
    unsafe { (libc::lstat64(c_path(path).as_ptr(), stat.as_mut_ptr()) == 0).then(|| stat.assume_init()) }
}

fn sys_open(dir: c_int, path: &CStr, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the path is a string of C.
    unsafe { libc::syscall(libc::SYS_openat, dir, path.as_ptr(), flags, mode) as c_int }
}

/// What the file holds there. Descriptors that only write are read through a second one.
fn read_back(fd: c_int, offset: u64, len: u64) -> Vec<u8> {
    let again = sys_open(
        libc::AT_FDCWD,
        &c_path(&format!("/proc/self/fd/{fd}")),
        libc::O_RDONLY | libc::O_CLOEXEC,
        0,
    );
    let mut bytes = vec![0; len as usize];
    let mut have = 0;
    while have < bytes.len() {
        let rest = &mut bytes[have..];
        // SAFETY: the buffer is ours and as long as said.
        let n = unsafe {
            libc::syscall(
                libc::SYS_pread64,
                again,
                rest.as_mut_ptr(),
                rest.len(),
                offset as i64 + have as i64,
            )
        };
        assert!(n > 0, "powercut: what a file held cannot be read");
        have += n as usize;
    }
    // SAFETY: it was opened above.
    unsafe { libc::syscall(libc::SYS_close, again) };
    bytes
}

/// Where the next `write` of this descriptor goes.
fn position(fd: c_int) -> u64 {
    // SAFETY: no memory is passed.
    let at = unsafe {
        if libc::fcntl(fd, libc::F_GETFL) & libc::O_APPEND != 0 {
            stat_fd(fd).map_or(0, |stat| stat.st_size)
        } else {
            libc::lseek64(fd, 0, libc::SEEK_CUR)
        }
    };
    at.max(0) as u64
}

unsafe fn copy_of(buf: *const libc::c_void, len: size_t) -> Vec<u8> {
    // SAFETY: the caller of the function that is stood in for vouches for the buffer.
    unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), len) }.to_vec()
}

unsafe fn gathered(iov: *const iovec, count: c_int) -> Vec<u8> {
    // SAFETY: as above, for each part.
    let parts = unsafe { std::slice::from_raw_parts(iov, count.max(0) as usize) };
    parts.iter().flat_map(|part| unsafe { copy_of(part.iov_base, part.iov_len) }).collect()
}

/// Notes a write, if the descriptor is watched, and does `call` before anybody else notes anything.
fn writing(fd: c_int, at: impl FnOnce() -> (u64, Vec<u8>), call: impl FnOnce() -> c_long) -> ssize_t {
    let Some(watch) = watch() else { return call() as ssize_t };
    let mut inner = watch.inner();
    if inner.watched(fd).is_none() {
        drop(inner);
        return call() as ssize_t;
    }
    let (offset, new) = at();
    inner.note_write(fd, offset, new);
    call() as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buf: *const libc::c_void, len: size_t) -> ssize_t {
    let at = || (position(fd), unsafe { copy_of(buf, len) });
    writing(fd, at, || unsafe { libc::syscall(libc::SYS_write, fd, buf, len) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    let at = || (position(fd), unsafe { gathered(iov, count) });
    writing(fd, at, || unsafe { libc::syscall(libc::SYS_writev, fd, iov, count) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, buf: *const libc::c_void, len: size_t, offset: i64) -> ssize_t {
    let at = || (offset as u64, unsafe { copy_of(buf, len) });
    writing(fd, at, || unsafe { libc::syscall(libc::SYS_pwrite64, fd, buf, len, offset) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, buf: *const libc::c_void, len: size_t, offset: off_t) -> ssize_t {
    unsafe { pwrite64(fd, buf, len, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    let at = || (offset as u64, unsafe { gathered(iov, count) });
    writing(fd, at, || unsafe { libc::syscall(libc::SYS_pwritev, fd, iov, count, offset, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(fd: c_int, iov: *const iovec, count: c_int, offset: i64) -> ssize_t {
    unsafe { pwritev(fd, iov, count, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, len: i64) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, len) } as c_int;
    let Some(watch) = watch() else { return call() };
    let mut inner = watch.inner();
    inner.note_length(fd, len as u64);
    call()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(fd: c_int, len: off_t) -> c_int {
    unsafe { ftruncate64(fd, len) }
}

/// Says that it is not there; the caller then reads and writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    _: c_int,
    _: *mut i64,
    _: c_int,
    _: *mut i64,
    _: size_t,
    _: c_uint,
) -> ssize_t {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

fn opening(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller gave a string of C.
    let c_name = unsafe { CStr::from_ptr(path) };
    let found = watch().and_then(|watch| Some((watch, watch.below(dir, path)?)));
    let Some((watch, whole)) = found else { return sys_open(dir, c_name, flags, mode) };
    let mut inner = watch.inner();
    if flags & libc::O_CREAT != 0 && stat_path(&whole).is_none() {
        inner.note_name(&whole, Change::Made(whole.clone()));
    }
    let fd = sys_open(dir, c_name, flags & !libc::O_TRUNC, mode);
    // Asked only of an open file, as the question would spoil the error that the caller looks for.
    if fd >= 0
        && let Some(stat) = stat_fd(fd)
    {
        inner.known.insert((stat.st_dev, stat.st_ino));
        if flags & libc::O_TRUNC != 0 && stat.st_size > 0 {
            inner.note_length(fd, 0);
            // SAFETY: no memory is passed.
            unsafe { libc::syscall(libc::SYS_ftruncate, fd, 0) };
        }
    }
    fd
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    opening(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    opening(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    opening(dir, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    opening(dir, path, flags, mode)
}

fn syncing(fd: c_int, call: c_long) -> c_int {
    // SAFETY: no memory is passed.
    let sync = || unsafe { libc::syscall(call, fd) } as c_int;
    let Some(watch) = watch() else { return sync() };
    let number = {
        let mut inner = watch.inner();
        let Some((ino, _)) = inner.watched(fd) else { return sync() };
        let call = inner.number();
        inner.note(&Record::SyncBegin { ino, call });
        call
    };
    let done = sync();
    if done == 0 && !watch.deaf {
        watch.inner().note(&Record::SyncEnd { call: number });
    }
    done
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    syncing(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    syncing(fd, libc::SYS_fdatasync)
}

/// Notes a change of names, if `path` is watched, and makes it.
fn naming(
    dir: c_int,
    path: *const c_char,
    change: impl FnOnce(&mut Inner, &Watch, &str) -> Option<Change>,
    call: impl FnOnce() -> c_long,
) -> c_int {
    let found = watch().and_then(|watch| Some((watch, watch.below(dir, path)?)));
    let Some((watch, whole)) = found else { return call() as c_int };
    let mut inner = watch.inner();
    // The root's own name is not ours to lose.
    if whole != watch.root
        && let Some(change) = change(&mut inner, watch, &whole)
    {
        inner.note_name(&whole, change);
    }
    call() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let source = watch().and_then(|watch| watch.below(libc::AT_FDCWD, from));
    naming(
        libc::AT_FDCWD,
        to,
        |inner, watch, to| {
            let grave = inner.bury(&watch.graves, to).unwrap_or_default();
            Some(Change::Moved(source.unwrap_or_default(), to.to_string(), grave))
        },
        || unsafe { libc::syscall(libc::SYS_renameat, libc::AT_FDCWD, from, libc::AT_FDCWD, to) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    naming(
        dir,
        path,
        |inner, watch, path| {
            if flags & libc::AT_REMOVEDIR != 0 {
                return Some(Change::DirGone(path.to_string()));
            }
            Some(Change::Gone(path.to_string(), inner.bury(&watch.graves, path)?))
        },
        || unsafe { libc::syscall(libc::SYS_unlinkat, dir, path, flags) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    unsafe { unlinkat(libc::AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    unsafe { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    naming(
        to_dir,
        to,
        |_, _, to| stat_path(to).is_none().then(|| Change::Made(to.to_string())),
        || unsafe { libc::syscall(libc::SYS_linkat, from_dir, from, to_dir, to, flags) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    naming(
        libc::AT_FDCWD,
        path,
        |_, _, path| stat_path(path).is_none().then(|| Change::DirMade(path.to_string())),
        || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) },
    )
}
