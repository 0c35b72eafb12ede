//! Tells systemd that the node serves, where it started it with `Type=notify`, as etcd's units do (`sd_notify(3)`).

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The node serves. Who does not listen has not asked.
pub(super) fn ready() {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = tell(&name, b"READY=1")
    {
        tracing::warn!(%error, "systemd could not be told that this node serves");
    }
}

/// A name that begins with `@` is an abstract one.
fn tell(name: &OsStr, what: &[u8]) -> std::io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(what, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: who listens, by a path or by an abstract name, hears it.
    #[test]
    fn who_listens_hears_it() {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("quorate-notify-{id}"));
        let _ = std::fs::remove_file(&path);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("quorate-notify-{id}");
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        tell(path.as_os_str(), b"READY=1").unwrap();
        tell(OsStr::new(&format!("@{name}")), b"READY=1").unwrap();
        for socket in [by_path, by_name] {
            let mut heard = [0; 16];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
