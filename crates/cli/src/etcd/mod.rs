//! `quorate etcd`: one node, told what to do by etcd's own flags, variables or file, so that it can stand where the `etcd` binary stood.

mod file;
mod flags;
mod plan;
mod takeover;

use crate::report::{Problem, say};
use crate::serve;
use flags::Given;
use quorate_server::ServerConfig;

/// Run one node by etcd's own flags and ETCD_* variables.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// etcd's flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAG")]
    flags: Vec<String>,
}

const HELP: &str = "\
Run one node by etcd's own flags and ETCD_* variables

Usage: quorate etcd [--FLAG=VALUE]...

A flag wins over its variable: --data-dir is ETCD_DATA_DIR. What a data directory says wins over --initial-*.

Members:
  --name NAME                            this member's name [default: default]
  --data-dir DIR                         its data [default: NAME.etcd]
  --listen-peer-urls URL                 where the other members connect [default: http://localhost:2380]
  --listen-client-urls URL[,URL...]      where clients connect [default: http://localhost:2379]
  --listen-metrics-urls URL[,URL...]     more of them; /metrics, /health, /livez, /readyz are on each
  --advertise-client-urls URL[,URL...]   what clients are told; required beside --listen-client-urls
  --initial-advertise-peer-urls URL      what the other members are told [default: http://localhost:2380]
  --initial-cluster NAME=URL[,...]       all members with their peer URLs [default: this one alone]
                                         (a peer URL may be unix://FILE: a socket in the file system)
  --initial-cluster-token TOKEN          tells clusters apart [default: etcd-cluster]
  --initial-cluster-state new|existing   begin a cluster, or join one that this member was added to [default: new]
  --heartbeat-interval MS                [default: 100]
  --election-timeout MS                  a time from this to twice as much is drawn [default: 1000]
  --force-new-cluster                    where the other members are lost for good: go on as the only one with what this one has

The space:
  --quota-backend-bytes N                bytes beyond which the alarm NOSPACE is raised; 0 for no bound [default: 0]
  --auto-compaction-mode MODE            periodic or revision [default: periodic]
  --auto-compaction-retention KEPT       how much history is kept; 0 for all [default: 0]
  --watch-progress-notify-interval TIME  [default: 10m]
  --max-request-bytes N                  the largest request, 10 MiB at most [default: 1572864]
  --max-txn-ops N                        the operations that a transaction may have [default: 128]

  --log-level LEVEL                      debug, info, warn, error [default: info]
  --log-format json|console              lines of JSON, or for people [default: json]
  --warning-unary-request-duration TIME  calls that take longer are told in the log [default: 300ms]
  --config-file FILE                     etcd's file of settings (YAML or JSON, the names of the flags as keys); it alone counts then
  --version, --help

Not supported, and refused by name: TLS, users, discovery, proxies, --wal-dir.
What only tunes etcd's inside (--snapshot-count, --max-wals, --logger and so on) may stand there. docs/etcd.md lists all.

Examples:
  quorate etcd --data-dir /var/lib/etcd
  quorate etcd --name a --data-dir /var/lib/etcd \\
    --listen-client-urls http://10.0.0.1:2379,http://127.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \\
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \\
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380
  ETCD_NAME=a ETCD_DATA_DIR=/var/lib/etcd quorate etcd
  quorate etcd --config-file /etc/etcd/etcd.conf.yml";

/// Serves until a signal.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    // A variable that is no text is none of etcd's.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut given = Given::read(&args.flags, environment)?;
    if given.help {
        say(HELP);
        return Ok(());
    }
    if given.version {
        let (etcd, own) = (ServerConfig::REPORTED_VERSION, env!("CARGO_PKG_VERSION"));
        say(&format!("etcd Version: {etcd}\nQuorate Version: {own}"));
        return Ok(());
    }
    let mut settings = plan::settings(&mut given)?;
    let lines = plan::lines(&given)?;
    serve::start_logging(&settings.log, lines)?;
    settings.server.check().map_err(Problem::from).map_err(in_its_words)?;
    serve::not_beside_up(&settings).map_err(in_its_words)?;
    let forced = given.get("force-new-cluster") == Some("true");
    takeover::take_over(&mut settings, forced)?;
    if forced {
        takeover::force(&mut settings)?;
    } else {
        takeover::not_forced(&settings)?;
    }
    let data = settings.server.data.clone();
    let served = serve::run_with(settings, lines, &given.warnings);
    served.map_err(|problem| in_its_words(takeover::behind(&data, problem)))
}

/// What the server says names flags of `quorate serve`; here the same things have etcd's names.
fn in_its_words(problem: Problem) -> Problem {
    let names =
        [("--etcd", "--listen-client-urls"), ("--peer", "--listen-peer-urls"), ("--data", "--data-dir")];
    let word = |word: &str| {
        let (bare, rest) = word.split_at(word.trim_end_matches([',', ')', '`', ';', ':']).len());
        let name = names.iter().find(|(own, _)| bare.trim_start_matches('(') == *own);
        name.map_or(word.to_string(), |(own, name)| format!("{}{rest}", bare.replace(own, name)))
    };
    let told = |text: &str| text.split(' ').map(word).collect::<Vec<_>>().join(" ");
    let Problem { exit, message, hint } = problem;
    Problem { exit, message: told(&message), hint: told(&hint) }
}
