//! Links that are cut or slow: between nodes, and between clients and nodes.

use super::{Effect, Stage};
use crate::link::{End, Rule};
use crate::target;
use std::time::Duration;

/// The shapes of partitions.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Two groups, neither hears the other.
    Halves,
    /// Each node hears its two neighbours alone; of three nodes, two cannot hear each other.
    Ring,
    /// Two groups, and one node that hears both.
    Bridge,
    /// A group that is heard, and does not hear.
    OneWay,
    /// The leader with some clients, who hear nobody else.
    Alone,
    /// Halves that come and go.
    Flapping,
}

const SHAPES: [Shape; 6] =
    [Shape::Halves, Shape::Ring, Shape::Bridge, Shape::OneWay, Shape::Alone, Shape::Flapping];

/// A partition of one of the shapes; bytes wait, or connections break.
pub(super) async fn partition(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let shape = *stage.rng.pick(&SHAPES);
    let rule = if stage.rng.chance(2, 3) { Rule::Stall } else { Rule::Reset };
    let how = if rule == Rule::Stall { "stalled" } else { "reset" };
    let net = stage.cluster.net.cut();
    let (cuts, words) = cuts(stage, shape).await;
    let what = format!("{words}, {how}");
    stage.note("partition", &what);
    let times = if matches!(shape, Shape::Flapping) { 4 } else { 1 };
    for time in 0..times {
        if time > 0 {
            net.heal();
            stage.hold(100, 600).await;
        }
        for &(from, to) in &cuts {
            net.set(from, to, rule);
        }
        if times > 1 { stage.hold(200, 1500).await } else { stage.hold(1500, 8000).await }
    }
    net.heal();
    stage.note("heal", &what);
    let done = net.done();
    Ok((what, Effect::new(done.held + done.broken, done.words())))
}

/// Which directions a shape cuts, and the shape in words.
async fn cuts(stage: &mut Stage<'_>, shape: Shape) -> (Vec<(End, End)>, String) {
    let nodes = stage.cluster.len();
    let mut order: Vec<usize> = (0..nodes).collect();
    for at in (1..nodes).rev() {
        order.swap(at, stage.rng.below(at as u64 + 1) as usize);
    }
    let list = |group: &[usize]| group.iter().map(|n| (n + 1).to_string()).collect::<Vec<_>>().join(",");
    let both = |pairs: Vec<(usize, usize)>| -> Vec<(End, End)> {
        pairs
            .into_iter()
            .flat_map(|(a, b)| [(End::Node(a), End::Node(b)), (End::Node(b), End::Node(a))])
            .collect()
    };
    let across = |left: &[usize], right: &[usize]| -> Vec<(usize, usize)> {
        left.iter().flat_map(|&a| right.iter().map(move |&b| (a, b))).collect()
    };
    let (minor, major) = order.split_at(nodes.saturating_sub(1) / 2);
    match shape {
        Shape::Halves => (both(across(minor, major)), format!("halves {} | {}", list(minor), list(major))),
        Shape::Flapping => {
            (both(across(minor, major)), format!("flapping {} | {}", list(minor), list(major)))
        }
        Shape::Ring => {
            let apart =
                |a: usize, b: usize| nodes == 3 && a + b == 2 || nodes > 3 && (b - a) % (nodes - 1) > 1;
            let places: Vec<(usize, usize)> =
                (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))).collect();
            let cut = places.into_iter().filter(|&(a, b)| apart(a, b)).map(|(a, b)| (order[a], order[b]));
            (both(cut.collect()), format!("ring {}", list(&order)))
        }
        Shape::Bridge => {
            let (bridge, rest) = order.split_at(1.min(nodes));
            let (left, right) = rest.split_at(rest.len() / 2);
            (both(across(left, right)), format!("bridge {} | {} | {}", list(left), list(bridge), list(right)))
        }
        Shape::OneWay => {
            let cut = across(major, minor).into_iter().map(|(a, b)| (End::Node(a), End::Node(b)));
            (cut.collect(), format!("one way: {} hear nothing of {}", list(minor), list(major)))
        }
        Shape::Alone => {
            let leader = stage.cluster.leader().await.unwrap_or(order[0]);
            let others: Vec<usize> = (0..nodes).filter(|&n| n != leader).collect();
            let mut cut = both(across(&[leader], &others));
            // Every second client stays with the leader, the others lose it.
            for client in 0..stage.clients.len() {
                let lost = if client % 2 == 0 { others.clone() } else { vec![leader] };
                let pairs = lost.into_iter().map(|node| (End::Client(client), End::Node(node)));
                cut.extend(pairs.flat_map(|(a, b)| [(a, b), (b, a)]));
            }
            (cut, format!("leader {} alone with every second client", leader + 1))
        }
    }
}

/// All links of one node are late or narrow, or all links between nodes.
pub(super) async fn slow(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let nodes = stage.cluster.len();
    let delay = Duration::from_millis(stage.rng.between(20, 400));
    let (rule, how) = if stage.rng.chance(2, 3) {
        (Rule::Delay(delay), format!("{} ms late", delay.as_millis()))
    } else {
        (Rule::Narrow(16 << 10), "16 KiB a second wide".to_string())
    };
    let (victim, who) = stage.victim().await;
    let everywhere = nodes > 1 && stage.rng.chance(1, 3);
    let what = if everywhere {
        format!("all links between nodes {how}")
    } else {
        format!("links of {who}node {} {how}", victim + 1)
    };
    let net = stage.cluster.net.cut();
    stage.note("slow", &what);
    for a in 0..nodes {
        for b in (0..nodes).filter(|&b| b != a) {
            if everywhere || a == victim || b == victim {
                net.set(End::Node(a), End::Node(b), rule);
            }
        }
    }
    if !everywhere {
        for client in 0..stage.clients.len() {
            net.set(End::Client(client), End::Node(victim), rule);
        }
    }
    stage.hold(1500, 8000).await;
    net.heal();
    stage.note("fast", &what);
    let done = net.done();
    Ok((what, Effect::new(done.delayed, done.words())))
}

/// The leader is asked to hand over to another node, which is seen to lead then.
pub(super) async fn transfer(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let none = |why: &str| (why.to_string(), Effect::new(0, "nothing"));
    let Some(leader) = stage.cluster.leader().await else { return Ok(none("no leader was found")) };
    let nodes = stage.cluster.len() as u64;
    let next = (leader as u64 + 1 + stage.rng.below(nodes.max(2) - 1)) % nodes;
    let (from, to) = (&stage.cluster.places[leader], &stage.cluster.places[next as usize]);
    let what = format!("from node {} to node {}", from.id, to.id);
    let (from, to) = (from.direct(), to.direct());
    stage.note("transfer", &what);
    let id = match target::status(&to).await {
        Ok(status) => status.id,
        Err(why) => return Ok(none(&why)),
    };
    if let Err(why) = target::transfer(&from, id).await {
        return Ok((what, Effect::new(0, format!("refused: {why}"))));
    }
    stage.hold(100, 1000).await;
    let led = u64::from(stage.cluster.leader().await == Some(next as usize));
    Ok((what, Effect::new(led, format!("{led} leaders handed over"))))
}
