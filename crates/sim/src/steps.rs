//! The steps of those that break things, by name, so that single ones can be left out.
//!
//! A step's name is who takes it and the how manyth of theirs it is, whether it was taken or left out: leaving one out renames no
//! other one of the same kind, as long as the run stays alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Who takes a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Breaker {
    /// The nemesis.
    Nemesis,
    /// What flips bits of nodes that just went down.
    Flips,
    /// The nemesis of the disks.
    Disks,
    /// What harms new leaders.
    Envy,
    /// What cuts the power between two effects of a node.
    Effects,
    /// What hands leaderships over.
    Transfers,
    /// What loses whole disks.
    Losses,
    /// What puts disks back to old copies.
    Copies,
    /// What cuts off nodes to which replicas move.
    Moves,
    /// What sets wall clocks.
    Clocks,
    /// What makes machines stand still.
    Machines,
    /// What is done to leaders that were succeeded, and to their successors.
    Successions,
}

impl Breaker {
    const ALL: [(char, Self); 12] = [
        ('n', Self::Nemesis),
        ('f', Self::Flips),
        ('d', Self::Disks),
        ('l', Self::Envy),
        ('e', Self::Effects),
        ('t', Self::Transfers),
        ('x', Self::Losses),
        ('o', Self::Copies),
        ('s', Self::Successions),
        ('c', Self::Clocks),
        ('m', Self::Moves),
        ('a', Self::Machines),
    ];
}

/// The name of a step: `n17` is the nemesis' seventeenth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StepName(pub Breaker, pub u64);

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = Breaker::ALL.iter().find(|(_, who)| *who == self.0).map_or('?', |&(letter, _)| letter);
        write!(f, "{letter}{}", self.1)
    }
}

impl FromStr for StepName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut chars = text.chars();
        let who = chars.next().and_then(|c| Breaker::ALL.iter().find(|(letter, _)| *letter == c));
        if let (Some(&(_, who)), Ok(number)) = (who, chars.as_str().parse()) {
            return Ok(Self(who, number));
        }
        let letters: Vec<String> = Breaker::ALL.iter().map(|(letter, _)| letter.to_string()).collect();
        let letters = letters.join(" ");
        Err(format!("{text:?} names no step: a letter of {letters} and a number, such as n17"))
    }
}

/// Which steps are taken, and which were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    /// Only these; `None` for all.
    only: Option<BTreeSet<StepName>>,
    asked: BTreeMap<Breaker, u64>,
    pub(crate) taken: Vec<StepName>,
}

impl Steps {
    pub(crate) fn of(only: Option<&[StepName]>) -> Self {
        Self { only: only.map(|names| names.iter().copied().collect()), ..Self::default() }
    }

    /// The next step of `who`: its name if it is to be taken.
    pub(crate) fn next(&mut self, who: Breaker) -> Option<StepName> {
        let number = self.asked.entry(who).or_default();
        *number += 1;
        let name = StepName(who, *number);
        let takes = self.only.as_ref().is_none_or(|only| only.contains(&name));
        takes.then(|| self.taken.push(name));
        takes.then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        for (_, who) in Breaker::ALL {
            assert_eq!(StepName(who, 12).to_string().parse(), Ok(StepName(who, 12)));
        }
        for bad in ["", "n", "12", "q3", "n-1", "n1x"] {
            assert!(bad.parse::<StepName>().is_err(), "{bad:?}");
        }
    }
}
