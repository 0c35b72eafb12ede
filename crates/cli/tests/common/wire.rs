//! Bytes of HTTP/2 and of the peer protocol, made by hand so that they can be wrong.

use std::future::poll_fn;
use std::pin::Pin;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Body as _, Service, http};
use tonic::transport::Channel;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Settings that change nothing.
pub(crate) fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// The headers of a call, as literals without a place in the table.
pub(crate) fn call(path: &str) -> Vec<u8> {
    call_to("a", path)
}

/// The same, to this authority.
pub(crate) fn call_to(authority: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Asks over HTTP/2 with a body of any form; the status of HTTP and, if there is one, of gRPC.
pub(crate) async fn ask(
    mut channel: Channel,
    host: &str,
    path: &str,
    content: &str,
    body: &str,
) -> (u16, Option<Status>) {
    let request = http::Request::post(format!("http://{host}{path}"))
        .header("content-type", content)
        .header("te", "trailers")
        .body(Body::new(body.to_string()))
        .unwrap();
    poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let response = channel.call(request).await.unwrap();
    let status = response.status().as_u16();
    if let Some(found) = Status::from_header_map(response.headers()) {
        return (status, Some(found));
    }
    let mut body = response.into_body();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Some(found) = frame.trailers_ref().and_then(Status::from_header_map) {
            return (status, Some(found));
        }
    }
    (status, None)
}

/// The version of the peer protocol that nodes of this release speak.
pub(crate) const PEER_VERSION: u16 = 16;

/// The greeting of the peer protocol.
#[derive(Clone, Copy)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) cluster: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) life: u64,
    pub(crate) member_at: u64,
    pub(crate) run: u64,
}

impl Hello {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = b"QRTpeer\0".to_vec();
        out.extend_from_slice(&self.version.to_le_bytes());
        for n in [self.cluster, self.from, self.to, self.life] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&crc32c(&out).to_le_bytes());
        if self.version == PEER_VERSION {
            out.extend_from_slice(&self.member_at.to_le_bytes());
            out.extend_from_slice(&self.run.to_le_bytes());
            // It does not say with what it began.
            out.extend_from_slice(&[0; 24]);
            out.push(0);
            out.extend_from_slice(&crc32c(&out).to_le_bytes());
        }
        out
    }
}

/// A packet of the peer protocol with this body.
pub(crate) fn packet(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes(), &crc32c(body).to_le_bytes(), body].concat()
}

/// CRC-32C (Castagnoli), a bit at a time.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    };
    !bytes.iter().fold(u32::MAX, step)
}
