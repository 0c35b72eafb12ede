//! `quorate space`: tables with a policy, and tables as files, in the format in which DynamoDB exports to S3. It asks any endpoint that speaks DynamoDB's
//! API over HTTP: a node of ours, or another store. TLS is left out; a proxy that ends it does.

mod export;
mod import;
mod manage;
mod manifest;
mod remote;
mod shards;
mod tenants;

use crate::report::Problem;
use indicatif::{ProgressBar, ProgressStyle};
use remote::Endpoint;
use std::path::PathBuf;

/// Tables with a policy, and as files.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a space: a table with a policy
    Create(Box<manage::CreateArgs>),
    /// What a space promises, and how much is in it
    Describe(manage::NameArgs),
    /// Change what a space promises
    Alter(Box<manage::AlterArgs>),
    /// The spaces that there are
    List(manage::ListArgs),
    /// Take a space away, with all that is in it
    Drop(manage::DropArgs),
    /// The shards of a space: who leads each, where it is, how much is in it, how many entries its log has had, its hot keys
    Shards(shards::ShardsArgs),
    /// The tenants of a space that is partitioned by directory, and the shard each lies in
    Tenants(tenants::TenantsArgs),
    /// Say in which shard a tenant lies, and move it there, while it is read and written
    Assign(tenants::AssignArgs),
    /// Write a table's items into files, in DynamoDB's JSON format
    Export(ExportArgs),
    /// Put the items of such files into a table
    Import(ImportArgs),
}

/// Where the table is.
#[derive(clap::Args, Debug)]
struct Where {
    /// Where DynamoDB's API is served
    #[arg(long, alias = "endpoints", value_name = "URL", default_value = "http://127.0.0.1:8000", value_parser = authority)]
    endpoint: String,
    /// The region that requests are signed for [default: that of the environment, else us-east-1]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Speak JSON: one line; of exports and imports one for each file, too, and the whole's at the end
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct ExportArgs {
    /// The table
    table: String,
    /// The directory that gets the export; it may have others
    dir: PathBuf,
    /// Into how many parts the table is read at once, each of which makes a file
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    segments: u32,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Debug)]
struct ImportArgs {
    /// The export: the directory of its manifests, or one with a single export in it
    dir: PathBuf,
    /// The table that gets the items [default: the exported table's name]
    table: Option<String>,
    /// How many requests are under way at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    requests: u32,
    /// Leave out so many files, which an earlier import has put
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_files: usize,
    /// Put the items though the table has some; they take the place of those with the same keys
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    at: Where,
}

const EXAMPLES: &str = "\
Examples:
  quorate space create orders --key customer:S --sort at:N --shards 6 --consistency linearizable --survive 1
  quorate space create people --split-at g,m,t              four ranges of names, scanned in their order
  quorate space create events --key hour:S --sort at:N --shards 6 --partition-by time+hash
  quorate space create accounts --key tenant:S --sort id:S --shards 6 --partition-by directory
  quorate space assign accounts acme --shard 4              a new tenant, or one that moves there while it is used
  quorate space tenants accounts
  quorate space shards orders --over 5s
  quorate space list --json
  quorate space export orders backup/
  quorate space import backup/ orders-copy
  quorate space import backup/AWSDynamoDB/01764336835123-5f3a9c01 --endpoint http://127.0.0.1:18000 --json

An export of DynamoDB itself can be imported, too: copy it from its bucket first. A table that is not there is made as the export says,
with its tags and so with its shards and its policy (its file table.json, which DynamoDB's own do not have: make the table first
then). Its time to live (UpdateTimeToLive) is not in the export.

An export reads the newest state of each page and is not of one moment: what is written meanwhile is in it or not. Without its
manifest-summary.json, which is written last, it is not complete and is not imported. An import that stops, also by Ctrl-C, says how many files are in
and with which --skip-files it goes on; items that are put twice are there once.

Requests are signed with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where they are set.";

/// Does what is asked.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let runtime = crate::runtime()?;
    match &args.command {
        Command::Create(args) => runtime.block_on(manage::create(args)),
        Command::Describe(args) => runtime.block_on(manage::describe(args)),
        Command::Alter(args) => runtime.block_on(manage::alter(args)),
        Command::List(args) => runtime.block_on(manage::list(args)),
        Command::Drop(args) => runtime.block_on(manage::drop(args)),
        Command::Shards(args) => runtime.block_on(shards::shards(args)),
        Command::Tenants(args) => runtime.block_on(tenants::tenants(args)),
        Command::Assign(args) => runtime.block_on(tenants::assign(args)),
        Command::Export(args) => runtime.block_on(export::run(args)),
        Command::Import(args) => runtime.block_on(import::run(args)),
    }
}

impl Where {
    fn endpoint(&self) -> Endpoint {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = self.region.clone().or_else(|| set("AWS_REGION")).unwrap_or_else(|| "us-east-1".into());
        let any = || "any".to_string();
        let key =
            (set("AWS_ACCESS_KEY_ID").unwrap_or_else(any), set("AWS_SECRET_ACCESS_KEY").unwrap_or_else(any));
        Endpoint { authority: self.endpoint.clone(), region, key }
    }

    /// A line on standard error that counts items, for those who look.
    fn progress(&self, what: &'static str) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} items {msg}, {per_sec}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar
    }

    /// The same for things of which is known how many there are to be.
    fn count(&self, of: u64, what: &'static str) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(of);
        if let Ok(style) = ProgressStyle::with_template("{pos} of {len} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar
    }
}

/// `HOST:PORT` of a URL.
fn authority(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err("there is no TLS here yet: go through a proxy that ends it, and name that".into());
    }
    if text.contains(',') {
        return Err("name one endpoint only: any node answers for all".into());
    }
    let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => (authority, "80"),
    };
    if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
        return Err(format!("{text:?} is no URL of an endpoint: write for example http://127.0.0.1:8000"));
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, expected) in [
            ("http://127.0.0.1:8000/", "127.0.0.1:8000"),
            ("localhost:1", "localhost:1"),
            ("http://tables", "tables:80"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert_eq!(authority(text).unwrap(), expected);
        }
        for text in ["https://x:1", "a:1,b:2", "", "http://a/b:1", "a:b", "a:99999"] {
            assert!(authority(text).is_err(), "{text}");
        }
    }
}
