//! Processes that are killed, and processes that stand still.

use super::{Effect, Stage, named};
use crate::clock;
use crate::op::Kind;
use crate::record::Event;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A holder is looked for this long.
const LOOK: Duration = Duration::from_secs(10);
/// A successor is waited for this long.
const SUCCESSOR: Duration = Duration::from_secs(30);
/// More than a client's newest line.
const NEWEST: u64 = 4096;

/// One node, or all at once, by `kill -9`; started again after a while. What the kernel holds survives this: it shows what a
/// process forgets, not what a disk does.
pub(super) async fn kill(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (victims, what) = if stage.rng.chance(1, 6) {
        stage.claim_all().await
    } else {
        let (victim, what) = stage.claim().await;
        (vec![victim], what)
    };
    stage.note("kill", &what);
    let mut killed = 0;
    for victim in &victims {
        killed += u64::from(stage.cluster.kill(victim.at).await?);
    }
    stage.hold(50, 4000).await;
    for victim in &victims {
        stage.cluster.start(victim.at)?;
    }
    stage.note("restart", &what);
    Ok((what, Effect::new(killed, format!("{killed} processes gone by the signal"))))
}

/// One node, or a majority, by SIGSTOP: its connections stay, its clock goes on, and it knows of nothing.
pub(super) async fn pause(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let nodes = stage.cluster.len();
    let (first, mut what) = stage.claim().await;
    let mut victims = vec![first];
    if nodes > 2 && stage.rng.chance(1, 4) {
        let first = victims[0].at;
        victims.extend((1..=nodes / 2).filter_map(|step| stage.cluster.claim((first + step) % nodes)));
        what = named(&victims);
    }
    stage.note("pause", &what);
    for victim in &victims {
        stage.cluster.freeze(victim.at).await?;
    }
    stage.hold(300, 6000).await;
    for victim in &victims {
        stage.cluster.thaw(victim.at).await?;
    }
    stage.note("resume", &what);
    let frozen = victims.len() as u64;
    Ok((what, Effect::new(frozen, format!("{frozen} processes seen stopped"))))
}

/// A client that holds a lock and is between its read and its write stands still until its lease is over for long.
pub(super) async fn pause_holder(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let _turn = stage.turns.holder.lock().await;
    let end = Instant::now() + LOOK;
    let (client, file) = loop {
        let inside = stage.lockers.iter().find(|(_, file)| is_inside(file));
        match inside {
            Some((client, file)) => break (&stage.clients[*client], file),
            None if Instant::now() > end => {
                return Ok(("no holder of a lock".into(), Effect::new(0, "none was found")));
            }
            None => sleep(Duration::from_millis(5)).await,
        }
    };
    client.freeze().await?;
    let what = format!("{}, which holds the lock", client.what());
    stage.note("pause", &what);
    // A lease may live longer than it says: what counts is that another client has held the lock and written.
    let (since, end) = (clock::now(), Instant::now() + SUCCESSOR);
    let written = || stage.lockers.iter().any(|(_, other)| other != file && has_written(other, since));
    let mut succeeded = written();
    while !succeeded && Instant::now() < end {
        sleep(Duration::from_millis(5)).await;
        succeeded = written();
    }
    let caught = u64::from(is_inside(file) && succeeded);
    client.thaw().await?;
    stage.note("resume", &what);
    Ok((
        what,
        Effect::new(
            caught,
            format!("{caught} holders stopped between read and write, until another one had written"),
        ),
    ))
}

/// True where the newest event of a client is the beginning of its change.
fn is_inside(file: &Path) -> bool {
    newest(file).is_some_and(|event| event.f == "update" && event.kind == Kind::Invoke)
}

/// True where a client has made a change since, and has hardly gone on.
fn has_written(file: &Path, since: i64) -> bool {
    newest(file).is_some_and(|event| {
        event.time > since && (event.f == "release" || event.f == "update" && event.kind == Kind::Ok)
    })
}

/// The newest event of a client.
fn newest(file: &Path) -> Option<Event> {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(file)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(NEWEST)))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().ok()?;
    text.lines().last().and_then(|line| serde_json::from_str(line).ok())
}
