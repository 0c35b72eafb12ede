//! Generates the types from `proto/`, in Rust alone: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        ["proto/rpc.proto", "proto/lock.proto", "proto/election.proto", "proto/quorate.proto"],
        ["proto"],
    )?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
