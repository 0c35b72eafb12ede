//! How large a request may be: etcd's `--max-request-bytes` and `--max-txn-ops`, and its defaults.
//!
//! They are the door's, not the log's: members may have different ones, and what one has taken all apply.

use crate::failure;
use prost::Message;
use quorate_node::api::Failure;
use tonic::Status;

/// The bounds of one door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request that is taken, encoded.
    pub request_bytes: usize,
    /// The most compares, or operations of one branch, in a transaction with all that is nested in it.
    pub txn_ops: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 3 << 19, txn_ops: 128 }
    }
}

impl Limits {
    /// So much etcd advises at most, and the log takes no command that is much larger.
    pub const REQUEST_BYTES_MAX: usize = 10 << 20;

    /// The largest message that is read off the wire.
    pub(crate) fn decoded(self) -> usize {
        self.request_bytes + (512 << 10)
    }

    /// So much a body of JSON may have: a request in base64, and what stands around it.
    pub(crate) fn body(self) -> usize {
        2 * self.decoded()
    }

    /// Refuses what the log would not take.
    pub(crate) fn check(self, request: &impl Message) -> Result<(), Status> {
        if request.encoded_len() > self.request_bytes {
            Err(failure::status(&Failure::TooLarge))
        } else {
            Ok(())
        }
    }
}
