//! `quorate bench`: load on a cluster, measured.

mod draw;
mod kv;
mod lean;
mod meter;
mod table;

use crate::report::Problem;

const EXAMPLES: &str = "\
Examples:
  quorate bench kv --op put --clients 64 --seconds 10
  quorate bench table --op put --clients 64 --seconds 10
  quorate bench table --op a --keys 100000 --json";

/// Measure a cluster
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Keys and values, against any etcd v3 endpoint
    Kv(kv::Args),
    /// Items of a table, against any DynamoDB endpoint without TLS that takes any access key
    Table(table::Args),
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    match &args.what {
        What::Kv(args) => kv::run(args),
        What::Table(args) => table::run(args),
    }
}
