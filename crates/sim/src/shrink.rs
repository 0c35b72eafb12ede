//! From a run that breaks a promise to a small one that breaks it in the same way.
//!
//! First whole kinds of faults and clients go, then the span is cut, then single steps of those that break things go by delta debugging
//! (Zeller and Hildebrandt, 2002), then clients; and all of it again until nothing goes any more. A candidate is taken if it breaks a
//! promise of the same kind; it is then another run, with its own schedule, and no part of the first one.

use crate::plan::{Outcome, Plan};
use crate::steps::StepName;
use quorate_base::time::Duration;

/// What is left.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small run.
    pub plan: Plan,
    /// How it ends.
    pub outcome: Outcome,
    /// So many runs it took.
    pub runs: u64,
    /// Nothing more goes; else the runs were spent.
    pub minimal: bool,
}

/// The kind of a violation: its words before the first colon, or all that are no numbers.
pub fn kind_of(violation: &str) -> String {
    let head = violation.split(':').next().unwrap_or_default();
    head.chars().filter(|c| !c.is_ascii_digit()).collect()
}

struct Shrinker<'a> {
    best: Plan,
    outcome: Outcome,
    kind: String,
    runs: u64,
    most: u64,
    tell: &'a mut dyn FnMut(&Plan),
}

/// Shrinks the run of `plan`, in at most `most` runs; `tell` hears of each smaller one. `None` if it breaks no promise.
pub fn shrink(plan: &Plan, most: u64, tell: &mut dyn FnMut(&Plan)) -> Option<Shrunk> {
    let outcome = plan.run();
    let kind = kind_of(outcome.violation.as_deref()?);
    let mut shrinker = Shrinker { best: plan.clone(), outcome, kind, runs: 1, most, tell };
    let mut minimal = false;
    while !minimal && shrinker.runs < most {
        minimal = !shrinker.round();
    }
    let Shrinker { best: plan, outcome, runs, .. } = shrinker;
    Some(Shrunk { plan, outcome, runs, minimal })
}

impl Shrinker<'_> {
    /// One round through all that may go; true if anything went.
    fn round(&mut self) -> bool {
        let mut any = false;
        for part in [
            (|plan| plan.members = false) as fn(&mut Plan),
            |plan| plan.fences = false,
            |plan| plan.doors = false,
            |plan| plan.groups = false,
            |plan| plan.compaction = false,
            |plan| plan.tables = false,
            |plan| plan.disks = false,
            |plan| plan.loss = false,
        ] {
            let mut plan = self.best.clone();
            part(&mut plan);
            any |= plan != self.best && self.takes(plan);
        }
        any |= self.span();
        any |= self.steps();
        any |= self.clients();
        any
    }

    /// Whether the candidate does; it is then the best.
    fn takes(&mut self, plan: Plan) -> bool {
        if self.runs >= self.most {
            return false;
        }
        self.runs += 1;
        let outcome = plan.run();
        if outcome.violation.as_deref().map(kind_of).as_ref() != Some(&self.kind) {
            return false;
        }
        (self.best, self.outcome) = (plan, outcome);
        (self.tell)(&self.best);
        true
    }

    fn span(&mut self) -> bool {
        let whole = |s: u64| Duration::from_secs(s.max(1));
        let mut any = false;
        // What was broken while things break is broken by then.
        let broken = whole(self.outcome.simulated.as_secs() + 1);
        if broken < self.best.span {
            any |= self.takes(Plan { span: broken, ..self.best.clone() });
        }
        for part in [2, 4, 8, 16] {
            loop {
                let span = self.best.span.as_secs();
                let shorter = whole(span - span.div_ceil(part).min(span));
                if shorter >= self.best.span || !self.takes(Plan { span: shorter, ..self.best.clone() }) {
                    break;
                }
                any = true;
            }
        }
        any
    }

    fn steps(&mut self) -> bool {
        // The names of those that were taken: to take only these is the same run.
        let before = self.best.steps.as_ref().map_or(usize::MAX, Vec::len);
        let taken = self.outcome.steps.clone();
        if taken.len() < before && !self.takes(Plan { steps: Some(taken), ..self.best.clone() }) {
            return false;
        }
        let mut size = self.named().len().div_ceil(2);
        while size > 0 && self.runs < self.most {
            let mut at = 0;
            while at < self.named().len() {
                let mut fewer = self.named();
                fewer.drain(at..(at + size).min(fewer.len()));
                if !self.takes(Plan { steps: Some(fewer), ..self.best.clone() }) {
                    at += size;
                }
            }
            size /= 2;
        }
        self.named().len() < before && before != usize::MAX
    }

    fn named(&self) -> Vec<StepName> {
        self.best.steps.clone().unwrap_or_default()
    }

    fn clients(&mut self) -> bool {
        (1..self.best.clients).any(|clients| self.takes(Plan { clients, ..self.best.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn a_kind_has_no_numbers() {
        assert_eq!(kind_of("Election Safety: nodes 1 and 2 both lead"), "Election Safety");
        assert_eq!(kind_of("key 3: revision 7 was given"), kind_of("key 5: revision 9 was given"));
    }
}
