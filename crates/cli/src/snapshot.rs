//! `quorate snapshot`: a space as a file. `save` takes it from a node, `inspect` says what is in it, `restore` makes a node of a new
//! cluster of it.
//!
//! A file has its name only once it is whole: what is being saved is called `NAME.part`, and is verified before it is renamed.

use crate::probe::{connect, endpoint, time};
use crate::report::{Exit, Problem, many, say};
use crate::serve::settings::{Flags, Settings};
use quorate_client::told;
use quorate_proto::etcdserverpb as pb;
use quorate_server::backup::{self, Changes, Inspected};
use serde::Serialize;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::metadata::MetadataValue;

/// Save, inspect and restore snapshots.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Take a snapshot from a node into a file
    Save(Save),
    /// Verify a file and say what is in it
    Inspect(Inspect),
    /// Make the data directory of one node of a new cluster out of a file
    Restore(Box<Restore>),
}

#[derive(clap::Args, Debug)]
struct Save {
    /// The file to make; one that is there is not replaced
    file: PathBuf,
    /// The node to take it from
    #[arg(long, alias = "endpoints", value_name = "URL", value_parser = one_endpoint, default_value = "http://127.0.0.1:2379")]
    endpoint: String,
    /// How long a connection may take
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5s")]
    timeout: Duration,
    /// In the form that etcd's tools read and restore, as `etcdctl snapshot save` gets it
    #[arg(long)]
    etcd: bool,
    /// Speak JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct Inspect {
    /// The file
    file: PathBuf,
    /// Speak JSON
    #[arg(long)]
    json: bool,
}

/// The settings of a node that a restore looks at; the others are for its start.
const RESTORES: [&str; 11] = [
    "file",
    "config",
    "node",
    "cluster",
    "data",
    "peers",
    "client_urls",
    "insecure",
    "bump_revision",
    "drop_sharded_tables",
    "json",
];

/// The other settings are taken, too: one can have the same command line for the restore and for the start.
fn listed(arg: clap::Arg) -> clap::Arg {
    let counts = RESTORES.contains(&arg.get_id().as_str());
    arg.hide(!counts)
}

#[derive(clap::Args, Debug)]
#[command(mut_args(listed), after_help = RESTORE_HELP)]
struct Restore {
    /// The file
    file: PathBuf,
    /// Read the node's settings from this TOML file, as `quorate serve` does; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Raise the revision by so much and compact all before it, so that who has read or watched the old cluster notices: as
    /// much as may have been written since the snapshot, and the same on each node
    #[arg(long, value_name = "REVISIONS")]
    bump_revision: Option<u64>,
    /// Make the new cluster without the tables that have shards of their own, whose items are in no snapshot: the same on each node
    #[arg(long)]
    drop_sharded_tables: bool,
    /// Speak JSON
    #[arg(long)]
    json: bool,
}

/// A snapshot is one node's state.
fn one_endpoint(text: &str) -> Result<String, String> {
    if text.contains(',') {
        return Err("a snapshot is taken from one node: name one endpoint only".into());
    }
    endpoint(text)
}

const EXAMPLES: &str = "\
Examples:
  quorate snapshot save backup.snap --endpoint 10.0.0.1:2379
  quorate snapshot inspect backup.snap
  quorate snapshot restore backup.snap --config n1.toml --cluster after-the-fire
  quorate snapshot restore backup.snap --node 1 --data /var/lib/quorate --cluster after-the-fire

Each node of the new cluster is restored from the same file, with the same members, and then started by `quorate serve` with the
same settings. Revisions and leases are as they were. A snapshot of etcd is restored, too, without its members, users and alarms.

With --etcd, and by `etcdctl snapshot save`, the file is one of etcd's: `etcdutl snapshot status` and `restore` take it, which makes
an etcd of it. Restored here it is whole, too, fences and tables included.

Tables are in a snapshot, but for the items of those that have shards of their own (`--shards`): it names these, and is only
restored with --drop-sharded-tables, without them. `quorate space export` puts such a table into files.

Fences are as of the snapshot: a token that was shown since is not known any more. Where locks' tokens fence, restore with
--bump-revision, so that the tokens of new holders are higher than those of the old ones. A snapshot of etcd has no fences.";

const RESTORE_HELP: &str = "\
The other flags of `quorate serve` are taken and checked, too, and change nothing here: they count when the node is started. Only
--join and what goes with it are refused.";

/// What `--json` says of a file.
#[derive(Serialize, Debug)]
struct Told {
    file: String,
    bytes: u64,
    /// Left out for a snapshot of etcd.
    cluster: Option<String>,
    node: Option<u64>,
    term: u64,
    index: u64,
    revision: i64,
    compacted: i64,
    /// Of the new cluster, where a restore raised it.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at_revision: Option<i64>,
    keys: u64,
    changes: u64,
    leases: u64,
    fences: u64,
    alarms: u64,
    /// Tables whose items are in it.
    tables: Vec<String>,
    /// Tables whose items are not in it.
    tables_left_out: Vec<String>,
    digest: String,
}

/// Does what is asked.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    match &args.command {
        Command::Save(args) => save(args),
        Command::Inspect(args) => {
            let found = backup::inspect(&args.file)?;
            tell(&args.file, &found, args.json, "holds", None)?;
            warn_of_left_out(&found);
            Ok(())
        }
        Command::Restore(args) => restore(args),
    }
}

fn restore(args: &Restore) -> Result<(), Problem> {
    let settings = Settings::gather(args.config.as_deref(), &args.flags)?;
    if settings.join.is_some() {
        let message = "a snapshot makes a new cluster, and --join is about one that serves";
        let hint =
            "leave --join out here; to add a node to a cluster that serves, `quorate node add` is enough";
        return Err(Problem::new(Exit::Usage, message, hint));
    }
    let changes = Changes { bump: args.bump_revision, drop_tables: args.drop_sharded_tables };
    let restored = backup::restore(&args.file, &settings.server, changes)?;
    let starts_at = args.bump_revision.and_then(|by| backup::bumped(restored.contents.revision, by));
    tell(&args.file, &restored, args.json, "was restored:", starts_at)?;
    if !args.json {
        let (node, data) = (settings.server.node, settings.server.data.display());
        if let Some(revision) = starts_at {
            say(&format!("  the new cluster starts at revision {revision}, and all before it is compacted"));
        }
        say(&format!("node {node} of cluster {:?} can be started on {data}", settings.cluster));
        if let [_, ..] = &restored.contents.elsewhere[..] {
            say(&format!("  without the tables {}", restored.contents.elsewhere.join(", ")));
        }
        if restored.contents.fences > 0 && args.bump_revision.is_none() {
            eprintln!(
                "note: who got a lock after the snapshot may show a higher token than those who get it now; \
                 --bump-revision prevents that"
            );
        }
    }
    Ok(())
}

fn tell(
    path: &Path,
    found: &Inspected,
    json: bool,
    verb: &str,
    starts_at: Option<i64>,
) -> Result<(), Problem> {
    let Inspected { header, contents: c, size } = found;
    let told = Told {
        file: path.display().to_string(),
        bytes: *size,
        cluster: header.map(|header| format!("{:016x}", header.cluster)),
        node: header.map(|header| header.node.get()),
        term: c.base.id.term.get(),
        index: c.base.id.index.get(),
        revision: c.revision,
        compacted: c.compacted,
        starts_at_revision: starts_at,
        keys: c.keys,
        changes: c.changes,
        leases: c.leases,
        fences: c.fences,
        alarms: c.alarms,
        tables: c.tables.clone(),
        tables_left_out: c.elsewhere.clone(),
        digest: format!("{:016x}", c.digest),
    };
    if json {
        let line = serde_json::to_string(&told)
            .map_err(|e| Problem::new(Exit::Failed, format!("cannot say it in JSON: {e}"), ""))?;
        say(&line);
        return Ok(());
    }
    say(&format!(
        "{} {verb} {} at revision {} ({} in its history, compacted at {}), {}, {}, {}",
        told.file,
        many(told.keys, "key"),
        told.revision,
        many(told.changes, "change"),
        told.compacted,
        many(told.leases, "lease"),
        many(told.fences, "fence"),
        many(told.alarms, "alarm")
    ));
    if let [_, ..] = &told.tables[..] {
        say(&format!("  with the tables {}", told.tables.join(", ")));
    }
    let whose = match (told.node, told.cluster) {
        (Some(node), Some(cluster)) => {
            format!("of node {node} of cluster {cluster}, behind entry {} of term {}", told.index, told.term)
        }
        _ => "of etcd".to_string(),
    };
    say(&format!("  {} bytes, all checksums hold; {whose}", told.bytes));
    Ok(())
}

fn save(args: &Save) -> Result<(), Problem> {
    if args.file.exists() {
        let message = format!("{} is there already", args.file.display());
        return Err(Problem::new(Exit::Usage, message, "choose another name, or remove it"));
    }
    let mut part = args.file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let saved = save_to(args, &part);
    if saved.is_err() {
        let _ = fs::remove_file(&part);
    }
    let saved = saved?;
    tell(&args.file, &saved, args.json, "holds", None)?;
    warn_of_left_out(&saved);
    Ok(())
}

/// What is not in it is said in any case: a script that only looks at the exit code has its words in a log.
fn warn_of_left_out(found: &Inspected) {
    if found.contents.elsewhere.is_empty() {
        return;
    }
    eprintln!(
        "warning: it does not hold the items of tables that have shards of their own: {}; `quorate space export` puts each into \
         files",
        found.contents.elsewhere.join(", ")
    );
}

/// A new file that nobody else may read: all that the cluster holds stands in it.
fn private(path: &Path) -> std::io::Result<File> {
    let _ = fs::remove_file(path);
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes and verifies the part, and gives it its name.
fn save_to(args: &Save, part: &Path) -> Result<Inspected, Problem> {
    let runtime = crate::runtime()?;
    let mut file = private(part).map_err(|e| cannot("write", part, &e))?;
    runtime.block_on(receive(args, &mut file, part))?;
    file.sync_all().map_err(|e| cannot("write", part, &e))?;
    let found = backup::inspect(part)?;
    fs::rename(part, &args.file).map_err(|e| cannot("rename", part, &e))?;
    let dir = args.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| cannot("sync", dir, &e))?;
    Ok(found)
}

/// What is told of a member that was started after the majority was lost.
const UNHEARD: &str = "it was started and has heard of no leader since, so it does not know what of its log is committed: bring a \
                       majority back, or ask a member that was up before. Where the others are lost for good, copy its data \
                       directory and go on from that, with all that its log has: `quorate etcd --data-dir COPY --force-new-cluster`";

async fn receive(args: &Save, file: &mut File, part: &Path) -> Result<(), Problem> {
    let failed = |why: String| {
        let hint = if why.contains("no leader") { UNHEARD } else { "is it up? try another" };
        Problem::new(Exit::Failed, format!("{} gave no snapshot: {why}", args.endpoint), hint)
    };
    let channel = connect(&args.endpoint, args.timeout).await.map_err(failed)?;
    let mut client = pb::maintenance_client::MaintenanceClient::new(channel);
    let mut request = tonic::Request::new(pb::SnapshotRequest {});
    if !args.etcd {
        request.metadata_mut().insert("quorate-snapshot", MetadataValue::from_static("own"));
    }
    let reply = client.snapshot(request).await.map_err(|s| failed(told(&s)))?;
    let mut stream = reply.into_inner();
    while let Some(message) = stream.message().await.map_err(|s| failed(told(&s)))? {
        file.write_all(&message.blob).map_err(|e| cannot("write", part, &e))?;
    }
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Exit::Failed, format!("cannot {what} {}: {error}", path.display()), "no snapshot was saved")
}

#[cfg(test)]
mod tests {
    use super::one_endpoint;

    #[test]
    fn a_snapshot_is_of_one_node() {
        assert_eq!(one_endpoint("10.0.0.1:2379").as_deref(), Ok("http://10.0.0.1:2379"));
        assert!(one_endpoint("a:1,b:2,c:3").unwrap_err().contains("one endpoint only"));
    }
}
