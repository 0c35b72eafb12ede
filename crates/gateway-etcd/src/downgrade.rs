//! Downgrades, as etcd 3.6 answers about them, as far as that is true here: there is no older release of the data's format to go
//! back to, so that none is ever under way.

use crate::{Gateway, failure};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::downgrade_request::DowngradeAction;
use tonic::{Response, Status};

/// Answers a question about a downgrade. Ending one that is not under way does nothing, and is answered, as with etcd.
pub(crate) async fn answer(
    gateway: &Gateway,
    r: tonic::Request<pb::DowngradeRequest>,
) -> Result<Response<pb::DowngradeResponse>, Status> {
    let (metadata, _, message) = r.into_parts();
    let header = gateway.header_now(&metadata).await?;
    match DowngradeAction::try_from(message.action) {
        Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
            Err(refused(&gateway.version, &message.version))
        }
        Ok(DowngradeAction::Cancel) => {
            let version = cluster_version(&gateway.version).to_string();
            Ok(Response::new(pb::DowngradeResponse { header: Some(header), version }))
        }
        Err(_) => Err(Status::unknown("etcdserver: unknown method")),
    }
}

/// MAJOR.MINOR of a version.
fn cluster_version(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(cluster, _)| cluster)
}

/// Why a cluster of `version` is not brought to `target`.
fn refused(version: &str, target: &str) -> Status {
    let Some((major, minor)) = parse(target) else {
        return failure::invalid("etcdserver: wrong downgrade target version format");
    };
    match parse(version) {
        Some((from, of)) if from == major && of == minor + 1 => Status::failed_precondition(
            "quorate: there is no older release to go back to; a snapshot is what leads back (etcdctl snapshot save, quorate snapshot \
             restore)",
        ),
        _ => failure::invalid("etcdserver: invalid downgrade target version"),
    }
}

/// The first two of two or three numbers.
fn parse(version: &str) -> Option<(u32, u32)> {
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    match numbers?.as_slice() {
        [major, minor] | [major, minor, _] => Some((*major, *minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Alone, gateway};
    use quorate_proto::etcdserverpb::maintenance_server::Maintenance;

    /// Claim: a target that is none has etcd's texts, the one below is refused with the reason, and there is nothing to cancel.
    #[tokio::test]
    async fn downgrades_are_refused_as_etcd_refuses_them() {
        let gateway = gateway(std::sync::Arc::new(Alone::default()));
        let ask = async |action: DowngradeAction, version: &str| {
            let request = pb::DowngradeRequest { action: action as i32, version: version.into() };
            gateway.downgrade(tonic::Request::new(request)).await.map(|r| r.into_inner().version)
        };
        for action in [DowngradeAction::Validate, DowngradeAction::Enable] {
            for (target, text) in [
                ("3.5", "quorate: there is no older release to go back to"),
                ("3.5.0", "quorate: there is no older release to go back to"),
                ("3.6", "etcdserver: invalid downgrade target version"),
                ("3.4", "etcdserver: invalid downgrade target version"),
                ("2.5", "etcdserver: invalid downgrade target version"),
                ("three", "etcdserver: wrong downgrade target version format"),
                ("3", "etcdserver: wrong downgrade target version format"),
                ("", "etcdserver: wrong downgrade target version format"),
            ] {
                let said = ask(action, target).await.unwrap_err();
                assert!(said.message().starts_with(text), "{target:?}: {said}");
            }
        }
        assert_eq!(ask(DowngradeAction::Cancel, "").await.unwrap(), "3.6");
    }
}
