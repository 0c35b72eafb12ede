//! The Maintenance and Auth services, as far as they are there.

use crate::failure::not_yet;
use crate::{Gateway, convert, unexpected};
use quorate_node::api::{Answer, Body, Request};
use quorate_proto::etcdserverpb as pb;
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Response, Status};

type Done<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Gateway {
    async fn status(&self, r: tonic::Request<pb::StatusRequest>) -> Done<pb::StatusResponse> {
        match self.ask(r.metadata(), Request::Status).await? {
            Answer { head, body: Body::Status(s) } => Ok(Response::new(pb::StatusResponse {
                header: Some(convert::header(head)),
                version: self.version.to_string(),
                db_size: s.db_size,
                leader: s.leader,
                raft_index: s.commit.get(),
                raft_term: s.term.get(),
                raft_applied_index: s.applied.get(),
                errors: s.errors,
                db_size_in_use: s.db_size_in_use,
                is_learner: s.learner,
                storage_version: self.storage_version(),
                db_size_quota: 0,
                downgrade_info: Some(pb::DowngradeInfo { enabled: false, target_version: String::new() }),
            })),
            other => Err(unexpected(&other.body)),
        }
    }

    /// No alarm can be raised yet, so there is none to list (a health check asks) and none to disarm.
    async fn alarm(&self, r: tonic::Request<pb::AlarmRequest>) -> Done<pb::AlarmResponse> {
        use pb::alarm_request::AlarmAction;
        let header = Some(self.header_now(r.metadata()).await?);
        let action = r.get_ref().action;
        if action == AlarmAction::Get as i32 || action == AlarmAction::Deactivate as i32 {
            return Ok(Response::new(pb::AlarmResponse { header, alarms: vec![] }));
        }
        Err(not_yet("raising an alarm"))
    }

    async fn defragment(&self, _: tonic::Request<pb::DefragmentRequest>) -> Done<pb::DefragmentResponse> {
        Err(not_yet("defragmentation"))
    }

    async fn hash(&self, _: tonic::Request<pb::HashRequest>) -> Done<pb::HashResponse> {
        Err(not_yet("a hash of the store"))
    }

    async fn hash_kv(&self, _: tonic::Request<pb::HashKvRequest>) -> Done<pb::HashKvResponse> {
        Err(not_yet("a hash of the keys"))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send + 'static>>;

    async fn snapshot(&self, _: tonic::Request<pb::SnapshotRequest>) -> Done<Self::SnapshotStream> {
        Err(not_yet("saving a snapshot"))
    }

    async fn move_leader(&self, r: tonic::Request<pb::MoveLeaderRequest>) -> Done<pb::MoveLeaderResponse> {
        self.moved_leader(r).await
    }

    async fn downgrade(&self, _: tonic::Request<pb::DowngradeRequest>) -> Done<pb::DowngradeResponse> {
        Err(not_yet("a downgrade"))
    }
}

/// The service with every call about users and roles that changes or shows something refused.
macro_rules! auth_service {
    ($($refused:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl pb::auth_server::Auth for Gateway {
            async fn authenticate(
                &self,
                r: tonic::Request<pb::AuthenticateRequest>,
            ) -> Done<pb::AuthenticateResponse> {
                self.require_leader(r.metadata())?;
                // Clients with a user name go on without a token on just this text.
                Err(Status::failed_precondition("etcdserver: authentication is not enabled"))
            }

            async fn auth_status(&self, r: tonic::Request<pb::AuthRequest>) -> Done<pb::AuthStatusResponse> {
                let header = Some(self.header_now(r.metadata()).await?);
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            $(
                async fn $refused(&self, _: tonic::Request<pb::AuthRequest>) -> Done<pb::AuthResponse> {
                    Err(not_yet("authentication"))
                }
            )*
        }
    };
}

auth_service!(
    auth_enable,
    auth_disable,
    user_add,
    user_get,
    user_list,
    user_delete,
    user_change_password,
    user_grant_role,
    user_revoke_role,
    role_add,
    role_get,
    role_list,
    role_delete,
    role_grant_permission,
    role_revoke_permission,
);
