//! Faults that a node commits by order: only a build with the feature `faults` obeys. See `server::faults`.

use super::{Effect, Stage};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a node may take to listen.
const START: Duration = Duration::from_secs(30);

/// What a node says that it did.
type Counts = BTreeMap<String, i64>;

/// The power of a node, or of all, goes while writes are on their way to the disk: each is lost, kept, or torn.
pub(super) async fn power_loss(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (victims, what) = if stage.rng.chance(1, 4) {
        stage.claim_all().await
    } else {
        let (victim, what) = stage.claim().await;
        (vec![victim], what)
    };
    stage.note("hold-writes", &what);
    for victim in victims.iter().map(|claim| claim.at) {
        stage.order(victim, "disk hold 60").await?;
    }
    stage.hold(300, 3000).await;
    stage.note("power-loss", &what);
    let (mut lost, mut torn, mut kept) = (0, 0, 0);
    for victim in victims.iter().map(|claim| claim.at) {
        let seed = stage.rng.next_u64() >> 1;
        let counts = stage.order(victim, &format!("power-loss {seed}")).await?;
        stage.cluster.kill(victim).await?;
        let of = |name: &str| counts.get(name).copied().unwrap_or(0);
        lost += of("lost");
        torn += of("torn");
        kept += of("kept");
    }
    stage.hold(50, 3000).await;
    for victim in victims.iter().map(|claim| claim.at) {
        stage.cluster.start(victim)?;
    }
    stage.note("power", &what);
    Ok((what, Effect::new((lost + torn) as u64, format!("{lost} writes lost, {torn} torn, {kept} kept"))))
}

/// The clock of a node jumps ahead, runs at another pace, or stands still.
pub(super) async fn clock(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (claim, node) = stage.claim().await;
    let victim = claim.at;
    let (order, how) = match stage.rng.below(4) {
        0 => {
            let ms = stage.rng.between(200, 60_000);
            (format!("clock jump {ms}"), format!("jumps {ms} ms ahead"))
        }
        1 => ("clock rate 0".to_string(), "stands still".to_string()),
        _ => {
            let rate = *stage.rng.pick(&[300, 700, 1300, 3000]);
            (format!("clock rate {rate}"), format!("runs at {rate} thousandths"))
        }
    };
    let what = format!("{node}: {how}");
    let ahead = |counts: &Counts| counts.get("ahead").copied().unwrap_or(0);
    let before = ahead(&stage.order(victim, "counts").await?);
    stage.note("clock", &what);
    stage.order(victim, &order).await?;
    stage.hold(1000, 6000).await;
    let counts = stage.order(victim, "clock rate 1000").await?;
    stage.note("true-clock", &what);
    let wrong = (ahead(&counts) - before).unsigned_abs();
    Ok((what, Effect::new(wrong, format!("the clock is {wrong} ms wrong"))))
}

/// The disk of a node is slow, or fails a sync. A node may stop because of that; then it is started again.
pub(super) async fn disk(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (order, how, counted) = if stage.rng.chance(1, 2) {
        let ms = stage.rng.between(30, 300);
        (format!("disk hold {ms}"), format!("syncs take {ms} ms more"), "held")
    } else {
        ("disk fail".to_string(), "a sync fails".to_string(), "failed")
    };
    bad_disk(stage, &order, &how, counted).await
}

/// The disk of a node has no room for a while. What was confirmed stays so, and the node must serve once there is room again.
pub(super) async fn full(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    bad_disk(stage, "disk full", "no room", "full").await
}

async fn bad_disk(
    stage: &mut Stage<'_>,
    order: &str,
    how: &str,
    counted: &str,
) -> Result<(String, Effect), String> {
    let (claim, node) = stage.claim().await;
    let victim = claim.at;
    let what = format!("{node}: {how}");
    stage.note("disk", &what);
    let count = |counts: &Counts| counts.get(counted).copied().unwrap_or(0) as u64;
    let stops = stage.cluster.excused(victim);
    stage.cluster.bad_disk(victim, true);
    let before = count(&stage.order(victim, order).await?);
    stage.hold(1000, 5000).await;
    // It may stop because of its disk at any moment, and is good again when it was started again.
    stage.cluster.revive(victim)?;
    let met = count(&stage.order(victim, "disk pass").await?).saturating_sub(before);
    stage.whole(victim).await?;
    stage.cluster.bad_disk(victim, false);
    let stops = stage.cluster.excused(victim) - stops;
    let words =
        if stops > 0 { "the node stopped by itself".into() } else { format!("{met} writes or syncs met it") };
    let effect = Effect::new(met + stops, words);
    stage.note("good-disk", &what);
    Ok((what, effect))
}

impl Stage<'_> {
    /// Gives an order to a node that may just be starting. Whether it serves is another question.
    async fn order(&self, at: usize, order: &str) -> Result<Counts, String> {
        let socket = self.cluster.socket(at);
        let end = Instant::now() + START;
        while UnixStream::connect(&socket).await.is_err() {
            self.cluster.revive(at)?;
            if Instant::now() > end {
                return Err(format!("node {} listens to no orders{}", at + 1, self.cluster.tail(at)));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let answer = timeout(PATIENCE, ask(&socket, order)).await;
        let answer = answer.unwrap_or_else(|_| Err(std::io::Error::other("no answer")));
        let text = answer.map_err(|e| format!("node {}: {order}: {e}", at + 1))?;
        let pairs = text.split_whitespace().map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_string(), value.parse().ok()?))
        });
        pairs.collect::<Option<Counts>>().ok_or_else(|| format!("node {}: {order}: {text}", at + 1))
    }
}

async fn ask(socket: &Path, order: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("{order}\n").as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await?;
    Ok(line)
}
