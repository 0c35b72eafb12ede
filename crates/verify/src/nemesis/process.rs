//! Processes that are killed, and processes that stand still.

use super::{Effect, Stage};
use crate::door::LOCK_TTL;
use crate::op::Kind;
use crate::record::Event;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A holder is looked for this long.
const LOOK: Duration = Duration::from_secs(10);
/// More than a client's newest line.
const NEWEST: u64 = 4096;

/// One node, or all at once, by `kill -9`; started again after a while. What the kernel holds survives this: it shows what a
/// process forgets, not what a disk does.
pub(super) async fn kill(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (victims, what) = if stage.rng.chance(1, 6) {
        ((0..stage.cluster.len()).collect(), "all nodes".to_string())
    } else {
        let (victim, who) = stage.victim().await;
        (vec![victim], format!("{who}node {}", victim + 1))
    };
    stage.note("kill", &what);
    let mut killed = 0;
    for &victim in &victims {
        killed += u64::from(stage.cluster.kill(victim).await?);
    }
    stage.hold(50, 4000).await;
    for &victim in &victims {
        stage.cluster.start(victim)?;
    }
    stage.note("restart", &what);
    Ok((what, Effect::new(killed, format!("{killed} processes gone by the signal"))))
}

/// One node, or a majority, by SIGSTOP: its connections stay, its clock goes on, and it knows of nothing.
pub(super) async fn pause(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let nodes = stage.cluster.len();
    let (first, who) = stage.victim().await;
    let mut victims = vec![first];
    let mut what = format!("{who}node {}", first + 1);
    if nodes > 2 && stage.rng.chance(1, 4) {
        victims.extend((1..=nodes / 2).map(|step| (first + step) % nodes));
        what =
            format!("nodes {}", victims.iter().map(|v| (v + 1).to_string()).collect::<Vec<_>>().join(", "));
    }
    stage.note("pause", &what);
    for &victim in &victims {
        stage.cluster.freeze(victim).await?;
    }
    stage.hold(300, 6000).await;
    for &victim in &victims {
        stage.cluster.thaw(victim).await?;
    }
    stage.note("resume", &what);
    let frozen = victims.len() as u64;
    Ok((what, Effect::new(frozen, format!("{frozen} processes seen stopped"))))
}

/// A client that holds a lock and is between its read and its write stands still until its lease is over for long.
pub(super) async fn pause_holder(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
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
    // A lease may live longer than it says, and another client must get its turn.
    let ms = (LOCK_TTL * 1000) as u64 + stage.rng.between(2500, 4500);
    sleep(Duration::from_millis(ms)).await;
    let caught = u64::from(is_inside(file));
    client.thaw().await?;
    stage.note("resume", &what);
    Ok((what, Effect::new(caught, format!("{caught} holders stopped between read and write"))))
}

/// True where the newest event of a client is the beginning of its change.
fn is_inside(file: &Path) -> bool {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(file)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(NEWEST)))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let newest: Option<Event> = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    newest.is_some_and(|event| event.f == "update" && event.kind == Kind::Invoke)
}
