//! The connections: HTTP/2 for gRPC and HTTP/1 for pages, told apart by how they begin, each served in a task of
//! its own.

use crate::arrivals::Arrivals;
use crate::front::Front;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt;

/// Serves those who connect until `shutdown` completes; then what was begun is still answered.
pub(crate) async fn serve(mut arrivals: Arrivals, front: Arc<Front>, shutdown: impl Future<Output = ()>) {
    let (builder, connections) = (builder(), GracefulShutdown::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            stream = arrivals.next() => match stream {
                Some(Ok(stream)) => stream,
                Some(Err(_)) => continue,
                None => break,
            },
        };
        let front = front.clone();
        let service = service_fn(move |request| front.clone().answer(request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client's connection failed");
            }
        });
    }
    // Who comes now is refused at once rather than left to wait.
    drop(arrivals);
    connections.shutdown().await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // A client of HTTP/1 has the library's time for a request's head.
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        // A window that is filled by one message of many small ones, and a connection's by some streams: so much a
        // client can make the door hold that nobody has read yet.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        // As many watches and calls over one connection as a client likes (`unfinished.rs` counts them over all of
        // them), and as many of them cancelled.
        .max_concurrent_streams(u32::MAX)
        .max_pending_accept_reset_streams(20_000)
        .max_local_error_reset_streams(20_000)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
