//! etcd's flags and its environment variables (`ETCD_DATA_DIR` for `--data-dir`), as its server reads them: one dash or two, the
//! value behind `=` or as the next word, the last one wins, a flag wins over the environment. Where there is a `--config-file`, only
//! that counts.
//!
//! Each flag is known by name: it is taken, or it may stand there and changes nothing, or it is refused with what to do.

use super::file;
use crate::report::{Exit, Problem};
use std::collections::BTreeMap;
use std::time::Duration;

/// What becomes of a flag.
#[derive(Clone, Copy, Debug)]
enum Use {
    /// It sets something.
    Taken,
    /// It changes nothing, and nobody misses that.
    Quiet,
    /// It changes nothing, and the log says so and why.
    Told(&'static str),
    /// So does a number, and what is none is refused.
    Count,
    /// It is on whatever is said, and the log says so where it is to be off.
    Always(&'static str),
    /// Any value but these (and none) is refused, with this hint.
    Only(&'static [&'static str], &'static str),
}
use Use::{Always, Count, Only, Quiet, Taken, Told};

struct Flag {
    name: &'static str,
    /// It needs no value.
    switch: bool,
    what: Use,
}

const fn value(name: &'static str, what: Use) -> Flag {
    Flag { name, switch: false, what }
}

const fn switch(name: &'static str, what: Use) -> Flag {
    Flag { name, switch: true, what }
}

const OFF: &[&str] = &["false"];
const ON: &[&str] = &["true"];
const NONE: &[&str] = &[];
const TLS: &str =
    "there is no TLS in this release: leave it out, and use http:// on a network that is trusted";
const NO_TLS: &str = "there is no TLS in this release";
const DISCOVERY: &str = "there is no discovery: name all members with --initial-cluster";
const AUTH: &str = "there are no users in this release";
const V2: &str = "only version 3 of etcd's interface is served";
const PROXY: &str = "this is a member and no proxy: point clients at the members themselves";
const HOSTS: &str = "hosts are not filtered here: put a proxy in front that does";
const OWN_LOG: &str = "the log goes to standard error in a form of its own";
const ONE_DIR: &str = "the journal lies in the data directory: mount the faster disk at --data-dir. A log of etcd that lies elsewhere is taken over through a \
     symbolic link to it, member/wal in the data directory, once this flag is left out";
const TRACING: &str = "nothing is traced here; the metadata `quorate-evidence: 1` tells of single requests";

const FLAGS: &[Flag] = &[
    // Members.
    value("name", Taken),
    value("data-dir", Taken),
    value("wal-dir", Only(NONE, ONE_DIR)),
    value("listen-peer-urls", Taken),
    value("listen-client-urls", Taken),
    value("listen-client-http-urls", Taken),
    value("listen-metrics-urls", Taken),
    value("advertise-client-urls", Taken),
    value("initial-advertise-peer-urls", Taken),
    value("initial-cluster", Taken),
    value("initial-cluster-state", Taken),
    value("initial-cluster-token", Taken),
    value("heartbeat-interval", Taken),
    value("election-timeout", Taken),
    switch("initial-election-tick-advance", Quiet),
    switch("pre-vote", Only(ON, "pre-vote is always on")),
    switch("strict-reconfig-check", Always("changes of members are always checked")),
    switch("force-new-cluster", Taken),
    // The space.
    value("quota-backend-bytes", Taken),
    value("auto-compaction-mode", Taken),
    value("auto-compaction-retention", Taken),
    value("max-request-bytes", Taken),
    value("max-txn-ops", Taken),
    value(
        "max-learners",
        Only(&["1"], "there is one learner at a time, as etcd's default, beside members that join"),
    ),
    value("snapshot-count", Count),
    value("max-snapshots", Count),
    value("max-wals", Count),
    value("snapshot-catchup-entries", Count),
    value("backend-batch-limit", Count),
    value("backend-batch-interval", Quiet),
    value("backend-bbolt-freelist-type", Quiet),
    switch("unsafe-no-fsync", Only(OFF, "what is acknowledged is always on disk")),
    value("watch-progress-notify-interval", Taken),
    value("experimental-watch-progress-notify-interval", Taken),
    // Clients.
    value("max-concurrent-streams", Count),
    value("grpc-keepalive-min-time", Quiet),
    value("grpc-keepalive-interval", Quiet),
    value("grpc-keepalive-timeout", Quiet),
    switch("socket-reuse-port", Only(OFF, "two nodes must not share a port")),
    switch("socket-reuse-address", Quiet),
    value("cors", Taken),
    value("host-whitelist", Only(&["*"], HOSTS)),
    switch("enable-v2", Only(OFF, V2)),
    value("experimental-enable-v2v3", Only(NONE, V2)),
    value("v2-deprecation", Quiet),
    switch("enable-grpc-gateway", Always("calls in JSON are always answered")),
    // Logs and figures.
    value("log-level", Taken),
    switch("debug", Taken),
    value("logger", Quiet),
    value("log-format", Taken),
    value("log-package-levels", Told(OWN_LOG)),
    value("log-output", Only(&["default", "stderr"], OWN_LOG)),
    value("log-outputs", Only(&["default", "stderr"], OWN_LOG)),
    switch("enable-log-rotation", Only(OFF, OWN_LOG)),
    value("log-rotation-config-json", Quiet),
    value("metrics", Quiet),
    switch("enable-pprof", Told("there is no pprof; `perf` looks into a running node")),
    switch("experimental-enable-distributed-tracing", Told(TRACING)),
    switch("enable-distributed-tracing", Told(TRACING)),
    // TLS and users.
    value("cert-file", Only(NONE, TLS)),
    value("key-file", Only(NONE, TLS)),
    switch("client-cert-auth", Only(OFF, TLS)),
    value("client-crl-file", Only(NONE, TLS)),
    value("client-cert-allowed-hostname", Only(NONE, TLS)),
    value("client-cert-file", Only(NONE, TLS)),
    value("client-key-file", Only(NONE, TLS)),
    value("trusted-ca-file", Only(NONE, TLS)),
    value("ca-file", Only(NONE, TLS)),
    switch("auto-tls", Only(OFF, TLS)),
    value("peer-cert-file", Only(NONE, TLS)),
    value("peer-key-file", Only(NONE, TLS)),
    switch("peer-client-cert-auth", Only(OFF, TLS)),
    value("peer-client-cert-file", Only(NONE, TLS)),
    value("peer-client-key-file", Only(NONE, TLS)),
    value("peer-trusted-ca-file", Only(NONE, TLS)),
    value("peer-ca-file", Only(NONE, TLS)),
    switch("peer-auto-tls", Only(OFF, TLS)),
    value("peer-crl-file", Only(NONE, TLS)),
    value("peer-cert-allowed-cn", Only(NONE, TLS)),
    value("peer-cert-allowed-hostname", Only(NONE, TLS)),
    value("self-signed-cert-validity", Quiet),
    value("cipher-suites", Told(NO_TLS)),
    value("tls-min-version", Told(NO_TLS)),
    value("tls-max-version", Told(NO_TLS)),
    switch("experimental-peer-skip-client-san-verification", Only(OFF, TLS)),
    switch("peer-skip-client-san-verification", Only(OFF, TLS)),
    value("auth-token", Only(&["simple"], AUTH)),
    value("auth-token-ttl", Quiet),
    value("bcrypt-cost", Quiet),
    // Discovery and proxies.
    value("discovery", Only(NONE, DISCOVERY)),
    value("discovery-srv", Only(NONE, DISCOVERY)),
    value("discovery-srv-name", Only(NONE, DISCOVERY)),
    value("discovery-token", Only(NONE, DISCOVERY)),
    value("discovery-endpoints", Only(NONE, DISCOVERY)),
    value("discovery-proxy", Only(NONE, DISCOVERY)),
    value("discovery-fallback", Quiet),
    // Without an address to ask these mean nothing.
    value("discovery-cacert", Quiet),
    value("discovery-cert", Quiet),
    value("discovery-key", Quiet),
    value("discovery-user", Quiet),
    value("discovery-password", Quiet),
    value("discovery-dial-timeout", Quiet),
    value("discovery-request-timeout", Quiet),
    value("discovery-keepalive-time", Quiet),
    value("discovery-keepalive-timeout", Quiet),
    switch("discovery-insecure-transport", Quiet),
    switch("discovery-insecure-skip-tls-verify", Quiet),
    value("proxy", Only(&["off"], PROXY)),
    value("proxy-failure-wait", Quiet),
    value("proxy-refresh-interval", Quiet),
    value("proxy-dial-timeout", Quiet),
    value("proxy-write-timeout", Quiet),
    value("proxy-read-timeout", Quiet),
    value("config-file", Taken),
    // Checks that this node makes unasked, in its own way.
    switch("experimental-initial-corrupt-check", Quiet),
    value("experimental-corrupt-check-time", Quiet),
    switch("experimental-compact-hash-check-enabled", Quiet),
    value("experimental-compact-hash-check-time", Quiet),
    // What tunes the inside of etcd: as of 3.6, and as the experiments that they were.
    value("bootstrap-defrag-threshold-megabytes", Quiet),
    value("experimental-bootstrap-defrag-threshold-megabytes", Quiet),
    value("compaction-batch-limit", Quiet),
    value("experimental-compaction-batch-limit", Quiet),
    value("compaction-sleep-interval", Quiet),
    value("experimental-compaction-sleep-interval", Quiet),
    value("distributed-tracing-address", Quiet),
    value("experimental-distributed-tracing-address", Quiet),
    value("distributed-tracing-instance-id", Quiet),
    value("experimental-distributed-tracing-instance-id", Quiet),
    value("distributed-tracing-sampling-rate", Quiet),
    value("experimental-distributed-tracing-sampling-rate", Quiet),
    value("distributed-tracing-service-name", Quiet),
    value("experimental-distributed-tracing-service-name", Quiet),
    value("downgrade-check-time", Quiet),
    value("experimental-downgrade-check-time", Quiet),
    value("experimental-snapshot-catchup-entries", Quiet),
    value("warning-apply-duration", Quiet),
    value("experimental-warning-apply-duration", Quiet),
    value("warning-unary-request-duration", Taken),
    value("experimental-warning-unary-request-duration", Taken),
    switch("memory-mlock", Quiet),
    switch("experimental-memory-mlock", Quiet),
    switch("experimental-enable-lease-checkpoint", Quiet),
    switch("experimental-enable-lease-checkpoint-persist", Quiet),
    switch("experimental-stop-grpc-service-on-defrag", Quiet),
    switch("experimental-txn-mode-write-with-shared-buffer", Quiet),
    value("corrupt-check-time", Quiet),
    value("compact-hash-check-time", Quiet),
    value("raft-read-timeout", Quiet),
    value("raft-write-timeout", Quiet),
    value("feature-gates", Told("nothing is switched by it here")),
];

/// What was given.
#[derive(Debug, Default)]
pub(super) struct Given {
    values: BTreeMap<&'static str, String>,
    /// Flags or variables say where clients connect, and none what they are told: etcd refuses that, and takes it from a file.
    pub(super) unadvertised: bool,
    /// What the log should tell.
    pub(super) warnings: Vec<String>,
    pub(super) help: bool,
    pub(super) version: bool,
}

impl Given {
    /// What was given for a flag, if it was.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Reads the command line and the environment.
    pub(super) fn read(
        args: &[String],
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problem> {
        let mut given = Self::default();
        let mut seen = BTreeMap::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let dashed =
                arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty());
            let Some(text) = dashed else { return Err(no_flag(arg)) };
            let (name, inline) =
                text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            match name {
                "h" | "help" => given.help = true,
                "version" => given.version = true,
                _ => {
                    let flag = find(name).map_err(|kind| kind.problem(&format!("--{name}")))?;
                    let value = match inline {
                        Some(value) => value,
                        None if flag.switch => "true",
                        None => args
                            .next()
                            .ok_or_else(|| usage(format!("--{name} needs a value"), "write --FLAG=VALUE"))?,
                    };
                    seen.insert(flag.name, (value.to_string(), format!("--{name}")));
                }
            }
        }
        for (variable, value) in environment {
            given.variable(&variable, value, &mut seen);
        }
        given.unadvertised =
            seen.contains_key("listen-client-urls") && !seen.contains_key("advertise-client-urls");
        let file = seen.remove("config-file").filter(|(path, _)| !path.is_empty());
        if let Some((path, source)) = file {
            let others: Vec<_> = seen.into_values().map(|(_, source)| source).collect();
            if !others.is_empty() {
                given.warnings.push(format!("not used, since {source} alone counts: {}", others.join(", ")));
            }
            seen = from_file(&path)?;
            given.unadvertised = false;
        }
        for (name, (value, source)) in seen {
            given.take(name, value, &source)?;
        }
        Ok(given)
    }

    fn variable(
        &mut self,
        variable: &str,
        value: String,
        seen: &mut BTreeMap<&'static str, (String, String)>,
    ) {
        let Some(name) = variable.strip_prefix("ETCD_").filter(|name| *name != "UNSUPPORTED_ARCH") else {
            return;
        };
        if value.is_empty() {
            return;
        }
        match find(&name.to_ascii_lowercase().replace('_', "-")) {
            Ok(flag) if seen.contains_key(flag.name) => {
                self.warnings.push(format!("{variable} is not used: the flag --{} wins", flag.name));
            }
            Ok(flag) => drop(seen.insert(flag.name, (value, variable.to_string()))),
            Err(Unknown::Experiment) => self.warnings.push(format!("{variable} changes nothing here")),
            // Whatever else begins so: images and charts set variables of their own.
            Err(Unknown::Name) => {
                self.warnings.push(format!("{variable} is no setting of etcd, and is not used"));
            }
        }
    }

    fn take(&mut self, name: &'static str, value: String, source: &str) -> Result<(), Problem> {
        let Ok(flag) = find(name) else { return Ok(()) };
        match flag.what {
            Taken => drop(self.values.insert(name, value)),
            Quiet => {}
            Count if value.is_empty() || value.parse::<u64>().is_ok() => {}
            Count => {
                return Err(usage(format!("{source}={value} makes no sense"), "it is a number from 0 on"));
            }
            Told(_) if flag.switch && value == "false" => {}
            Always(_) if value == "true" => {}
            Told(why) | Always(why) => self.warnings.push(format!("{source} changes nothing here: {why}")),
            Only(allowed, _) if value.is_empty() || allowed.contains(&value.as_str()) => {}
            Only(_, hint) => return Err(usage(format!("{source}={value} is not supported"), hint)),
        }
        Ok(())
    }
}

/// What a configuration file sets, and where.
fn from_file(path: &str) -> Result<BTreeMap<&'static str, (String, String)>, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        usage(format!("{path} cannot be read: {error}"), "name a file of etcd's settings")
    })?;
    let settings = file::parse(&text).map_err(|(line, why)| {
        usage(format!("{path}, line {line}: {why}"), "write KEY: VALUE, with the names of the flags as keys")
    })?;
    let mut seen = BTreeMap::new();
    for file::Setting { key, value, line } in settings {
        let source = format!("{path}, line {line}: {key}");
        // The sections are those of TLS.
        if key.contains('.') {
            if ["", "false"].contains(&value.as_str()) {
                continue;
            }
            return Err(usage(format!("{source}={value} is not supported"), TLS));
        }
        match find(&key) {
            Ok(flag) => drop(seen.insert(flag.name, (as_on_the_command_line(flag.name, value), source))),
            Err(_) if value.is_empty() => {}
            Err(kind) => return Err(kind.problem(&source)),
        }
    }
    Ok(seen)
}

/// etcd's file has a length of time as a number of nanoseconds where its command line has `5s`.
fn as_on_the_command_line(name: &str, value: String) -> String {
    match value.parse() {
        Ok(nanos)
            if name.ends_with("watch-progress-notify-interval")
                || name.ends_with("warning-unary-request-duration") =>
        {
            format!("{}ns", Duration::from_nanos(nanos).as_nanos())
        }
        _ => value,
    }
}

/// Why a flag is not found.
enum Unknown {
    /// etcd's experiments come and go, and none of those that are not in the table changes what is promised.
    Experiment,
    Name,
}

impl Unknown {
    fn problem(&self, source: &str) -> Problem {
        match self {
            Self::Experiment => usage(
                format!("{source} is not known"),
                "experiments of etcd are not taken: leave it out, or set it as a variable to be told only",
            ),
            Self::Name => usage(
                format!("{source} is no flag of etcd"),
                "`quorate etcd --help` lists those that are taken",
            ),
        }
    }
}

fn find(name: &str) -> Result<&'static Flag, Unknown> {
    FLAGS.iter().find(|flag| flag.name == name).ok_or(if name.starts_with("experimental-") {
        Unknown::Experiment
    } else {
        Unknown::Name
    })
}

fn no_flag(word: &str) -> Problem {
    let hint = match word {
        "gateway" | "grpc-proxy" => PROXY,
        _ => "settings begin with --; `quorate etcd --help` lists them",
    };
    usage(format!("{word:?} is no flag"), hint)
}

pub(super) fn usage(message: impl Into<String>, hint: &str) -> Problem {
    Problem::new(Exit::Usage, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], environment: &[(&str, &str)]) -> Result<Given, Problem> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let pairs = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Given::read(&args, pairs)
    }

    /// Claim: flags are read as Go reads them, the last one wins, and a flag wins over its variable.
    #[test]
    fn flags_and_variables_are_read_as_etcd_reads_them() {
        let given = read(
            &[
                "-name",
                "a",
                "--data-dir=/x",
                "--name=b",
                "--debug",
                "--enable-v2=false",
                "--snapshot-count",
                "5",
            ],
            &[("ETCD_NAME", "c"), ("ETCD_INITIAL_CLUSTER_TOKEN", "t"), ("ETCD_LOG_LEVEL", ""), ("HOME", "/")],
        )
        .unwrap();
        let of = |name| given.get(name).unwrap_or("-");
        assert_eq!(
            [of("name"), of("data-dir"), of("debug"), of("initial-cluster-token"), of("log-level")],
            ["b", "/x", "true", "t", "-"]
        );
        assert_eq!(given.warnings.len(), 1, "{:?}", given.warnings);
        assert!(read(&["--help"], &[]).unwrap().help && read(&["-version"], &[]).unwrap().version);
    }

    /// Claim: the settings of a file are those of the flags, it alone counts, and what is not supported is named with its line.
    #[test]
    fn a_file_sets_what_flags_set_and_nothing_else_counts() {
        let path = std::env::temp_dir().join(format!("quorate-etcd-{}.yml", std::process::id()));
        let from = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let flag = format!("--config-file={}", path.display());
            read(&["--name=flag", &flag], &[("ETCD_DATA_DIR", "/variable")])
        };
        let given = from(
            "name: file\nheartbeat-interval: 50\nwal-dir:\nproxy: 'off'\nenable-pprof: true\n\
             experimental-watch-progress-notify-interval: 5000000000\nlog-outputs: [stderr]\n\
             client-transport-security:\n  cert-file:\n  client-cert-auth: false\nunknown-and-empty:\n",
        )
        .unwrap();
        let of = |name| given.get(name).unwrap_or("-");
        assert_eq!([of("name"), of("heartbeat-interval"), of("data-dir")], ["file", "50", "-"]);
        assert_eq!(of("experimental-watch-progress-notify-interval"), "5000000000ns");
        assert_eq!(given.warnings.len(), 2, "{:?}", given.warnings);
        assert!(given.warnings[0].contains("ETCD_DATA_DIR, --name"), "{:?}", given.warnings);
        for (text, says) in [
            (
                "name: a\npeer-transport-security:\n  auto-tls: true",
                "line 3: peer-transport-security.auto-tls=true",
            ),
            ("pre-vote: false", "line 1: pre-vote=false is not supported"),
            ("nmae: a", "line 1: nmae is no flag of etcd"),
            ("name: a\nname: b", "line 2: name stands in line 1 already"),
        ] {
            let problem = from(text).unwrap_err();
            assert!(problem.message.contains(says) && problem.exit == Exit::Usage, "{problem}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    /// Claim: what is not supported is refused by its name with what to do, wherever it stands; harmless things pass.
    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (args, environment, says) in [
            (&["--cert-file=/c"][..], &[][..], "--cert-file=/c is not supported"),
            (&["--client-cert-auth"], &[], "--client-cert-auth=true"),
            (&[], &[("ETCD_PEER_CERT_FILE", "/c")], "ETCD_PEER_CERT_FILE=/c"),
            (&["--discovery", "https://d"], &[], "--discovery=https://d"),
            (&["--auth-token=jwt,x"], &[], "--auth-token=jwt,x"),
            (&["--config-file", "/no/such/file"], &[], "/no/such/file cannot be read"),
            (&["--max-learners=2"], &[], "--max-learners=2"),
            (&["--host-whitelist=a"], &[], "--host-whitelist=a"),
            (&["--nmae=a"], &[], "--nmae is no flag of etcd"),
            (&["--experimental-new=1"], &[], "--experimental-new is not known"),
            (&["gateway"], &[], "\"gateway\" is no flag"),
            (&["--name"], &[], "--name needs a value"),
            (&["--"], &[], "\"--\" is no flag"),
        ] {
            let problem = read(args, environment).unwrap_err();
            assert!(problem.message.contains(says), "{} does not say {says}", problem.message);
            assert!(!problem.hint.is_empty() && problem.exit == Exit::Usage, "{problem}");
        }
        let given = read(
            &[
                "--enable-pprof=false",
                "--logger=zap",
                "--cert-file=",
                "--auth-token=simple",
                "--proxy",
                "off",
            ],
            &[("ETCD_VERSION", "3.5.0"), ("ETCD_EXPERIMENTAL_X", "1"), ("ETCD_ENABLE_PPROF", "true")],
        )
        .unwrap();
        assert_eq!(given.warnings.len(), 3, "{:?}", given.warnings);
    }
}
