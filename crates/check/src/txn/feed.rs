//! Reads transactional histories: Elle's EDN and JSON Lines of the same shape.
//!
//! ```text
//! {:process 0 :type :invoke :f :txn :value [[:append 3 1] [:r 3 nil]]}
//! {:process 0 :type :ok     :f :txn :value [[:append 3 1] [:r 3 [1]]]}
//! ```
//!
//! A micro-operation is `[:append KEY ELEMENT]`, `[:w KEY VALUE]` or `[:r KEY RESULT]`; with rows `[:insert KEY VALUE]`,
//! `[:delete KEY]`, `[:r KEY RESULT]` or `[:scan LOW HIGH {KEY VALUE, …}]`, whose keys are whole numbers. Else keys and
//! elements are any values; small whole numbers cost least. A read of nil that is `:ok` read the empty list, or the
//! register's initial state. The elements of a list go from the bytes to the trunks of [`super::history`] with no value made
//! of them.

use super::Model;
use super::history::{Builder, Element, Fault, History};
use crate::history::Outcome;
use crate::read::BadInput;
use crate::read::events::{Cutter, Event, Kind, Process, Raw, Sink};
use crate::read::token::{Mistake, Shape, Token, Tokens};
use crate::value::Datum;

/// Reads a history piece by piece.
pub struct Reader {
    cutter: Cutter,
    feeding: Feeding,
    /// The first bytes, as long as the model is looked for.
    looking: Option<Vec<u8>>,
}

/// The model is looked for in so many of the first bytes.
const LOOKED_AT: usize = 1 << 20;

impl Reader {
    /// For a model.
    pub fn new(model: Model) -> Self {
        let feeding = Feeding { builder: Builder::new(), model, list: Vec::new(), last_index: None };
        Self { cutter: Cutter::default(), feeding, looking: None }
    }

    /// For the model that the first writes show.
    pub fn looking() -> Self {
        Self { looking: Some(Vec::new()), ..Self::new(Model::ListAppend) }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), BadInput> {
        let Some(mut first) = self.looking.take() else { return self.cutter.feed(bytes, &mut self.feeding) };
        first.extend_from_slice(bytes);
        if first.len() < LOOKED_AT {
            self.looking = Some(first);
            return Ok(());
        }
        self.look(&first)
    }

    fn look(&mut self, first: &[u8]) -> Result<(), BadInput> {
        if let Some(model) = model_of(first) {
            self.feeding.model = model;
        }
        self.cutter.feed(first, &mut self.feeding)
    }

    /// There are no more: what is still open has an unknown outcome.
    pub fn finish(mut self) -> Result<(History, Model), BadInput> {
        if let Some(first) = self.looking.take() {
            self.look(&first)?;
        }
        self.cutter.finish(&mut self.feeding)?;
        let model = self.feeding.model;
        let history = self.feeding.builder.finish();
        history.map(|history| (history, model)).map_err(|fault| BadInput::new(fault.to_string(), ""))
    }
}

/// The model whose writes are the first among some bytes. Only rows are scanned, inserted and deleted.
fn model_of(bytes: &[u8]) -> Option<Model> {
    let mut words = bytes.split(|byte| !(byte.is_ascii_alphanumeric() || b":\"_-".contains(byte)));
    words.find_map(|word| match word {
        b":append" | b"\"append\"" => Some(Model::ListAppend),
        b":w" | b":write" | b"\"w\"" | b"\"write\"" => Some(Model::RwRegister),
        b":insert" | b":delete" | b":scan" | b"\"insert\"" | b"\"delete\"" | b"\"scan\"" => {
            Some(Model::Predicate)
        }
        _ => None,
    })
}

/// Reads a whole text.
pub fn read(text: &[u8], model: Model) -> Result<History, BadInput> {
    let mut reader = Reader::new(model);
    reader.feed(text)?;
    reader.finish().map(|(history, _)| history)
}

struct Feeding {
    builder: Builder,
    model: Model,
    list: Vec<Element>,
    last_index: Option<i64>,
}

const SHAPE: &str = "a transaction is a list like [[:append 3 1] [:r 3 [1]]] or [[:w 3 1] [:r 3 1]]";

impl Sink for Feeding {
    fn event(&mut self, event: Event<'_>) -> Result<(), Mistake> {
        if let (Some(last), Some(index)) = (self.last_index, event.index)
            && index <= last
        {
            let what = format!("index {index} stands behind index {last}");
            return Err(mistake(event.at, what, "sort the history by index"));
        }
        self.last_index = event.index.or(self.last_index);
        // Who asks once more how a transaction ended runs none.
        if event.f == "again" {
            return Ok(());
        }
        let process = match &event.process {
            Process::Nemesis => return Ok(()),
            Process::Number(number) => self.builder.int(*number),
            Process::Name(name) => {
                let value = self.builder.values().intern(Datum::Text((&**name).into()));
                self.builder.element(value)
            }
            Process::Keyword(name) => {
                let value = self.builder.values().intern(Datum::Keyword((*name).into()));
                let process = self.builder.element(value);
                if event.may_disturb() && !self.builder.is_open(process) {
                    return Ok(());
                }
                process
            }
        };
        let Some(kind) = event.kind else {
            return Err(mistake(
                event.at,
                "the transaction has no type",
                "each has process, type, f and value",
            ));
        };
        if kind == Kind::Invoke && self.builder.is_gone(process) {
            let what =
                format!("process {} acts after a transaction of unknown outcome", self.builder.show(process));
            return Err(mistake(event.at, what, "after :info go on under a new process number"));
        }
        if let Some(raw) = event.value {
            self.transaction(raw, kind == Kind::Ok)?;
        } else if kind == Kind::Ok {
            return Err(mistake(event.at, "the transaction has no value", SHAPE));
        }
        self.builder.line(event.line);
        let done = match kind {
            Kind::Invoke => self.builder.invoke(process),
            Kind::Ok => self.builder.complete(process, Outcome::Ok),
            Kind::Fail => self.builder.complete(process, Outcome::Fail),
            Kind::Info => self.builder.complete(process, Outcome::Info),
        };
        done.map_err(|fault: Fault| mistake(event.at, fault.to_string(), ""))
    }
}

/// Ranges are of whole numbers.
fn row_key(begin: usize, key: Element) -> Result<(), Mistake> {
    if key.number().is_some() {
        return Ok(());
    }
    Err(mistake(begin, "a row's key is no whole number", "number the rows from 0; ranges are of numbers"))
}

fn mistake(at: usize, what: impl Into<String>, hint: &'static str) -> Mistake {
    Mistake { at, what: what.into(), hint, cut: false }
}

impl Feeding {
    fn transaction(&mut self, raw: Raw<'_>, counts: bool) -> Result<(), Mistake> {
        let mut tokens = raw.tokens();
        self.micros(&mut tokens, counts).map_err(|mut mistake| {
            mistake.at += raw.base();
            mistake
        })
    }

    fn micros(&mut self, tokens: &mut Tokens<'_>, counts: bool) -> Result<(), Mistake> {
        let begin = tokens.at();
        match tokens.pull()? {
            Token::Nil if !counts => return Ok(()),
            Token::Open(Shape::List) => {}
            _ => return Err(mistake(begin, "this is no transaction", SHAPE)),
        }
        loop {
            let begin = tokens.at();
            match tokens.pull()? {
                Token::Close(_) => return Ok(()),
                Token::Open(Shape::List) => self.micro(begin, tokens, counts)?,
                _ => return Err(mistake(begin, "this is no micro-operation", SHAPE)),
            }
        }
    }

    fn micro(&mut self, begin: usize, tokens: &mut Tokens<'_>, counts: bool) -> Result<(), Mistake> {
        let word = match tokens.pull()? {
            Token::Keyword(word) => Micro::of(word),
            Token::Text(word) => Micro::of(&word),
            _ => None,
        };
        let Some(word) = word else {
            return Err(mistake(
                begin,
                "this micro-operation is neither an append, a write nor a read",
                SHAPE,
            ));
        };
        let key = self.element(tokens)?;
        match (word, self.model) {
            (Micro::Append, Model::ListAppend) => {
                let element = self.element(tokens)?;
                self.builder.append(key, element);
            }
            (Micro::Write, Model::RwRegister) => {
                let element = self.element(tokens)?;
                self.builder.write(key, element);
            }
            (Micro::Read, _) => self.read(key, tokens, counts)?,
            (Micro::Append, _) => {
                return Err(mistake(
                    begin,
                    "an append, in a history of registers",
                    "try --model list-append",
                ));
            }
            (Micro::Write, Model::Predicate) => {
                let value = self.element(tokens)?;
                row_key(begin, key)?;
                self.builder.write(key, value);
            }
            (Micro::Delete, Model::Predicate) => {
                row_key(begin, key)?;
                self.builder.delete(key);
            }
            (Micro::Scan, Model::Predicate) => self.scan(begin, key, tokens, counts)?,
            (Micro::Delete | Micro::Scan, _) => {
                return Err(mistake(
                    begin,
                    "a delete or scan, in a history without rows",
                    "try --model predicate",
                ));
            }
            (Micro::Write, _) => {
                return Err(mistake(begin, "a write, in a history of lists", "try --model rw-register"));
            }
        }
        let end = tokens.at();
        match tokens.pull()? {
            Token::Close(_) => Ok(()),
            _ => Err(mistake(end, "this micro-operation has more than three parts", SHAPE)),
        }
    }

    fn read(&mut self, key: Element, tokens: &mut Tokens<'_>, counts: bool) -> Result<(), Mistake> {
        let begin = tokens.at();
        if !counts {
            // What it read is not known, or does not count.
            tokens.skip()?;
            self.builder.unknown(key);
            return Ok(());
        }
        if self.model != Model::ListAppend {
            let element = self.element(tokens)?;
            self.builder.read(key, element);
            return Ok(());
        }
        self.list.clear();
        match tokens.pull()? {
            Token::Nil => {}
            Token::Open(Shape::List) => loop {
                let element = match tokens.pull()? {
                    Token::Close(_) => break,
                    Token::Int(number) => self.builder.int(number),
                    token => self.other(token, tokens)?,
                };
                self.list.push(element);
            },
            _ => {
                return Err(mistake(
                    begin,
                    "what was read is no list",
                    "a read gives a list like [1 2], or nil",
                ));
            }
        }
        self.builder.list(key, &self.list);
        Ok(())
    }

    /// `[:scan LOW HIGH {KEY VALUE, …}]`.
    fn scan(
        &mut self,
        begin: usize,
        low: Element,
        tokens: &mut Tokens<'_>,
        counts: bool,
    ) -> Result<(), Mistake> {
        let high = self.element(tokens)?;
        row_key(begin, low)?;
        row_key(begin, high)?;
        let at = tokens.at();
        if !counts {
            tokens.skip()?;
            self.builder.unknown(low);
            return Ok(());
        }
        if tokens.pull()? != Token::Open(Shape::Map) {
            return Err(mistake(
                at,
                "what was scanned is no map",
                "a scan gives the rows that it saw, like {3 1, 4 2}",
            ));
        }
        let mut rows = Vec::new();
        loop {
            let key = match tokens.pull()? {
                Token::Close(_) => break,
                Token::Int(number) => self.builder.int(number),
                // JSON has no other keys than strings.
                Token::Text(text) if text.parse::<i64>().is_ok() => {
                    self.builder.int(text.parse().unwrap_or_default())
                }
                token => self.other(token, tokens)?,
            };
            row_key(begin, key)?;
            rows.push((key, self.element(tokens)?));
        }
        self.builder.scan(low, high, &rows);
        Ok(())
    }

    fn element(&mut self, tokens: &mut Tokens<'_>) -> Result<Element, Mistake> {
        match tokens.pull()? {
            Token::Int(number) => Ok(self.builder.int(number)),
            Token::Nil => Ok(Element::NIL),
            token => self.other(token, tokens),
        }
    }

    /// A key or element that is no whole number.
    fn other(&mut self, token: Token<'_>, tokens: &mut Tokens<'_>) -> Result<Element, Mistake> {
        let value = crate::read::from_token(token, tokens, self.builder.values(), 0)?;
        Ok(self.builder.element(value))
    }
}

#[derive(Clone, Copy)]
enum Micro {
    Append,
    Write,
    Read,
    Delete,
    Scan,
}

impl Micro {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "append" => Self::Append,
            "w" | "write" | "insert" => Self::Write,
            "delete" => Self::Delete,
            "scan" => Self::Scan,
            "r" | "read" => Self::Read,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::history::Act;

    /// Claim: Elle's histories and JSON Lines give the same transactions; failed and unknown ones keep what they asked.
    #[test]
    fn both_notations() {
        let edn = "{:process 0 :type :invoke :f :txn :value [[:append 3 1] [:r 3 nil]]}
            {:process 1, :type :invoke, :f :txn, :value [[:append \"k\" 2]]}
            {:process :nemesis :type :info :f :start :value nil}
            {:process 0 :type :ok :f :txn :value [[:append 3 1] [:r 3 [1]]]}
            {:process 1, :type :info, :f :txn, :value nil}";
        let json = r#"{"process":0,"type":"invoke","f":"txn","value":[["append",3,1],["r",3,null]]}
            {"process":1,"type":"invoke","f":"txn","value":[["append","k",2]]}
            {"process":0,"type":"ok","f":"txn","value":[["append",3,1],["r",3,[1]]]}
            {"process":1,"type":"info","f":"txn"}"#;
        for text in [edn, json] {
            let history = read(text.as_bytes(), Model::ListAppend).unwrap();
            assert_eq!(history.len(), 2);
            assert!(matches!(history.ops(0)[1].act(), Act::List(1)));
            assert_eq!(history.txn(1).outcome, Outcome::Info);
            assert_eq!(history.ops(1).len(), 1);
            assert_eq!(history.show(history.keys()[1].name), "\"k\"");
        }
    }

    /// Claim: what is no history of transactions is refused at its place, with what to do.
    #[test]
    fn bad_input_is_placed() {
        for (text, column, what) in [
            ("{:process 0 :type :invoke :f :txn :value 5}", 42, "no transaction"),
            ("{:process 0 :type :invoke :f :txn :value [5]}", 43, "no micro-operation"),
            ("{:process 0 :type :invoke :f :txn :value [[:cas 1 2]]}", 43, "neither"),
            ("{:process 0 :type :invoke :f :txn :value [[:w 1 2]]}", 43, "in a history of lists"),
            ("{:process 0 :type :invoke :f :txn :value [[:r 1 nil 3]]}", 52, "more than three"),
            ("{:process 0 :type :ok :f :txn :value [[:r 1 nil]]}", 1, "did not invoke"),
            ("{:process :b :type :ok :f :txn :value [[:r 1 nil]]}", 1, "process b completes"),
            (
                "{:process 0 :type :invoke :f :txn :value [[:append 1 1]]} {:process 0 :type :info :f :txn} {:process 0 :type :invoke :f :txn :value [[:r 1 nil]]}",
                92,
                "process 0 acts after a transaction of unknown outcome",
            ),
        ] {
            let bad = read(text.as_bytes(), Model::ListAppend).map(|_| ()).unwrap_err();
            assert!(bad.what.contains(what), "{text}: {bad:?}");
            assert_eq!((bad.line, bad.column), (1, column), "{text}: {bad:?}");
        }
    }
}
