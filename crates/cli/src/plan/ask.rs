//! The questions of an architect, one at a time: answers become a policy.
//!
//! Questions go to standard error, so that the plan alone is on standard output. An answer that is not understood is
//! asked for again on a terminal; from a pipe it ends the program, since nobody is there to answer again.

use crate::report::{Exit, Problem};
use quorate_policy::ask::{Field, count, time};
use quorate_policy::{Consistency, OnPartition, Partitioning, Policy};
use std::io::{BufRead, Write};

/// The longest answer that is read.
const LONGEST: u64 = 4096;

/// Asks for what `policy` does not say yet. `terminal` tells whether somebody can answer again.
pub(crate) fn ask(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    terminal: bool,
    policy: &mut Policy,
) -> Result<(), Problem> {
    let mut talk = Talk { input, output, terminal, asked: 0 };
    if policy.consistency.is_none() && policy.replication.is_none() {
        policy.consistency = Some(consistency(&mut talk)?);
    }
    if policy.survive.is_none() && policy.replication.is_none() {
        let text =
            "How many nodes may be down at once while it still serves? (a number; the usual answer is 1)";
        policy.survive = Some(talk.free(text, "1", |answer| count(answer).map_err(|e| e.allowed))?);
    }
    if policy.durability.is_none() && policy.replication.is_none() {
        let text = "How many disks must hold a write before its writer hears that it is done? (a number, \
                    or nothing for what comes of the rest)";
        let disks = |answer: &str| match answer {
            "" => Ok(None),
            text => count(text).map(Some).map_err(|e| format!("{}, or nothing", e.allowed)),
        };
        policy.durability = talk.free(text, "", disks)?;
    }
    if policy.on_partition.is_none() {
        policy.on_partition = Some(partition(&mut talk, policy.consistency)?);
    }
    let serves = policy.on_partition == Some(OnPartition::Serve);
    if policy.staleness.is_none() && policy.replication.is_none() && !serves {
        let text = "Some reads may take an old value, since that is quicker. How old at most? (a time as \
                    in 5s, or any)";
        let bound = |answer: &str| match answer {
            "any" => Ok(None),
            text => time(text).map(Some).map_err(|e| format!("{}, or any", e.allowed)),
        };
        policy.staleness = talk.free(text, "any", bound)?;
    }
    if policy.partition_by.is_none() {
        policy.partition_by = Some(partitioning(&mut talk)?);
    }
    Ok(())
}

fn consistency(talk: &mut Talk<'_>) -> Result<Consistency, Problem> {
    let together = "Must several items change together or not at all, as in a transfer between two accounts?";
    if talk.yes(together, false)? {
        return Ok(Consistency::StrictSerializable);
    }
    let depends = "Does a write depend on what it finds, as with a condition, a counter, or a name that \
                   only one may take?";
    if talk.yes(depends, true)? {
        return Ok(Consistency::Linearizable);
    }
    let options = [
        ("newest", "what was last confirmed, always", Consistency::Linearizable),
        (
            "nearly newest",
            "what was last confirmed; while a write runs, perhaps new and then old again",
            Consistency::Regular,
        ),
        ("one order", "the same order for everybody, perhaps late", Consistency::Sequential),
        ("causes", "one's own writes, and what led to what one sees", Consistency::Causal),
        ("anything", "anything, if all agree sooner or later", Consistency::Eventual),
    ];
    talk.choose("What must a read see?", &options, 0)
}

fn partition(talk: &mut Talk<'_>, level: Option<Consistency>) -> Result<OnPartition, Problem> {
    let options = [
        ("refuse", "the side that could be wrong answers with an error", OnPartition::Refuse),
        ("serve", "both sides go on, and differ until they meet again", OnPartition::Serve),
    ];
    let default = usize::from(level.is_some_and(Consistency::may_diverge));
    talk.choose(
        "When the network falls into two sides, what is better for those who use it?",
        &options,
        default,
    )
}

fn partitioning(talk: &mut Talk<'_>) -> Result<Partitioning, Problem> {
    let options = [
        ("one by one", "by key, or all of one partition key in order", Partitioning::Hash),
        ("ranges", "in the order of the keys, over all of them", Partitioning::Range),
        ("tenants", "tenant by tenant, and tenants move", Partitioning::Directory),
        ("time", "the newest before, as for events and measurements", Partitioning::TimeHash),
        ("all", "all at once, and there are few: one shard", Partitioning::None),
    ];
    talk.choose("How are the items read?", &options, 0)
}

/// A conversation.
struct Talk<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
    terminal: bool,
    asked: usize,
}

impl Talk<'_> {
    /// One of some options, by its word or its number.
    fn choose<T: Copy>(
        &mut self,
        text: &str,
        options: &[(&str, &str, T)],
        default: usize,
    ) -> Result<T, Problem> {
        let option = |(i, (word, meaning, _)): (usize, &(&str, &str, T))| {
            format!("\n  {}. {word:<14}{meaning}", i + 1)
        };
        let question = options.iter().enumerate().map(option).fold(text.to_string(), |all, one| all + &one);
        let words: Vec<_> = options.iter().map(|(word, ..)| *word).collect();
        let allowed = format!("one of {}, or its number", words.join(", "));
        self.free(&question, words[default], |answer| {
            let numbered = answer.parse::<usize>().ok().and_then(|n| options.get(n.wrapping_sub(1)));
            let found = numbered.or_else(|| options.iter().find(|(word, ..)| *word == answer));
            found.map(|(_, _, value)| *value).ok_or_else(|| allowed.clone())
        })
    }

    fn yes(&mut self, text: &str, default: bool) -> Result<bool, Problem> {
        self.free(&format!("{text} (yes or no)"), if default { "yes" } else { "no" }, |answer| match answer {
            "yes" | "y" => Ok(true),
            "no" | "n" => Ok(false),
            _ => Err("yes or no".into()),
        })
    }

    /// Whatever `parse` understands; it says what it would.
    fn free<T>(
        &mut self,
        text: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        self.asked += 1;
        loop {
            let shown = if default.is_empty() { String::new() } else { format!("[{default}] ") };
            let _ = write!(self.output, "{text}\n{shown}> ").and_then(|()| self.output.flush());
            let line = self.line()?;
            if !self.terminal {
                let _ = writeln!(self.output, "{line}");
            }
            let answer = if line.is_empty() { default } else { &line };
            match parse(answer) {
                Ok(value) => return Ok(value),
                Err(allowed) if self.terminal => {
                    let _ = writeln!(self.output, "{answer:?} is not understood: write {allowed}");
                }
                Err(allowed) => {
                    let message = format!("answer {} is {answer:?}, which is not understood", self.asked);
                    return Err(Problem::new(
                        Exit::Usage,
                        message,
                        format!("write {allowed}; an empty line takes the default"),
                    ));
                }
            }
        }
    }

    /// The next line, lower case, without blanks around it.
    fn line(&mut self) -> Result<String, Problem> {
        let mut bytes = Vec::new();
        let read = std::io::Read::take(&mut *self.input, LONGEST).read_until(b'\n', &mut bytes);
        let failed = |message: String| {
            let flags = Field::ALL.iter().map(|field| format!("--{field}")).collect::<Vec<_>>().join(", ");
            let hint = format!(
                "answer on a terminal, or pipe an answer a line (an empty line takes the default), or say \
                 it with flags: {flags}"
            );
            Problem::new(Exit::Usage, message, hint)
        };
        match read {
            Ok(0) => {
                let _ = writeln!(self.output);
                Err(failed(format!("standard input ended at question {}", self.asked)))
            }
            Err(error) => Err(failed(format!("standard input cannot be read: {error}"))),
            Ok(_) => Ok(String::from_utf8_lossy(&bytes).trim().to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_policy::plan;

    fn answers(text: &str, terminal: bool, policy: &mut Policy) -> Result<String, Problem> {
        let mut output = Vec::new();
        ask(&mut text.as_bytes(), &mut output, terminal, policy)?;
        Ok(String::from_utf8(output).unwrap())
    }

    /// Claim: empty lines are the default answers, and those are linearizable, one failure, refuse, hash.
    #[test]
    fn the_defaults_are_the_default_policy() {
        let mut policy = Policy::default();
        let talk = answers("\n\n\n\n\n\n\n", false, &mut policy).unwrap();
        assert_eq!(talk.matches("> ").count(), 7, "{talk}");
        let open = plan(&Policy::default()).unwrap();
        let asked = plan(&policy).unwrap();
        assert_eq!(
            (asked.promise, asked.mechanism, asked.partition_by),
            (open.promise, open.mechanism, open.partition_by)
        );
    }

    /// Claim: words and numbers answer, questions that an answer made idle are not asked, nor what flags said.
    #[test]
    fn answers_become_a_policy() {
        let mut policy = Policy::default();
        answers("yes\n2\n\nrefuse\n5s\nranges\n", false, &mut policy).unwrap();
        assert_eq!(policy.consistency, Some(Consistency::StrictSerializable));
        assert_eq!((policy.survive, policy.partition_by), (Some(2), Some(Partitioning::Range)));
        assert_eq!(policy.staleness.map(|bound| bound.as_secs()), Some(5));

        let mut policy = Policy { survive: Some(1), ..Policy::default() };
        let talk = answers("no\nNO\n5\n2\n\n4\n", false, &mut policy).unwrap();
        assert_eq!(policy.consistency, Some(Consistency::Eventual));
        assert_eq!((policy.durability, policy.on_partition), (Some(2), Some(OnPartition::Serve)));
        assert_eq!((policy.staleness, policy.partition_by), (None, Some(Partitioning::TimeHash)));
        assert!(!talk.contains("How many nodes") && !talk.contains("How old"), "{talk}");
    }

    /// Claim: an answer that is not understood is asked for again on a terminal, and ends a pipe with what to write.
    #[test]
    fn what_is_not_understood_is_said() {
        let talk = answers("perhaps\nyes\n\n\n\n\n\n", true, &mut Policy::default()).unwrap();
        assert!(talk.contains("\"perhaps\" is not understood: write yes or no"), "{talk}");
        let problem = answers("perhaps\nyes\n", false, &mut Policy::default()).unwrap_err();
        assert_eq!(problem.exit, Exit::Usage);
        assert!(problem.message.contains("answer 1") && problem.hint.contains("yes or no"), "{problem:?}");
        let problem = answers("no\nno\n6\n", false, &mut Policy::default()).unwrap_err();
        assert!(
            problem.message.contains("answer 3") && problem.hint.contains("newest, nearly newest"),
            "{problem:?}"
        );
    }

    /// Claim: where the answers end, the question is named and the flags are told; a line without end is not read for
    /// ever.
    #[test]
    fn an_end_is_said() {
        for text in ["", "no\nyes\n"] {
            let problem = answers(text, false, &mut Policy::default()).unwrap_err();
            assert!(problem.message.contains("standard input ended at question"), "{problem:?}");
            assert!(problem.hint.contains("--on-partition"), "{problem:?}");
        }
        let endless = "x".repeat(1 << 20);
        assert!(
            answers(&endless, false, &mut Policy::default()).unwrap_err().message.contains("not understood")
        );
    }
}
