//! Why there is no answer, in etcd's codes and texts. Clients compare these texts; each stands here once.

use quorate_node::api::Failure;
use quorate_wire::kv::Refused;
use quorate_wire::members::Refusal;
use quorate_wire::table::Refusal as TableRefusal;
use tonic::{Code, Status};

pub(crate) fn status(failure: &Failure) -> Status {
    let (code, text) = match failure {
        Failure::Refused(refused, _) => return refused_status(refused),
        Failure::NoLeader => (Code::Unavailable, "etcdserver: no leader"),
        Failure::TimedOut => (Code::Unavailable, "etcdserver: request timed out"),
        Failure::LeaderChanged => (Code::Unavailable, "etcdserver: leader changed"),
        Failure::Overloaded => (Code::ResourceExhausted, "etcdserver: too many requests"),
        Failure::TooLarge => (Code::InvalidArgument, "etcdserver: request is too large"),
        Failure::Learner => (Code::FailedPrecondition, "etcdserver: rpc not supported for learner"),
        Failure::Stopping => (Code::Unavailable, "etcdserver: server stopped"),
        Failure::Members(why) => return members_status(*why),
        Failure::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
        Failure::BadTransferee => (Code::FailedPrecondition, "etcdserver: bad leader transferee"),
        Failure::Broken(why) => return Status::data_loss(format!("etcdserver: corrupt cluster: {why}")),
    };
    Status::new(code, text)
}

fn refused_status(refused: &Refused) -> Status {
    let (code, text) = match refused {
        Refused::Compacted { .. } => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        }
        Refused::FutureRevision => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        Refused::LeaseNotFound => (Code::NotFound, "etcdserver: requested lease not found"),
        Refused::LeaseExists => (Code::FailedPrecondition, "etcdserver: lease already exists"),
        Refused::KeyNotFound => (Code::InvalidArgument, "etcdserver: key not found"),
        Refused::UnknownCommand => {
            (Code::Unimplemented, "quorate: a node of this cluster is of an older release; update it")
        }
        Refused::Fenced { token } => {
            return Status::failed_precondition(format!(
                "quorate: fenced: token {token} has been shown for this name, a higher one than this request's"
            ));
        }
        Refused::FencesFull => (
            Code::ResourceExhausted,
            "quorate: as many names are fenced as may be; drop some with `quorate fence drop`",
        ),
        Refused::FenceName => (Code::InvalidArgument, "quorate: the name of a fence has 1 to 256 bytes"),
        Refused::NoFence => (Code::NotFound, "quorate: no token was shown for this name"),
        Refused::NoSpace => (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        Refused::Corrupt => (Code::DataLoss, "etcdserver: corrupt cluster"),
        Refused::TooManyAlarms => {
            (Code::ResourceExhausted, "quorate: too many alarms stand; disarm some of them")
        }
        Refused::Table(TableRefusal::Limit(_)) => {
            (Code::ResourceExhausted, "quorate: as many members are to leave as may be at once")
        }
        Refused::Table(_) => {
            (Code::Internal, "quorate: the machine of tables was asked, and not by this door")
        }
        Refused::KeyTooLong => {
            (Code::InvalidArgument, "quorate: the key is too long: it may have 32000 bytes at most")
        }
    };
    Status::new(code, text)
}

fn members_status(refusal: Refusal) -> Status {
    let (code, text) = match refusal {
        Refusal::NotFound => (Code::NotFound, "etcdserver: member not found"),
        Refusal::UrlExists => (Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
        Refusal::NotLearner => (Code::FailedPrecondition, "etcdserver: can only promote a learner member"),
        Refusal::NotReady => (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        Refusal::TooManyLearners => {
            (Code::FailedPrecondition, "etcdserver: too many learner members in cluster")
        }
        Refusal::NotEnoughStarted => (
            Code::FailedPrecondition,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        Refusal::Unhealthy => (Code::Unavailable, "etcdserver: unhealthy cluster"),
        Refusal::TooLarge => {
            (Code::InvalidArgument, "quorate: the members are too many, or their URLs too many or too long")
        }
    };
    Status::new(code, text)
}

/// A request that makes no sense.
pub(crate) fn invalid(text: &'static str) -> Status {
    Status::invalid_argument(text)
}

/// What is not there yet.
pub(crate) fn not_yet(what: &str) -> Status {
    Status::unimplemented(format!("quorate: {what} is not available in this release"))
}
