//! Watches: one that goes on through every fault and resumes where it was cut, and one reading of a stretch of history.

use crate::check::Event;
use crate::load::{PREFIX, parse};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a stream may say nothing before it is opened anew; a frozen node says nothing for ever.
const SILENCE: Duration = Duration::from_secs(3);

/// A watch of everything from a revision on, over one endpoint, that resumes.
pub struct Follower {
    pub url: String,
    state: Rc<RefCell<Followed>>,
}

#[derive(Default)]
struct Followed {
    events: VecDeque<Event>,
    wrong: Option<String>,
    resumed: u64,
}

impl Follower {
    /// Follows from `revision` on. To be called within a `LocalSet`.
    pub fn start(url: &str, revision: i64) -> Self {
        let state = Rc::new(RefCell::new(Followed::default()));
        let (url, shared) = (url.to_string(), Rc::clone(&state));
        let follower = Self { url: url.clone(), state };
        tokio::task::spawn_local(async move {
            let mut next = revision;
            loop {
                let take = |event: Event| {
                    shared.borrow_mut().events.push_back(event);
                    true
                };
                match stretch(&url, &mut next, SILENCE, take).await {
                    Ok(()) => {}
                    Err(Cut::Wrong(what)) => {
                        shared.borrow_mut().wrong = Some(what);
                        return;
                    }
                    Err(Cut::Lost(_)) => {
                        shared.borrow_mut().resumed += 1;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        follower
    }

    /// How often it resumed.
    pub fn resumed(&self) -> u64 {
        self.state.borrow().resumed
    }

    /// Waits until it has told as many events as these, and that they are the same. What it told beyond them is kept: a
    /// write in doubt may have come since.
    pub async fn agrees(&self, events: &[Event], patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        loop {
            {
                let mut state = self.state.borrow_mut();
                if let Some(wrong) = &state.wrong {
                    return Err(format!("watch over {}: {wrong}", self.url));
                }
                if state.events.len() >= events.len() {
                    let told: Vec<Event> = state.events.drain(..events.len()).collect();
                    return match told.iter().zip(events).find(|(told, event)| told != event) {
                        Some((told, event)) => {
                            Err(format!("watch over {}: {told:?} in place of {event:?}", self.url))
                        }
                        None => Ok(()),
                    };
                }
                if Instant::now() > end {
                    let (told, all) = (state.events.len(), events.len());
                    return Err(format!(
                        "watch over {}: {told} of {all} events after {patience:?}",
                        self.url
                    ));
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Why a watch ended.
#[derive(Debug)]
pub enum Cut {
    /// The stream was lost, as streams may be.
    Lost(String),
    /// It said what no watch may say.
    Wrong(String),
}

/// Reads events from `next` on, which moves along, until `take` says that it has enough.
pub async fn stretch(
    url: &str,
    next: &mut i64,
    silence: Duration,
    mut take: impl FnMut(Event) -> bool,
) -> Result<(), Cut> {
    let lost = |what: String| Cut::Lost(what);
    let channel = e2e_cluster::connect(url).map_err(|e| lost(e.to_string()))?;
    let mut client = WatchClient::new(channel).max_decoding_message_size(1 << 30);
    let create = pb::WatchCreateRequest {
        key: PREFIX.into(),
        range_end: "kill0".into(),
        start_revision: *next,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The sender is kept, so that our half of the stream stays open.
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let _ = sender.send(request).await;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut stream = match timeout(silence, client.watch(requests)).await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Err(lost(status.to_string())),
        Err(_) => return Err(lost("no answer".into())),
    };
    loop {
        let reply = match timeout(silence, stream.message()).await {
            Ok(Ok(Some(reply))) => reply,
            Ok(Ok(None)) => return Err(lost("ended".into())),
            Ok(Err(status)) => return Err(lost(status.to_string())),
            Err(_) => return Err(lost("silent".into())),
        };
        if reply.canceled {
            return Err(Cut::Wrong(format!("cancelled: {reply:?}")));
        }
        for event in reply.events {
            let event = seen(&event).map_err(Cut::Wrong)?;
            if event.revision < *next {
                return Err(Cut::Wrong(format!("{event:?} although {next} was next")));
            }
            *next = event.revision + 1;
            if !take(event) {
                return Ok(());
            }
        }
    }
}

/// An event in the terms of the check.
fn seen(event: &quorate_proto::mvccpb::Event) -> Result<Event, String> {
    let kv = event.kv.as_ref().ok_or("an event of nothing")?;
    let parsed = parse(&kv.key, &kv.value);
    let (key, value) = parsed.ok_or_else(|| format!("an event that nobody caused: {event:?}"))?;
    Ok(Event { revision: kv.mod_revision, key, value, version: kv.version })
}

/// All events from `first` to `last`, over `url`.
pub async fn history(url: &str, first: i64, last: i64, patience: Duration) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let mut next = first;
    let end = Instant::now() + patience;
    while next <= last {
        let read = stretch(url, &mut next, SILENCE, |event| {
            events.push(event);
            event.revision < last
        });
        match read.await {
            Ok(()) => {}
            Err(Cut::Wrong(what)) => return Err(format!("history over {url}: {what}")),
            Err(Cut::Lost(why)) if Instant::now() > end => {
                return Err(format!("history over {url} stops before {next} of {last}: {why}"));
            }
            Err(Cut::Lost(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Ok(events)
}
