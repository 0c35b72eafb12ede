//! `quorate fence`: the tokens that were shown for names, and forgetting them.

use crate::kv::{problem, read_problem};
use crate::probe::{Cluster, time};
use crate::report::{Exit, Problem, say};
use quorate_client::{Client, ClientError};
use quorate_proto::quoratepb as pb;
use std::fmt::Write;
use std::time::Duration;

const EXAMPLES: &str = "\
A request with the gRPC metadata `quorate-fence: NAME=TOKEN` is refused once a higher token was shown for NAME.

Examples:
  quorate fence list
  quorate kv put report done --fence nightly=42
  quorate fence drop nightly     lower tokens pass again: only when no old holder is left";

/// Show and drop fencing tokens
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    cluster: Cluster,
    /// Speak JSON: one line a result
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", global = true, value_parser = time, default_value = "5s")]
    timeout: Duration,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Show each name with the highest token that was shown for it
    List,
    /// Forget what was shown for a name
    Drop {
        /// The name
        name: String,
    },
}

/// `NAME=TOKEN` as it stands on the command line, in the form of the metadata.
pub(crate) fn metadata(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no fence: write NAME=TOKEN, for example nightly=42");
    let (name, token) = text.rsplit_once('=').ok_or_else(wrong)?;
    let token: u64 = token.parse().map_err(|_| wrong())?;
    if name.is_empty() || name.len() > 256 {
        return Err("the name of a fence has 1 to 256 bytes".into());
    }
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte as char);
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    Ok(format!("{out}={token}"))
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        match tokio::time::timeout(args.timeout, ask(args)).await {
            Ok(done) => done,
            Err(_) => Err(Problem::new(
                Exit::Failed,
                format!("no answer within {:?}", args.timeout),
                "quorate status shows whether the cluster has a leader; --timeout waits longer",
            )),
        }
    })
}

async fn ask(args: &Args) -> Result<(), Problem> {
    let client = Client::connect(&args.cluster.endpoints, 1, args.timeout)
        .await
        .map_err(|e| read_problem(&e, &args.cluster.endpoints))?;
    let mut fences =
        pb::fences_client::FencesClient::new(client.channel(0)).max_decoding_message_size(i32::MAX as usize);
    let failed = |status| problem(&ClientError::Status(status), &args.cluster.endpoints);
    let not_read = |status| read_problem(&ClientError::Status(status), &args.cluster.endpoints);
    match &args.command {
        Command::List => {
            let list = fences.list(pb::FenceListRequest {}).await.map_err(not_read)?.into_inner().fences;
            if list.is_empty() && !args.json {
                eprintln!("no token was shown yet");
            }
            for pb::Fence { name, token } in list {
                let name = String::from_utf8_lossy(&name);
                if args.json {
                    say(&serde_json::json!({ "name": name, "token": token }).to_string());
                } else {
                    say(&format!("{name}={token}"));
                }
            }
        }
        Command::Drop { name } => {
            let name = name.clone().into();
            fences.drop(pb::FenceDropRequest { name }).await.map_err(failed)?;
            say(if args.json { "{\"dropped\":true}" } else { "dropped; lower tokens pass again" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::metadata;

    #[test]
    fn names_are_encoded_and_the_last_sign_parts_name_and_token() {
        assert_eq!(metadata("a=b c=7").as_deref(), Ok("a%3Db%20c=7"));
        for bad in ["", "a", "=1", "a=", "a=x", "a=-1"] {
            assert!(metadata(bad).is_err(), "{bad}");
        }
    }
}
