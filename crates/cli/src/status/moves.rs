//! Of `quorate status`: which replicas of tables' shards move, how many are still to be moved, which members are to leave, and of which
//! shards two replicas are in one zone.

use super::Line;
use crate::probe;
use crate::report::many;
use quorate_proto::quoratepb as pb;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many moves are shown to people; scripts see all.
const SHOWN: usize = 8;

/// What moves.
#[derive(Serialize, Default, Debug, PartialEq, Eq)]
pub(super) struct Moves {
    /// About so many replicas are still to be moved, with those that do.
    left: u64,
    moving: Vec<Move>,
    leaving: Vec<Leaver>,
    /// Shards of which two or more replicas are in one zone.
    close: Vec<Close>,
    /// Shards of which there are fewer copies than their table asks for, and no more are to come.
    short: Vec<Short>,
    /// In which zones members are; it stands with the nodes.
    #[serde(skip)]
    pub(super) zones: BTreeMap<u64, String>,
}

/// So many shards of a table have fewer copies than it asks for.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Short {
    table: String,
    shards: u32,
    /// One of them has so few.
    copies: u32,
    asked: u32,
}

impl From<pb::Short> for Short {
    fn from(told: pb::Short) -> Self {
        let pb::Short { table, shards, copies, asked } = told;
        Self { table, shards, copies, asked }
    }
}

impl Short {
    fn words(&self) -> String {
        let Self { table, shards, copies, asked } = self;
        let have = if *shards == 1 { "has" } else { "have" };
        let survives = |copies: u32| many(u64::from(copies.saturating_sub(1) / 2), "failure");
        format!(
            "{} of {table} {have} {copies} of the {asked} copies that it asks for: it survives {} instead of {}; `quorate node add` brings \
             the others",
            many((*shards).into(), "shard"),
            survives(*copies),
            survives(*asked),
        )
    }
}

/// So many shards of a table have two or more replicas in one zone.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Close {
    table: String,
    shards: u32,
    /// So many replicas of one are in one zone, at most.
    most: u32,
    /// So many shards have it so still when all moves are through, for want of zones.
    stay: u32,
}

impl Close {
    /// In words, where so many members are to leave.
    fn words(&self, leaving: usize) -> String {
        let what = |shards: u32, have: [&str; 2]| {
            let have = if shards == 1 { have[0] } else { have[1] };
            let replicas = match self.most {
                ..3 => "two replicas".to_string(),
                most => format!("{} replicas", crowd(most)),
            };
            let upto = if self.most > 2 && shards > 1 { "up to " } else { "" };
            format!("{} of {} {have} {upto}{replicas} in one zone", many(shards.into(), "shard"), self.table)
        };
        let without = if leaving > 0 { " without the members that are to leave" } else { "" };
        let few = format!(
            "there are too few zones{without} for as many copies: `quorate node add` in another one parts them"
        );
        match (self.shards, self.stay) {
            (0, stay) => format!("{}; {few}", what(stay, ["comes to have", "come to have"])),
            (shards, 0) => format!("{}; moves part them", what(shards, ["has", "have"])),
            (shards, stay) if stay >= shards => format!("{}; {few}", what(shards, ["has", "have"])),
            (shards, stay) => {
                format!("{}; moves part them but for {stay}, for which {few}", what(shards, ["has", "have"]))
            }
        }
    }
}

/// A small number in words.
pub(crate) fn crowd(most: u32) -> String {
    match most {
        2 => "two".into(),
        3 => "three".into(),
        4 => "four".into(),
        5 => "five".into(),
        most => most.to_string(),
    }
}

/// A shard that moves.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Move {
    table: String,
    shard: u32,
    from: Vec<u64>,
    to: Vec<u64>,
    /// At what it is, as its leader knows it; `None` where no leader answers.
    step: Option<Step>,
}

/// At what a move is.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Step {
    /// In this order: waits, listens, snapshot, catches-up, votes, ends.
    name: String,
    /// For so long.
    ms: u64,
    /// For so long it moves, since its leader knows of it.
    moves_ms: u64,
    /// Of a snapshot so many bytes were sent, ...
    sent_bytes: u64,
    /// ... of about so many.
    of_bytes: u64,
    /// What is left of it takes about so long, if it goes on as it did.
    left_ms: Option<u64>,
    /// So many entries are lacking.
    behind: u64,
}

impl Step {
    fn of(told: &pb::Moving) -> Self {
        let left = u128::from(told.of.saturating_sub(told.sent)) * u128::from(told.step_ms);
        let left_ms = left.checked_div(told.sent.into()).and_then(|left| u64::try_from(left).ok());
        Self {
            name: told.step.clone(),
            ms: told.step_ms,
            moves_ms: told.moves_ms,
            sent_bytes: told.sent,
            of_bytes: told.of,
            left_ms: left_ms.filter(|_| told.step == "snapshot"),
            behind: told.behind,
        }
    }

    /// In words.
    fn words(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let what = match self.name.as_str() {
            "waits" => {
                "has not begun: too few of its replicas are heard and sound, or its members change".into()
            }
            "listens" => "the new replica is added and has not answered yet".into(),
            "snapshot" => {
                let left = self
                    .left_ms
                    .map_or_else(String::new, |ms| format!(", about {} s left", ms.div_ceil(1_000)));
                format!(
                    "snapshot, {:.1} of about {:.1} MiB sent{left}",
                    mib(self.sent_bytes),
                    mib(self.of_bytes)
                )
            }
            "catches-up" => {
                let entries = if self.behind == 1 { "entry" } else { "entries" };
                format!("the new replica catches up, {} {entries} behind", self.behind)
            }
            "votes" => "the new replica gets its vote".into(),
            "ends" => "all is there, the old replica goes".into(),
            other => other.to_string(),
        };
        format!("{what} (for {} s, moving for {} s)", self.ms / 1_000, self.moves_ms / 1_000)
    }
}

/// A member that is to leave.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Leaver {
    node: u64,
    /// Of so many shards it has something, ...
    shards: u64,
    /// ... of which so many cannot go: too few members would be left for their copies.
    stuck: u64,
}

impl From<pb::MovesResponse> for Moves {
    fn from(told: pb::MovesResponse) -> Self {
        let moving = told.moves.into_iter().map(|m| Move {
            table: m.table,
            shard: m.shard,
            from: m.from,
            to: m.to,
            step: None,
        });
        let leaving = told.leavers.into_iter().filter(|l| l.leaves).map(|l| Leaver {
            node: l.node,
            shards: l.shards,
            stuck: l.stuck,
        });
        let close = told.close.into_iter().map(|c| {
            let (most, stay) = (c.most, c.stay);
            Close { table: c.table, shards: c.shards, most, stay }
        });
        Self {
            left: told.left,
            moving: moving.collect(),
            leaving: leaving.collect(),
            close: close.collect(),
            short: told.short.into_iter().map(Short::from).collect(),
            zones: told.zones.into_iter().map(|zone| (zone.node, zone.name)).collect(),
        }
    }
}

impl Moves {
    /// By the first member that tells, those first that know most; nothing where none does.
    pub(super) async fn asked(nodes: &[Line], patience: Duration) -> Self {
        let mut serve: Vec<&Line> = nodes.iter().filter(|node| node.applied > 0).collect();
        serve.sort_by_key(|node| std::cmp::Reverse(node.applied));
        for node in serve {
            if let Ok(told) = probe::moves(&node.endpoint, patience, 0).await {
                return told.map(Self::from).unwrap_or_default();
            }
        }
        Self::default()
    }

    /// How far the moves are, as the leaders of the shards tell.
    pub(super) fn learn<'a>(&mut self, told: impl Iterator<Item = &'a pb::Moving>) {
        for one in told {
            let of = self.moving.iter_mut().filter(|known| known.shard == one.shard);
            of.for_each(|known| known.step = Some(Step::of(one)));
        }
    }

    /// The same for people; no line where nothing moves.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.left > 0 {
            lines.push(format!(
                "moving: {} on the move, about {} still to be moved",
                many(self.moving.len() as u64, "shard"),
                many(self.left, "replica")
            ));
        }
        for one in self.moving.iter().take(SHOWN) {
            let ids =
                |nodes: &[u64]| nodes.iter().map(|node| format!("{node:x}")).collect::<Vec<_>>().join(", ");
            let named = |word: &str, nodes: &[u64]| {
                if nodes.is_empty() { String::new() } else { format!(" {word} {}", ids(nodes)) }
            };
            let (from, to) = (named("from", &one.from), named("to", &one.to));
            let step = one.step.as_ref().map_or_else(String::new, |step| format!("; {}", step.words()));
            lines.push(format!("  shard {} of {}:{from}{to}{step}", one.shard, one.table));
        }
        if self.moving.len() > SHOWN {
            lines.push(format!("  and {} more", self.moving.len() - SHOWN));
        }
        lines.extend(self.short.iter().take(SHOWN).map(|one| format!("copies: {}", one.words())));
        let close = self.close.iter().take(SHOWN);
        lines.extend(close.map(|one| format!("zones: {}", one.words(self.leaving.len()))));
        lines.extend(self.leaving.iter().map(|one| {
            let stuck = if one.stuck == 0 {
                String::new()
            } else {
                format!(", {} of which stay, since too few other members are there for their copies", one.stuck)
            };
            format!(
                "leaving: member {:x} still has {}{stuck}; `quorate node remove {0:x}` goes on, `quorate node keep {0:x}` takes it back",
                one.node,
                many(one.shards, "shard")
            )
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_told_in_few_lines() {
        assert!(Moves::default().lines().is_empty());
        let one = |shard| pb::Move { shard, table: "orders".into(), from: vec![10], to: vec![4] };
        let leaver = |node, leaves, stuck| pb::Leaver { node, leaves, shards: 12, moving: 10, stuck };
        let told = pb::MovesResponse {
            leavers: vec![leaver(10, true, 2), leaver(4, false, 0)],
            moves: (2..12).map(one).collect(),
            left: 17,
            zones: vec![pb::Zone { node: 10, name: "a".into() }],
            close: vec![pb::Close { table: "orders".into(), shards: 1, most: 2, stay: 0 }],
            dynamo: true,
            etcd: false,
            short: vec![pb::Short { table: "few".into(), shards: 2, copies: 2, asked: 3 }],
        };
        let mut moves = Moves::from(told);
        let step = |shard, step: &str, sent| pb::Moving {
            shard,
            step: step.into(),
            step_ms: 4_000,
            moves_ms: 9_500,
            sent,
            of: 3 << 20,
            behind: 1,
            ..pb::Moving::default()
        };
        moves.learn([step(3, "snapshot", 1 << 20), step(4, "snapshot", 0), step(5, "catches-up", 0)].iter());
        let lines = moves.lines();
        for (line, words) in [
            (
                2,
                "  shard 3 of orders: from a to 4; snapshot, 1.0 of about 3.0 MiB sent, about 8 s left (for 4 s, moving for 9 s)",
            ),
            (
                3,
                "  shard 4 of orders: from a to 4; snapshot, 0.0 of about 3.0 MiB sent (for 4 s, moving for 9 s)",
            ),
            (
                4,
                "  shard 5 of orders: from a to 4; the new replica catches up, 1 entry behind (for 4 s, moving for 9 s)",
            ),
        ] {
            assert_eq!(lines[line], words);
        }
        assert_eq!(lines.len(), 1 + SHOWN + 1 + 1 + 1 + 1);
        assert_eq!(lines[0], "moving: 10 shards on the move, about 17 replicas still to be moved");
        assert_eq!(lines[1], "  shard 2 of orders: from a to 4");
        assert_eq!(lines[9], "  and 2 more");
        assert_eq!(
            lines[10],
            "copies: 2 shards of few have 2 of the 3 copies that it asks for: it survives 0 failures instead of 1 failure; \
             `quorate node add` brings the others"
        );
        assert_eq!(lines[11], "zones: 1 shard of orders has two replicas in one zone; moves part them");
        assert!(
            lines[12].starts_with("leaving: member a still has 12 shards, 2 of which stay"),
            "{}",
            lines[12]
        );
    }

    #[test]
    fn zones_that_are_too_few_are_named_as_what_they_are() {
        let words =
            |shards, most, stay, leaving| Close { table: "t".into(), shards, most, stay }.words(leaving);
        for (said, begins, ends) in [
            (words(1, 2, 0, 0), "1 shard of t has two replicas in one zone; moves part them", ""),
            (words(4, 3, 0, 1), "4 shards of t have up to three replicas in one zone; moves part them", ""),
            (
                words(1, 3, 1, 0),
                "1 shard of t has three replicas in one zone; there are too few zones for",
                "parts them",
            ),
            // What a drain brings about, moves do not part.
            (
                words(4, 2, 4, 1),
                "4 shards of t have two replicas in one zone; there are too few zones without the members",
                "",
            ),
            (
                words(0, 2, 1, 1),
                "1 shard of t comes to have two replicas in one zone; there are too few zones without",
                "",
            ),
            (
                words(4, 2, 1, 0),
                "4 shards of t have two replicas in one zone; moves part them but for 1, for which there",
                "",
            ),
        ] {
            assert!(said.starts_with(begins) && said.ends_with(ends), "{said}");
        }
    }
}
