//! The Maintenance and Auth services, as far as they are there.

use crate::calls::Heard;
use crate::failure::not_yet;
use crate::{Gateway, convert, downgrade, maintenance, snapshot, unexpected};
use quorate_node::api::{Answer, Body, Request};
use quorate_proto::etcdserverpb as pb;
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
                errors: maintenance::errors(&s),
                // All of it: what is compacted is not counted, and nothing waits for a defragmentation.
                db_size_in_use: s.db_size,
                is_learner: s.learner,
                storage_version: self.storage_version(),
                db_size_quota: s.quota,
                downgrade_info: Some(pb::DowngradeInfo { enabled: false, target_version: String::new() }),
            })),
            other => Err(unexpected(&other.body)),
        }
    }

    async fn alarm(&self, r: tonic::Request<pb::AlarmRequest>) -> Done<pb::AlarmResponse> {
        maintenance::alarm(self, r).await
    }

    async fn defragment(&self, r: tonic::Request<pb::DefragmentRequest>) -> Done<pb::DefragmentResponse> {
        maintenance::defragment(self, r.metadata()).await
    }

    async fn hash(&self, r: tonic::Request<pb::HashRequest>) -> Done<pb::HashResponse> {
        maintenance::hash(self, r.metadata()).await
    }

    async fn hash_kv(&self, r: tonic::Request<pb::HashKvRequest>) -> Done<pb::HashKvResponse> {
        maintenance::hash_kv(self, r).await
    }

    type SnapshotStream = snapshot::Messages;

    async fn snapshot(&self, r: tonic::Request<pb::SnapshotRequest>) -> Done<Self::SnapshotStream> {
        Heard::one(r.extensions().get());
        snapshot::open(self, r.metadata()).await.map(Response::new)
    }

    async fn move_leader(&self, r: tonic::Request<pb::MoveLeaderRequest>) -> Done<pb::MoveLeaderResponse> {
        self.moved_leader(r).await
    }

    async fn downgrade(&self, r: tonic::Request<pb::DowngradeRequest>) -> Done<pb::DowngradeResponse> {
        downgrade::answer(self, r).await
    }
}

/// The service with every call about users and roles that changes something refused. There are none: lists are empty, which programs ask for
/// to see that somebody answers, and nobody is found by name.
macro_rules! auth_service {
    ([$($list:ident),*], [$(($get:ident, $missing:literal)),*], $($refused:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl pb::auth_server::Auth for Gateway {
            async fn authenticate(
                &self,
                r: tonic::Request<pb::AuthenticateRequest>,
            ) -> Done<pb::AuthenticateResponse> {
                self.require_voter()?;
                self.require_leader(r.metadata())?;
                // Clients with a user name go on without a token on just this text.
                Err(Status::failed_precondition("etcdserver: authentication is not enabled"))
            }

            async fn auth_status(&self, r: tonic::Request<pb::AuthRequest>) -> Done<pb::AuthStatusResponse> {
                let header = Some(self.header_now(r.metadata()).await?);
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            $(
                async fn $list(&self, r: tonic::Request<pb::AuthRequest>) -> Done<pb::AuthResponse> {
                    let header = Some(self.header_now(r.metadata()).await?);
                    Ok(Response::new(pb::AuthResponse { header }))
                }
            )*

            $(
                async fn $get(&self, r: tonic::Request<pb::AuthRequest>) -> Done<pb::AuthResponse> {
                    self.header_now(r.metadata()).await?;
                    Err(Status::failed_precondition($missing))
                }
            )*

            $(
                async fn $refused(&self, _: tonic::Request<pb::AuthRequest>) -> Done<pb::AuthResponse> {
                    Err(not_yet("authentication"))
                }
            )*
        }
    };
}

auth_service!(
    [user_list, role_list],
    [(user_get, "etcdserver: user name not found"), (role_get, "etcdserver: role name not found")],
    auth_enable,
    auth_disable,
    user_add,
    user_delete,
    user_change_password,
    user_grant_role,
    user_revoke_role,
    role_add,
    role_delete,
    role_grant_permission,
    role_revoke_permission,
);
