//! The files of an export, in the format in which DynamoDB exports a table to S3 ("DynamoDB table export output format"):
//!
//! ```text
//! DIR/AWSDynamoDB/ID/_started                 empty
//!                    data/NAME.json.gz        lines of {"Item":{…}}, packed with gzip
//!                    manifest-files.json      a line for each data file: how many items, MD5, its place
//!                    manifest-summary.json    of the whole; written last, so that an export without it is not complete
//!                    manifest-*.checksum      the MD5 of each manifest
//!                    table.json               not DynamoDB's: the request that makes the table
//! ```
//!
//! Places in the manifests are relative to DIR, which stands for the bucket and its prefix.

use crate::report::{Exit, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use quorate_gateway_dynamo::signature::hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// What all exports lie in.
pub(super) const ROOT: &str = "AWSDynamoDB";
const SUMMARY: &str = "manifest-summary.json";
const FILES: &str = "manifest-files.json";
/// The request that makes the table.
pub(super) const TABLE: &str = "table.json";
/// No line of a data file is longer: an item has 400 KB, and its JSON some times that.
const LINE_MAX: u64 = 16 << 20;

/// `manifest-summary.json`.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Summary {
    pub(super) version: String,
    pub(super) export_arn: String,
    pub(super) start_time: String,
    pub(super) end_time: String,
    pub(super) table_arn: String,
    pub(super) table_id: String,
    pub(super) export_time: String,
    pub(super) s3_bucket: Option<String>,
    pub(super) s3_prefix: Option<String>,
    pub(super) s3_sse_algorithm: Option<String>,
    pub(super) s3_sse_kms_key_id: Option<String>,
    pub(super) manifest_files_s3_key: String,
    pub(super) billed_size_bytes: u64,
    pub(super) item_count: u64,
    pub(super) output_format: String,
    pub(super) export_type: String,
}

/// A line of `manifest-files.json`.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataFile {
    pub(super) item_count: u64,
    #[serde(rename = "md5Checksum")]
    pub(super) md5: String,
    #[serde(default)]
    pub(super) etag: String,
    #[serde(rename = "dataFileS3Key")]
    pub(super) key: String,
}

/// What stands in the way of a file.
pub(super) fn on(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> Problem {
    let path = path.display().to_string();
    move |why| Problem::new(Exit::Failed, format!("{path}: {why}"), "")
}

// ---- writing ----

/// Passes bytes on, and keeps their MD5.
struct Hashed<W> {
    to: W,
    md5: Md5,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.md5.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// A data file under way.
pub(super) struct DataWriter {
    path: PathBuf,
    key: String,
    out: GzEncoder<Hashed<BufWriter<File>>>,
    items: u64,
}

impl DataWriter {
    /// A new file of this name in an export.
    pub(super) fn create(export: &Path, id: &str, name: &str) -> Result<Self, Problem> {
        let path = export.join("data").join(name);
        let file = File::create_new(&path).map_err(|e| on(&path)(&e))?;
        let hashed = Hashed { to: BufWriter::new(file), md5: Md5::new() };
        let key = format!("{ROOT}/{id}/data/{name}");
        Ok(Self { path, key, out: GzEncoder::new(hashed, Compression::default()), items: 0 })
    }

    /// Appends an item.
    pub(super) fn item(&mut self, item: &Value) -> Result<(), Problem> {
        self.items += 1;
        writeln!(self.out, "{{\"Item\":{item}}}").map_err(|e| on(&self.path)(&e))
    }

    /// Ends the file, on the disk.
    pub(super) fn finish(self) -> Result<DataFile, Problem> {
        let failed = on(&self.path);
        let mut hashed = self.out.finish().map_err(|e| failed(&e))?;
        hashed.flush().map_err(|e| failed(&e))?;
        hashed.to.get_ref().sync_all().map_err(|e| failed(&e))?;
        let md5 = hashed.md5.finalize();
        let etag = hex(&md5);
        Ok(DataFile { item_count: self.items, md5: BASE64.encode(md5), etag, key: self.key })
    }
}

/// Writes a file and its checksum beside it, whole or not at all.
fn write_checked(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let sum = path.with_extension("checksum");
    write_whole(&sum, BASE64.encode(Md5::digest(bytes)).as_bytes())?;
    write_whole(path, bytes)
}

/// Writes a file, whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| on(path)(&e))
}

/// Writes both manifests, with which an export is complete.
pub(super) fn write_manifests(export: &Path, summary: &Summary, files: &[DataFile]) -> Result<(), Problem> {
    let mut lines = Vec::new();
    for file in files {
        serde_json::to_writer(&mut lines, file).map_err(|e| on(export)(&e))?;
        lines.push(b'\n');
    }
    write_checked(&export.join(FILES), &lines)?;
    let text = serde_json::to_vec_pretty(summary).map_err(|e| on(export)(&e))?;
    write_checked(&export.join(SUMMARY), &text)
}

// ---- reading ----

/// A complete export.
#[derive(Debug)]
pub(super) struct Export {
    /// What stands for the bucket.
    root: PathBuf,
    /// Where the manifests lie.
    pub(super) dir: PathBuf,
    pub(super) summary: Summary,
    pub(super) files: Vec<DataFile>,
}

impl Export {
    /// The export in `dir`: the directory of its manifests, or one with a single export in it.
    pub(super) fn open(dir: &Path) -> Result<Self, Problem> {
        let dir = find(dir)?;
        let summary: Summary = parse(&dir.join(SUMMARY))?;
        if !summary.output_format.is_empty() && summary.output_format != "DYNAMODB_JSON" {
            let format = &summary.output_format;
            let text =
                format!("{}: its format is {format}, and only DYNAMODB_JSON can be imported", dir.display());
            return Err(Problem::new(Exit::Usage, text, ""));
        }
        if !matches!(summary.export_type.as_str(), "" | "FULL_EXPORT") {
            let text = format!(
                "{}: it is a {}, and only a FULL_EXPORT can be imported",
                dir.display(),
                summary.export_type
            );
            return Err(Problem::new(Exit::Usage, text, ""));
        }
        let path = dir.join(FILES);
        let text = fs::read_to_string(&path).map_err(|e| on(&path)(&e))?;
        let line = |line: &str| serde_json::from_str(line).map_err(|e| damaged(&path, &e));
        let files =
            text.lines().filter(|line| !line.trim().is_empty()).map(line).collect::<Result<_, _>>()?;
        // DIR/AWSDynamoDB/ID
        let root = dir.parent().and_then(Path::parent).unwrap_or(&dir).to_path_buf();
        Ok(Self { root, dir, summary, files })
    }

    /// Where a data file lies. Its key may begin with a prefix in a bucket that was not copied along.
    pub(super) fn path(&self, file: &DataFile) -> Result<PathBuf, Problem> {
        let bad = || damaged(&self.dir.join(FILES), &format!("{:?} is no place of a data file", file.key));
        let name = Path::new(&file.key).file_name().ok_or_else(bad)?;
        let whole = self.root.join(&file.key);
        let inside =
            Path::new(&file.key).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(bad());
        }
        Ok(if whole.exists() { whole } else { self.dir.join("data").join(name) })
    }

    /// The request that makes the table, if there is one.
    pub(super) fn table(&self) -> Result<Option<Value>, Problem> {
        let path = self.dir.join(TABLE);
        if path.exists() { parse(&path).map(Some) } else { Ok(None) }
    }
}

fn find(dir: &Path) -> Result<PathBuf, Problem> {
    if dir.join(SUMMARY).exists() {
        return Ok(dir.to_path_buf());
    }
    let incomplete = |dir: &Path| {
        let text = format!("{} is no complete export: it has no {SUMMARY}", dir.display());
        Problem::new(Exit::Usage, text, "name the directory of an export, or make the export again")
    };
    let inner =
        if dir.file_name().is_some_and(|name| name == ROOT) { dir.to_path_buf() } else { dir.join(ROOT) };
    if !inner.is_dir() {
        return Err(incomplete(dir));
    }
    let entries = fs::read_dir(&inner).map_err(|e| on(&inner)(&e))?;
    let mut found: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    match &found[..] {
        [] => Err(incomplete(dir)),
        [only] if only.join(SUMMARY).exists() => Ok(only.clone()),
        [only] => Err(incomplete(only)),
        several => {
            let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            let text = format!("{} has several exports", dir.display());
            Err(Problem::new(Exit::Usage, text, format!("name one of them: {}", names.join(", "))))
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Problem> {
    let text = fs::read(path).map_err(|e| on(path)(&e))?;
    serde_json::from_slice(&text).map_err(|e| damaged(path, &e))
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Problem {
    Problem::new(Exit::Damaged, format!("{}: {why}", path.display()), "copy or make the export again")
}

/// Holds a data file against its checksum.
pub(super) fn verify(path: &Path, file: &DataFile) -> Result<(), Problem> {
    let mut input = File::open(path).map_err(|e| on(path)(&e))?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer).map_err(|e| on(path)(&e))? {
            0 => break,
            n => md5.update(&buffer[..n]),
        }
    }
    if BASE64.encode(md5.finalize()) == file.md5 {
        return Ok(());
    }
    Err(damaged(path, &"its MD5 is not the one in the manifest"))
}

/// The items of a data file, one after the other.
pub(super) struct DataReader {
    path: PathBuf,
    input: BufReader<MultiGzDecoder<File>>,
    line: String,
    /// How many were read.
    pub(super) items: u64,
}

impl DataReader {
    /// From the beginning.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        let file = File::open(path).map_err(|e| on(path)(&e))?;
        let input = BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file));
        Ok(Self { path: path.to_path_buf(), input, line: String::new(), items: 0 })
    }

    /// The next one, and the length of its line.
    pub(super) fn next(&mut self) -> Result<Option<(Value, usize)>, Problem> {
        let bad =
            |line: u64, why: &dyn std::fmt::Display| damaged(&self.path, &format!("line {line}: {why}"));
        loop {
            self.line.clear();
            let read = (&mut self.input).take(LINE_MAX).read_line(&mut self.line);
            let number = self.items + 1;
            match read.map_err(|e| bad(number, &e))? {
                0 => return Ok(None),
                n if n as u64 == LINE_MAX => return Err(bad(number, &"it is longer than any item's")),
                _ => {}
            }
            if self.line.trim().is_empty() {
                continue;
            }
            let mut value: Value = serde_json::from_str(&self.line).map_err(|e| bad(number, &e))?;
            let item = value.get_mut("Item").map(Value::take).filter(Value::is_object);
            self.items += 1;
            return item
                .map(|item| Some((item, self.line.len())))
                .ok_or_else(|| bad(number, &"it has no Item"));
        }
    }
}
