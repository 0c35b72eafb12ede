//! What clients of tables saw, held against what is promised, by the checkers of histories; and what nodes hold at the end.

use super::ask::{self, GROUPS, INDEX, group};
use super::{End, Event, Noted, Step, Tables, ends};
use quorate_base::ShardId;
use quorate_check::budget::Budget;
use quorate_check::txn::levels::Level;
use quorate_check::txn::{self, Model, Options, feed};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use quorate_check::{models, read};
use quorate_item::{AttributeValue, Comparator, Condition, Item, Operand, Path};
use quorate_node::api::{Fresh, Request};
use quorate_state::kv::KvView;
use quorate_state::table::{KeysAsked, Page, Placement, Position, Read, ReadReply, Records};
use quorate_wire::table::EPOCH;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A judge may take so many thousand steps, ...
const STEPS: u64 = 4_000;
/// ... and so many bytes.
const MEMORY: u64 = 256 << 20;

/// How much of a run was decided.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Decided {
    pub(crate) holds: u64,
    /// The budget was spent before.
    pub(crate) open: u64,
}

impl Tables {
    /// What a node holds of all registers and lists, in order.
    pub(crate) fn held(&self, view: &KvView) -> Result<Vec<Option<Item>>, String> {
        let registers = self.registers.iter().map(|&key| ask::register(key));
        let lists = self.lists.iter().map(|&list| ask::list(list));
        let mut read = ask::get(registers.chain(lists));
        ask::address_read(&mut read, self.name());
        match asked(view, &read)? {
            ReadReply::Items(got) => Ok(got.into_iter().map(|got| got.item).collect()),
            other => Err(format!("Tables: the last read was answered {other:?}")),
        }
    }

    /// The same of one whose items lie in several shards.
    pub(crate) fn held_across<'a>(
        &self,
        placement: &Placement,
        view_of: impl Fn(ShardId) -> Option<&'a KvView>,
    ) -> Result<Vec<Option<Item>>, String> {
        let registers = self.registers.iter().map(|&key| ask::register(key));
        let lists = self.lists.iter().map(|&list| ask::list(list));
        let mut held = Vec::new();
        for name in registers.chain(lists) {
            let mut read = ask::get([name]);
            ask::address_read(&mut read, self.name());
            if ask::is_unlisted(placement, self.name(), &read) {
                held.push(None);
                continue;
            }
            let request = Request::Table { read: Box::new(read.clone()), fresh: Fresh::Newest, epoch: EPOCH };
            let routed = ask::route(placement, self.name(), request, 0);
            let view = routed.and_then(|(shard, _)| view_of(shard));
            let view = view.ok_or("Tables: a node has not all shards of its table at the end")?;
            if view.tables().is_locked() {
                return Err(
                    "Transactions: at rest, and items are held by one that nobody has brought to its end"
                        .into(),
                );
            }
            let ReadReply::Items(got) = asked(view, &read)? else {
                return Err("Tables: the last read was answered with something else".into());
            };
            held.extend(got.into_iter().map(|got| got.item));
        }
        for shard in placement.table(self.name()).iter().flat_map(|block| block.shards()) {
            let view = view_of(shard).ok_or("Tables: a node has not all shards of its table at the end")?;
            check_index(view, self.name())?;
            check_feed(view, self.name())?;
            check_ends(view, self.name())?;
        }
        Ok(held)
    }

    /// Judges all that clients saw; `held` is what a node holds at the end.
    pub(crate) fn judge(&mut self, held: &[Option<Item>]) -> Result<Decided, String> {
        self.last_reads(held);
        let mut decided = self.judge_registers()?;
        if self.judge_lists()? {
            decided.holds += 1;
        } else {
            decided.open += 1;
        }
        Ok(decided)
    }

    /// The last reads are those of a client that comes behind all others.
    fn last_reads(&mut self, held: &[Option<Item>]) {
        let held = held.iter().map(|item| item.as_ref().map(ask::held)).collect::<Vec<_>>();
        let (registers, lists) = held.split_at(self.registers.len().min(held.len()));
        let registers = self.registers.iter().zip(registers).map(|(&key, held)| {
            let value = held.as_ref().and_then(|held| held.number);
            (
                Noted::Register(key, "read", super::number(None)),
                Noted::Register(key, "read", super::number(value)),
            )
        });
        let lists = self.lists.iter().zip(lists).map(|(&list, held)| {
            let found = held.as_ref().map(|held| held.list.clone()).unwrap_or_default();
            (Noted::Steps(vec![Step::Read(list, None)]), Noted::Steps(vec![Step::Read(list, Some(found))]))
        });
        let process = self.events.iter().map(|event| event.process).max().unwrap_or(0) + 1;
        let all: Vec<(Noted, Noted)> = registers.chain(lists).collect();
        for (asked, answered) in all {
            self.events.push(Event { process, end: End::Invoke, what: asked });
            self.events.push(Event { process, end: End::Ok, what: answered });
        }
    }

    fn judge_registers(&self) -> Result<Decided, String> {
        let text = self.lines(|event| matches!(event.what, Noted::Register(..)));
        // In a short run the table may never have come to be.
        if text.is_empty() {
            return Ok(Decided::default());
        }
        let bad = |bad| format!("Tables: the history is not one: {bad}");
        let history = read::read(text.as_bytes()).map_err(bad)?;
        let judge = models::judge("cas-register", Value::NIL, &history).map_err(bad)?;
        let (left, mut decided) = (Cell::new(STEPS), Decided::default());
        let stop = || spent(&left);
        for part in 0..judge.parts() {
            let verdict = judge.linearizable(part, &history, &mut Budget::new(&stop, MEMORY)).verdict;
            match verdict {
                Verdict::Refuted(witness) => {
                    let key = history.values.show(judge.key(part));
                    return Err(format!("Linearizability of items: {key}: {}", witness.words));
                }
                Verdict::Proved { .. } => decided.holds += 1,
                _ => decided.open += 1,
            }
        }
        Ok(decided)
    }

    fn judge_lists(&self) -> Result<bool, String> {
        let text = self.lines(|event| matches!(event.what, Noted::Steps(_)));
        if text.is_empty() {
            return Ok(true);
        }
        let history = feed::read(text.as_bytes(), Model::ListAppend);
        let history = history.map_err(|bad| format!("Tables: the history is not one: {bad}"))?;
        let left = Cell::new(STEPS);
        let stop = || spent(&left);
        let report =
            txn::check(&history, Model::ListAppend, &Options::default(), &mut Budget::new(&stop, MEMORY));
        let level = Level::named("strict-serializable").ok_or("Tables: the level has another name")?;
        match report.verdict(level) {
            Verdict::Refuted(witness) => {
                let words = witness.words.replace('\n', "; ");
                Err(format!("Strict serializability of items: {}: {words}", witness.kind))
            }
            Verdict::Proved { .. } | Verdict::NotRefuted { .. } => Ok(true),
            _ => Ok(false),
        }
    }

    /// Events as the checkers read them.
    fn lines(&self, which: impl Fn(&Event) -> bool) -> String {
        let mut out = String::new();
        for (index, event) in self.events.iter().filter(|event| which(event)).enumerate() {
            let end = match event.end {
                End::Invoke => "invoke",
                End::Ok => "ok",
                End::Refused | End::Fail => "fail",
                End::Info => "info",
            };
            let what = match &event.what {
                Noted::Register(key, f, value) => format!(r#""f":"{f}","key":"r{key}","value":{value}"#),
                Noted::Steps(steps) => format!(r#""f":"txn","value":[{}]"#, steps_of(steps, event.end)),
            };
            let (process, why) =
                (event.process, if event.end == End::Fail { r#","error":"not done""# } else { "" });
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                r#"{{"index":{index},"time":{index},"process":{process},"type":"{end}",{what}{why}}}"#
            );
        }
        out
    }
}

/// The records of a shard's part of the table's change feed, one by one, come to the items that are there: each tells of its item
/// before what the one before it has left.
pub(crate) fn check_feed(view: &KvView, table: &str) -> Result<(), String> {
    let Some(label) = view.tables().definition(table).and_then(|definition| definition.latest_stream) else {
        // It has not heard of its table.
        return Ok(());
    };
    let ReadReply::Stream(stream) = asked(view, &Read::Stream(table.into(), label))? else {
        return Err("Feed: it was asked for, and something else came".into());
    };
    let (mut folded, mut from) = (BTreeMap::new(), Position::default());
    loop {
        let read = Read::Records { stream: stream.id, from, limit: 9 };
        let ReadReply::Records(Records::Read { records, next, .. }) = asked(view, &read)? else {
            return Err("Feed: its records were asked for, and something else came".into());
        };
        for record in &records {
            ends::fits(record)?;
            let key = bytes(&record.keys);
            let before = record.old.as_ref().map(bytes);
            if folded.remove(&key) != before {
                return Err(format!("Feed: {:?} tells of another item than was there", record.at));
            }
            if let Some(new) = &record.new {
                folded.insert(key, bytes(new));
            }
        }
        from = next.ok_or("Feed: it has ended")?;
        if records.is_empty() {
            break;
        }
    }
    let all: BTreeSet<Vec<u8>> = page(view, table, None, KeysAsked::All(None))?.iter().map(bytes).collect();
    let told: BTreeSet<Vec<u8>> = folded.into_values().collect();
    if told == all {
        return Ok(());
    }
    Err(format!(
        "Feed: it comes to {} items, the shard has {}, and they are not the same",
        told.len(),
        all.len()
    ))
}

/// Who looks for items whose time is over finds each once that is, by their ends, and no other: at any moment, so at those at which
/// one of them ends, or has ended too long ago.
pub(crate) fn check_ends(view: &KvView, table: &str) -> Result<(), String> {
    let Some(number) = view.tables().definition(table).filter(|of| of.expires.is_some()).map(|of| of.id)
    else {
        return Ok(());
    };
    let all = page(view, table, None, KeysAsked::All(None))?;
    let moments: BTreeSet<u64> = all.iter().flat_map(ends::moments).collect();
    // Some of them, right before an end and at one.
    for &now in moments.iter().step_by((moments.len() / 12) | 1) {
        let should = all.iter().filter(|item| ends::is_to_go(item, now)).count();
        let (mut found, mut after) = (BTreeSet::new(), None);
        loop {
            let ReadReply::Overdue(overdue) = asked(view, &Read::Overdue { after, now, items: 5 })? else {
                return Err("Ends: it was asked what is over, and something else came".into());
            };
            for (table, key) in overdue.items {
                if table == number && !found.insert(key) {
                    return Err("Ends: an item was found to be over twice".into());
                }
            }
            after = overdue.next;
            if after.is_none() {
                break;
            }
        }
        if found.len() != should {
            let found = found.len();
            return Err(format!("Ends: at {now} ms {found} items are found to be over, and {should} are"));
        }
    }
    Ok(())
}

/// The index of a node, or of a shard, holds exactly the registers of each group.
pub(crate) fn check_index(view: &KvView, table: &str) -> Result<(), String> {
    if view.tables().definition(table).is_none() {
        // A shard that has not heard of its table.
        return Ok(());
    }
    let all = page(view, table, None, KeysAsked::All(None))?;
    for number in 0..GROUPS {
        let key = AttributeValue::S(group(number));
        let of_group = |item: &&Item| item.get("g") == Some(&key);
        let should: BTreeSet<Vec<u8>> = all.iter().filter(of_group).map(bytes).collect();
        let condition = Condition::Compare(
            Comparator::Eq,
            Operand::Path(Path::attribute("g")),
            Operand::Value(key.clone()),
        );
        let holds: Vec<Item> = page(view, table, Some(INDEX), KeysAsked::Condition(condition))?;
        if holds.len() != should.len() || holds.iter().map(bytes).collect::<BTreeSet<_>>() != should {
            return Err(format!(
                "Index: of group {number} it holds {} items, the table {}, and they are not the same",
                holds.len(),
                should.len()
            ));
        }
    }
    Ok(())
}

fn steps_of(steps: &[Step], end: End) -> String {
    let step = |step: &Step| match step {
        Step::Append(list, element) => format!(r#"["append",{list},{element}]"#),
        Step::Read(list, Some(held)) if end == End::Ok => format!(r#"["r",{list},{held:?}]"#),
        Step::Read(list, _) => format!(r#"["r",{list},null]"#),
    };
    steps.iter().map(step).collect::<Vec<_>>().join(",")
}

fn spent(left: &Cell<u64>) -> bool {
    left.set(left.get().saturating_sub(1));
    left.get() == 0
}

fn bytes(item: &Item) -> Vec<u8> {
    quorate_item::codec::Codec::encode(item)
}

/// All that a read of items finds, page by page.
fn page(view: &KvView, table: &str, index: Option<&str>, keys: KeysAsked) -> Result<Vec<Item>, String> {
    let mut page =
        Page { index: index.map(String::from), whole: true, limit: Some(7), ..Page::of(table, keys) };
    let mut items = Vec::new();
    loop {
        let ReadReply::Page(paged) = asked(view, &Read::Page(Box::new(page.clone())))? else {
            return Err("Tables: a page was asked for, and something else came".into());
        };
        items.extend(paged.items);
        page.start = paged.last;
        if page.start.is_none() {
            return Ok(items);
        }
    }
}

fn asked(view: &KvView, read: &Read) -> Result<ReadReply, String> {
    let reply =
        view.tables_while(read, &|_| true).map_err(|e| format!("Tables: the last read failed: {e:?}"))?;
    reply.ok_or_else(|| "Tables: the last read was ended".into())
}
