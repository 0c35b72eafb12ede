//! Where the data directory is one of etcd, the node goes on with what is in it ([`quorate_server::etcddir`]).

use crate::report::Problem;
use crate::serve::settings::Settings;
use bytes::Bytes;
use quorate_gateway_etcd::{Logged, logged};
use quorate_server::etcddir::{self, Taken};
use quorate_server::force::{self, Forced};
use quorate_server::{Peer, config, datadir};
use std::path::Path;
use std::time::Duration;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

const LOG: &str = "quorate_server::etcddir";

/// Takes over what etcd has in the directory, if it has anything there and this program nothing yet. From then on the directory says
/// whose it is, and not the flags, as with etcd.
pub(super) fn take_over(settings: &mut Settings, forced: bool) -> Result<(), Problem> {
    let server = &settings.server;
    let data = server.data.display().to_string();
    let least = least_lease(server.election_min);
    let translate = |entry: &Bytes| match logged(entry, least)? {
        Logged::Command(command) => Ok(Some(command)),
        Logged::Nothing | Logged::Users => Ok(None),
    };
    match etcddir::take_over(server, &translate, forced)? {
        Some(taken) => {
            tell(&data, &taken);
            go_on(settings, taken);
        }
        None if etcddir::is_there(&server.data) && datadir::owner(&server.data)?.is_some() => {
            tracing::info!(
                target: LOG,
                "{data}: this node's own data count, and etcd's, from which they were taken over, do not any more"
            );
        }
        None => {}
    }
    Ok(())
}

/// Makes the node the only member of its cluster, at this start alone.
pub(super) fn force(settings: &mut Settings) -> Result<(), Problem> {
    let server = &mut settings.server;
    let mut now = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    match force::new_cluster(server, &now)? {
        Forced::Spent(at) => {
            tracing::warn!(
                target: LOG,
                "--force-new-cluster changes nothing: it had its effect at the start of {at}, and whoever was added since stays a member. \
                 Leave it out from now on; to force a new cluster again, start once without it and then with it"
            );
        }
        Forced::New => {
            tracing::warn!(target: LOG, "--force-new-cluster changes nothing: there are no data of a cluster yet");
        }
        Forced::Alone => {
            tracing::warn!(target: LOG, "--force-new-cluster changes nothing: this node is the only member; leave it out from now on");
        }
        Forced::Left(others) => {
            let others: Vec<String> = others.iter().map(|id| format!("{:x}", id.get())).collect();
            tracing::warn!(
                target: LOG,
                "--force-new-cluster: this node is the only member from now on, with what it has; what the others had acknowledged and \
                 it never got is lost. The former members ({}) must not be started again: delete their data, and add new ones by \
                 `etcdctl member add`. Leave the flag out from now on",
                others.join(", ")
            );
            server.peers.retain(|peer| peer.id == server.node);
            server.learners.remove(&server.node);
            settings.join = None;
        }
    }
    Ok(())
}

/// The flag is not given: it has its effect again when it is.
pub(super) fn not_forced(settings: &Settings) -> Result<(), Problem> {
    if force::not_asked(&settings.server.data)? {
        tracing::info!(target: LOG, "a start without --force-new-cluster: from now on it has its effect again where it is given");
    }
    Ok(())
}

/// What is said of an error behind a take-over.
pub(super) fn behind(data: &Path, problem: Problem) -> Problem {
    let hint = etcddir::hint_behind(data, &problem.hint).unwrap_or(problem.hint);
    Problem { hint, ..problem }
}

/// A lease has at least one and a half election timeouts, in whole seconds.
fn least_lease(election: Duration) -> i64 {
    i64::try_from((election.as_millis() * 3).div_ceil(2 * 1000)).unwrap_or(1).max(1)
}

fn tell(data: &str, taken: &Taken) {
    let Taken { cluster, node, revision, entries, .. } = taken;
    tracing::info!(
        target: LOG,
        "{data}: taken over from etcd: member {:x} of {} in cluster {cluster:x}, at revision {revision}, {entries} entries of its log \
         among it; etcd's files are as they were, and are not read any more",
        node.get(),
        taken.peers.len()
    );
    if taken.torn {
        tracing::warn!(target: LOG, "{data}: the last record of etcd's log was not whole, and was acknowledged to nobody: it is left out");
    }
    if taken.users {
        tracing::warn!(target: LOG, "{data}: there are users, who were not asked for: they do not come along");
    }
}

fn go_on(settings: &mut Settings, taken: Taken) {
    let server = &mut settings.server;
    settings.join = None;
    (server.cluster, server.node) = (taken.cluster, taken.node);
    server.learners = taken.learners.into_iter().collect();
    let own = |peer: Peer| match peer.id == server.node {
        true => Peer { name: server.name.clone(), client_url: server.etcd_advertise.clone(), ..peer },
        // Each says its own once it is up.
        false if config::check_url(&peer.client_url).is_err() => Peer { client_url: String::new(), ..peer },
        false => peer,
    };
    server.peers = taken.peers.into_iter().map(own).collect();
    server.campaign_at_once = server.peers.len() == 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_the_least_that_etcd_gives() {
        let of = |ms| least_lease(Duration::from_millis(ms));
        assert_eq!((of(1000), of(100), of(5000)), (2, 1, 8));
    }
}
