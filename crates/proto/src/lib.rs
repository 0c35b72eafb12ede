//! Generated protobuf and gRPC types of etcd's version 3 interface.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated code")]

/// All of it as a set of descriptors, for whoever reads and writes messages by their names.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The pair and the event.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The services.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Locks.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Elections.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// What Quorate serves beside etcd's interface.
pub mod quoratepb {
    tonic::include_proto!("quoratepb");
}
