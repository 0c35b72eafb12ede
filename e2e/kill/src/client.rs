//! A client for large answers, and errors as the runs of this program give them.

use quorate_proto::etcdserverpb::kv_client::KvClient;
use tonic::transport::Channel;

/// Takes answers of up to 64 MiB.
pub fn client(url: &str) -> Result<KvClient<Channel>, String> {
    Ok(KvClient::new(e2e_cluster::connect(url).map_err(said)?).max_decoding_message_size(64 << 20))
}

/// The words of an error.
#[allow(clippy::needless_pass_by_value, reason = "as `map_err` passes it")]
pub fn said(error: std::io::Error) -> String {
    error.to_string()
}
