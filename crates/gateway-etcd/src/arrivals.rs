//! Clients as they connect: so many at once and no more, and none that says nothing.
//!
//! Each connection costs a file descriptor and some memory, so a node has places for a certain number of them, which leaves
//! the files that hold its data alone; who finds no place is turned away at once. Where the system itself has no descriptor
//! left, accepting is tried again after a pause: it fails at once while a client waits, and would be tried without end.
//!
//! A client has a few seconds to begin an HTTP/2 connection or a request of HTTP/1; from then on the library's own times
//! hold (pings there, the time for a request's head here).
//!
//! A node that was just started and does not answer yet (it has no leader, or has not applied all that its leader had committed) lets clients
//! over HTTP/2 wait before a word is exchanged with them, so that those who know other nodes go there, as etcd's do whose server has not
//! joined yet. Pages are served meanwhile, and calls in JSON wait (`json.rs`). Whoever starts the node says when that is over ([`crate::Options::ready`]).
//!
//! A node that has lost its state, and fetches it from its peers, serves pages alone: whoever watches over it must see that it
//! lives, or would start it again, and with it the transfer. Clients come over HTTP/2, are closed at once, and go to
//! other nodes.

use crate::authority::{Tolerant, Wait};
use crate::counted::Counted;
use crate::listening::{Arrived, Listener};
use crate::{Counters, Ready};
use quorate_base::Instant;
use quorate_base::time::{Duration, Throttle};
use quorate_node::api::Door;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_stream::Stream;

/// How long accepting rests when the system refuses.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log tells of clients that could not be served.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long a client may take to begin.
const BEGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Those who connect; it does not end.
pub(crate) struct Arrivals {
    listeners: Vec<Listener>,
    /// The one that is asked first next time: none is served before all others.
    turn: usize,
    most: usize,
    places: Arc<Semaphore>,
    door: Arc<dyn Door>,
    pause: Option<Pin<Box<Sleep>>>,
    counters: Arc<Counters>,
    ready: Option<Ready>,
    started: std::time::Instant,
    full: Throttle,
    failed: Throttle,
}

impl Arrivals {
    /// Takes at most `most` at once from all `listeners`.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        most: usize,
        counters: Arc<Counters>,
        door: Arc<dyn Door>,
        ready: Option<Ready>,
    ) -> Self {
        Self {
            listeners,
            turn: 0,
            door,
            most,
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            pause: None,
            counters,
            ready,
            started: std::time::Instant::now(),
            full: Throttle::new(TELL_EVERY),
            failed: Throttle::new(TELL_EVERY),
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        let count = self.listeners.len();
        for at in (0..count).map(|offset| (self.turn + offset) % count) {
            if let Poll::Ready(accepted) = self.listeners[at].poll_accept(cx) {
                self.turn = (at + 1) % count;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// What a client waits for that comes now.
    fn wait(&mut self) -> Option<Wait> {
        // Once it is over, it is over for all.
        self.ready.take_if(|ready| *ready.borrow());
        let mut ready = self.ready.clone()?;
        Some(Box::pin(async move { drop(ready.wait_for(|ready| *ready).await) }))
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }

    fn turned_away(&mut self) {
        self.counters.turned_away.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        if let Some(missed) = self.full.pass(now) {
            tracing::warn!(
                places = self.most,
                missed,
                "a client was turned away, all places are taken; spread the clients over the nodes, let them share \
                 connections, or raise `ulimit -n` if it is what limits the places"
            );
        }
    }

    fn refused(&mut self, error: &io::Error) {
        let now = self.now();
        if let Some(missed) = self.failed.pass(now) {
            tracing::warn!(
                %error,
                missed,
                "accepting a client failed and is tried again; if files ran out, raise `ulimit -n`"
            );
        }
        self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
    }
}

impl Stream for Arrivals {
    type Item = io::Result<Tolerant<Counted>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            match ready!(this.poll_accept(cx)) {
                Ok(stream) => match this.places.clone().try_acquire_owned() {
                    Ok(place) => {
                        let stream = Counted { stream, counters: this.counters.clone() };
                        let stream = Tolerant::new(stream, place, BEGIN_PATIENCE);
                        let stream = stream.held(this.wait());
                        return Poll::Ready(Some(Ok(stream.pages_only(this.door.away()))));
                    }
                    Err(_) => this.turned_away(),
                },
                // That one was gone before it was here.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => this.refused(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_stream::StreamExt;

    async fn arrivals(most: usize) -> (Arrivals, std::net::SocketAddr, Arc<Counters>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, counters) = (listener.local_addr().unwrap(), Arc::<Counters>::default());
        let door = Arc::new(crate::tests::Alone::default());
        (Arrivals::new(vec![Listener::Port(listener)], most, counters.clone(), door, None), address, counters)
    }

    #[tokio::test]
    async fn who_finds_no_place_is_turned_away_until_one_leaves() {
        let (mut arrivals, address, counters) = arrivals(1).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let served = arrivals.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut buffer = [0; 100];
        let turned_away = tokio::select! {
            read = second.read(&mut buffer) => read,
            _ = arrivals.next() => panic!("there was no place"),
        };
        assert_eq!(turned_away.unwrap(), 0, "closed");
        assert_eq!(counters.turned_away.load(Ordering::Relaxed), 1);
        drop(served);
        let _third = TcpStream::connect(address).await.unwrap();
        arrivals.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_node_without_its_state_serves_pages_alone() {
        let place = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        for (said, served) in
            [(&b"GET /livez HTTP/1.1"[..], true), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false)]
        {
            let (mut client, server) = tokio::io::duplex(100);
            let mut server = Tolerant::new(server, place(), Duration::from_secs(10)).pages_only(true);
            // One byte after the other, as a network may bring them.
            for byte in &said[..said.len() - 1] {
                client.write_all(&[*byte]).await.unwrap();
            }
            client.write_all(&said[said.len() - 1..]).await.unwrap();
            assert_eq!(server.read(&mut [0; 100]).await.is_ok(), served, "{said:?}");
        }
    }

    /// Claim: while the node is not ready, nothing is read on a connection of HTTP/2, and so nothing is answered; a page is served; from
    /// then on all are, also where who was to say so is gone.
    #[tokio::test]
    async fn a_node_that_is_not_ready_lets_clients_wait_and_serves_pages() {
        let (say, ready) = tokio::sync::watch::channel(false);
        let (mut arrivals, address, _) = arrivals(9).await;
        arrivals.ready = Some(ready);
        let mut buffer = [0; 100];
        let mut said = async |what: &[u8]| {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(what).await.unwrap();
            (client, arrivals.next().await.unwrap().unwrap())
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let (_page, mut page) = said(b"GET /livez HTTP/1.1\r\n").await;
        assert!(page.read(&mut buffer).await.unwrap() > 0);
        let (_first, mut first) = said(preface).await;
        let soon = tokio::time::timeout(Duration::from_millis(50), first.read(&mut buffer)).await;
        assert!(soon.is_err(), "{soon:?}");
        say.send_replace(true);
        assert_eq!(first.read(&mut buffer).await.unwrap(), preface.len());
        let (_second, mut second) = said(preface).await;
        drop(say);
        assert_eq!(second.read(&mut buffer).await.unwrap(), preface.len());
    }

    #[tokio::test]
    async fn who_does_not_begin_is_left() {
        let place = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let patience = Duration::from_millis(30);
        for said in [&b""[..], b"PRI * HTTP"] {
            let (mut client, server) = tokio::io::duplex(100);
            let mut server = Tolerant::new(server, place(), patience);
            client.write_all(said).await.unwrap();
            let mut buffer = [0; 100];
            let read = tokio::time::timeout(100 * patience, server.read(&mut buffer));
            let error = read.await.expect("an end").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "after {said:?}");
        }
        let (mut client, server) = tokio::io::duplex(100);
        let mut server = Tolerant::new(server, place(), patience);
        client.write_all(b"GET").await.unwrap();
        assert_eq!(server.read(&mut [0; 100]).await.unwrap(), 3);
        let mut buffer = [0; 100];
        let later = tokio::time::timeout(5 * patience, server.read(&mut buffer));
        assert!(later.await.is_err(), "one that has begun is not this file's affair");
    }
}
