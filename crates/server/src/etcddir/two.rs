//! Keys of etcd's version 2, which there are none of here: whether a directory has any.
//!
//! They are in no store of `member/snap/db`: etcd has them in memory, makes them again from the newest `member/snap/TERM-INDEX.snap` and the
//! log behind that, and writes them as JSON into the next one:
//!
//! ```text
//! file  := crc(1) data(2)               a protobuf message; the sum goes over the data
//! data  := store(1) place(2)
//! store := { "Root": { "Children": { "0": what etcd keeps of itself, "1": the keys } } }
//! ```

use crate::error::ServeError;
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, PartialEq, Message)]
struct Summed {
    #[prost(uint32, tag = "1")]
    crc: u32,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(bytes = "vec", tag = "1")]
    store: Vec<u8>,
}

#[derive(serde::Deserialize)]
struct Store {
    #[serde(rename = "Root")]
    root: Node,
}

#[derive(serde::Deserialize)]
struct Node {
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, Self>>,
}

/// A request, as it stands in the log by itself or within one of version 3.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(string, tag = "3")]
    path: String,
}

#[derive(Clone, PartialEq, Message)]
struct Wrapped {
    #[prost(message, optional, tag = "2")]
    request: Option<Request>,
}

/// The key that an entry of the log writes, if it is one of version 2.
pub(super) fn key(entry: &[u8]) -> Option<String> {
    let request = match Wrapped::decode(entry) {
        Ok(wrapped) => wrapped.request,
        Err(_) => Request::decode(entry).ok(),
    }?;
    let key = request.path.strip_prefix("/1").filter(|key| key.starts_with('/'))?;
    ["PUT", "POST"].contains(&request.method.as_str()).then(|| key.to_string())
}

/// A key in the newest file of `dir`, if there is one, and up to which entry of the log that goes.
pub(super) fn kept(dir: &Path) -> Result<(Option<String>, u64), ServeError> {
    let Some((index, path)) = newest(dir)? else { return Ok((None, 0)) };
    let bytes = fs::read(&path).map_err(|e| super::io("read", &path, &e))?;
    let summed = Summed::decode(&bytes[..]).ok().filter(|summed| crc32c::crc32c(&summed.data) == summed.crc);
    let Some(store) = summed.and_then(|summed| Some(Snapshot::decode(&summed.data[..]).ok()?.store)) else {
        return Err(super::damaged(&path, 0, "it does not verify"));
    };
    if store.is_empty() {
        return Ok((None, index));
    }
    let Ok(store) = serde_json::from_slice::<Store>(&store) else {
        return Err(super::damaged(&path, 0, "what it has of version 2 makes no sense"));
    };
    let keys = store.root.children.and_then(|mut parts| parts.remove("1")).and_then(|keys| keys.children);
    let first = keys.and_then(|keys| keys.into_keys().next());
    Ok((first.map(|key| format!("/{key}")), index))
}

fn newest(dir: &Path) -> Result<Option<(u64, PathBuf)>, ServeError> {
    let mut newest = None;
    for file in fs::read_dir(dir).map_err(|e| super::io("list", dir, &e))? {
        let path = file.map_err(|e| super::io("list", dir, &e))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts = name.strip_suffix(".snap").and_then(|name| name.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some((term, index)) = parts.and_then(|(term, index)| Some((number(term)?, number(index)?))) {
            newest = newest.max(Some((term, index, path)));
        }
    }
    Ok(newest.map(|(_, index, path)| (index, path)))
}
