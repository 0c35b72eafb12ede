//! Cuts bytes that arrive piece by piece into events: Jepsen's EDN, JSON Lines, and the lines of Jepsen's logs.
//!
//! The format is found by looking. An EDN history is one vector of maps, or one map after the other; JSON likewise. A line
//! of a log is an event where a process stands before `:invoke`, `:ok`, `:fail` or `:info`; other lines are talk. Values are
//! handed on as the bytes they stand in: who wants them reads them in the form it needs.

use super::BadInput;
use super::token::{Mistake, Notation, Shape, Token, Tokens};
use crate::value::Datum;
use std::borrow::Cow;

/// What an event says of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows.
    Info,
}

impl Kind {
    fn of(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"invoke" => Self::Invoke,
            b"ok" => Self::Ok,
            b"fail" => Self::Fail,
            b"info" => Self::Info,
            _ => return None,
        })
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process<'a> {
    /// A client by number.
    Number(i64),
    /// A client by name.
    Name(Cow<'a, str>),
    /// Who is named by a keyword: a client, unless all that it does is to tell something (`:info`).
    Keyword(&'a str),
    /// What disturbs the system; its events are no operations.
    Nemesis,
}

/// A value that was not looked at yet.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    at: usize,
    notation: Notation,
}

impl<'a> Raw<'a> {
    /// A reader over the value, its [`base`](Self::base) to be added to places.
    pub fn tokens(&self) -> Tokens<'a> {
        Tokens::new(self.bytes, self.notation, true)
    }

    /// The value where it is nil or a plain whole number: most are.
    #[inline]
    pub fn plain(&self) -> Option<Option<i64>> {
        match self.bytes {
            b"nil" | b"null" => Some(None),
            digits => plain_digits(digits).map(Some),
        }
    }

    /// Where the value begins, for mistakes.
    pub fn base(&self) -> usize {
        self.at
    }
}

fn plain_digits(digits: &[u8]) -> Option<i64> {
    let fits = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |number, byte| number * 10 + i64::from(byte - b'0')))
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Who acts.
    pub process: Process<'a>,
    /// Nothing where the event is a whole operation with a beginning and an end.
    pub kind: Option<Kind>,
    /// What is done.
    pub f: Cow<'a, str>,
    /// On what.
    pub key: Option<Raw<'a>>,
    /// With what, or with what result.
    pub value: Option<Raw<'a>>,
    /// The result, where the event is a whole operation.
    pub result: Option<Raw<'a>>,
    /// When, in the history's own unit.
    pub time: Option<i64>,
    /// The times of a whole operation.
    pub span: (Option<i64>, Option<i64>),
    /// Its number among all events.
    pub index: Option<i64>,
    /// The order that the system gave.
    pub version: Option<i64>,
    /// It carries an error.
    pub error: bool,
    /// Its line, from 1.
    pub line: u32,
    /// Where it begins, for mistakes.
    pub at: usize,
}

impl Event<'_> {
    /// True where a keyword tells something: who does that without having asked for anything disturbs the system.
    pub fn may_disturb(&self) -> bool {
        matches!(self.process, Process::Keyword(_)) && self.kind == Some(Kind::Info) && self.span.0.is_none()
    }
}

/// Who takes the events.
pub trait Sink {
    /// Takes one.
    fn event(&mut self, event: Event<'_>) -> Result<(), Mistake>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Too little was seen.
    Open,
    Maps(Notation),
    Log,
}

/// The cutter. Bytes go in by [`feed`](Self::feed); [`finish`](Self::finish) says that these were all.
#[derive(Debug)]
pub struct Cutter {
    format: Format,
    buffer: Vec<u8>,
    /// Up to here the buffer is done.
    at: usize,
    /// Up to here its lines are counted.
    counted: usize,
    line: u32,
    /// Characters of the current line that left the buffer.
    column: u32,
    inside: bool,
    closed: bool,
    events: u64,
    /// In a log: the keywords that asked for something. Before, such a line may be talk.
    clients: Vec<String>,
}

impl Default for Cutter {
    fn default() -> Self {
        Self {
            format: Format::Open,
            buffer: Vec::new(),
            at: 0,
            counted: 0,
            line: 1,
            column: 0,
            inside: false,
            closed: false,
            events: 0,
            clients: Vec::new(),
        }
    }
}

const NOT_A_HISTORY: &str =
    "give an EDN history of Jepsen, JSON Lines, or a log with lines like \"0 :invoke :read nil\"";

impl Cutter {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), BadInput> {
        self.buffer.extend_from_slice(bytes);
        self.run(false, sink)
    }

    /// There are no more.
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BadInput> {
        self.run(true, sink)?;
        if self.inside {
            let mistake = Mistake::new(
                self.at,
                "the vector of operations is not closed",
                "the file ends in the middle: was it still being written?",
            );
            return Err(self.bad(mistake, false));
        }
        if self.events == 0 {
            return Err(BadInput {
                line: 1,
                column: 1,
                nothing: true,
                ..BadInput::new("no operation is in it", NOT_A_HISTORY)
            });
        }
        Ok(())
    }

    fn run(&mut self, last: bool, sink: &mut impl Sink) -> Result<(), BadInput> {
        if self.format == Format::Open && !self.detect(last) {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let done = loop {
            let step = match self.format {
                Format::Log => self.log_line(&buffer, last, sink),
                Format::Maps(notation) => self.map(&buffer, notation, last, sink),
                Format::Open => Ok(false),
            };
            match step {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(mistake) if mistake.cut => break Ok(()),
                Err(mistake) => break Err(mistake),
            }
        };
        self.buffer = buffer;
        if let Err(mistake) = done {
            return Err(self.bad(mistake, false));
        }
        self.count_to(self.at);
        let line = self.buffer[..self.at].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        let characters = characters(&self.buffer[line..self.at]);
        self.column = if line == 0 { self.column + characters } else { characters };
        self.buffer.drain(..self.at);
        self.counted -= self.at;
        self.at = 0;
        Ok(())
    }

    fn count_to(&mut self, at: usize) -> u32 {
        if at > self.counted {
            self.line += newlines(&self.buffer[self.counted..at]);
            self.counted = at;
        }
        self.line
    }

    fn bad(&self, mistake: Mistake, nothing: bool) -> BadInput {
        let at = mistake.at.min(self.buffer.len());
        let begin = self.buffer[..at].iter().rposition(|&b| b == b'\n').map(|newline| newline + 1);
        let before = if begin.is_none() { self.column } else { 0 };
        BadInput {
            line: if at < self.counted {
                self.line - newlines(&self.buffer[at..self.counted])
            } else {
                self.line + newlines(&self.buffer[self.counted..at])
            },
            column: 1 + before + characters(&self.buffer[begin.unwrap_or(0)..at]),
            what: mistake.what,
            hint: mistake.hint.into(),
            nothing,
        }
    }

    /// Looks at the first bytes that say something.
    fn detect(&mut self, last: bool) -> bool {
        if self.buffer.starts_with("\u{feff}".as_bytes()) {
            self.at = 3;
        }
        let mut edn = Tokens::new(&self.buffer[self.at..], Notation::Edn, true);
        edn.blank();
        let rest = &self.buffer[self.at + edn.at()..];
        let mut marks = rest.iter().filter(|byte| !byte.is_ascii_whitespace());
        let first = [marks.next(), marks.next(), marks.next()];
        if first[2].is_none() && !last {
            return false;
        }
        self.format = match first {
            [Some(b'{'), Some(b'"'), _] | [Some(b'['), Some(b'{'), Some(b'"')] => {
                Format::Maps(Notation::Json)
            }
            [Some(b'{' | b'[' | b'(' | b'#'), ..] => Format::Maps(Notation::Edn),
            [None, ..] => return false,
            _ => Format::Log,
        };
        true
    }

    /// One map of a sequence of maps. Says whether to go on.
    fn map(
        &mut self,
        buffer: &[u8],
        notation: Notation,
        last: bool,
        sink: &mut impl Sink,
    ) -> Result<bool, Mistake> {
        let base = self.at;
        let mut tokens = Tokens::new(&buffer[base..], notation, last);
        let shift = |mut mistake: Mistake| {
            mistake.at += base;
            mistake
        };
        tokens.blank();
        let begin = base + tokens.at();
        if tokens.is_over() {
            self.at = buffer.len();
            return Ok(false);
        }
        match tokens.pull().map_err(shift)? {
            Token::Open(Shape::List) if !self.inside && !self.closed && self.events == 0 => {
                self.inside = true;
            }
            Token::Close(_) if self.inside => (self.inside, self.closed) = (false, true),
            Token::Open(Shape::Map) if !self.closed => {
                let line = self.line_at(buffer, begin);
                let event = fields(&mut tokens, base, line, begin).map_err(shift)?;
                let event = event.with(&buffer[base..], base, notation);
                self.events += 1;
                sink.event(event)?;
            }
            _ => {
                let what = if self.closed {
                    "something follows the vector of operations"
                } else {
                    "an operation is a map"
                };
                return Err(Mistake::new(begin, what, NOT_A_HISTORY));
            }
        }
        self.at = base + tokens.at();
        Ok(true)
    }

    /// Like [`count_to`](Self::count_to), while the buffer is elsewhere.
    fn line_at(&mut self, buffer: &[u8], at: usize) -> u32 {
        if at > self.counted {
            self.line += newlines(&buffer[self.counted..at]);
            self.counted = at;
        }
        self.line
    }

    /// One line of a log. Says whether to go on.
    fn log_line(&mut self, buffer: &[u8], last: bool, sink: &mut impl Sink) -> Result<bool, Mistake> {
        let begin = self.at;
        let rest = &buffer[begin..];
        let len = match rest.iter().position(|&byte| byte == b'\n') {
            Some(len) => len,
            None if last && !rest.is_empty() => rest.len(),
            None => return Ok(false),
        };
        if let Some(mut event) = log_event(&rest[..len], begin)? {
            if let Process::Keyword(name) = event.process
                && !self.clients.iter().any(|client| client == name)
            {
                if event.kind == Some(Kind::Invoke) {
                    self.clients.push(name.to_owned());
                } else {
                    event.process = Process::Nemesis;
                }
            }
            event.line = self.line_at(buffer, begin);
            self.events += 1;
            sink.event(event)?;
        }
        self.at = (begin + len + 1).min(buffer.len());
        Ok(true)
    }
}

fn newlines(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte == b'\n')).sum()
}

fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte & 0xc0 != 0x80)).sum()
}

/// The fields of a map before its values are cut out: places instead of bytes.
struct Fields<'a> {
    event: Event<'a>,
    key: Option<(usize, usize)>,
    value: Option<(usize, usize)>,
    result: Option<(usize, usize)>,
}

impl<'a> Fields<'a> {
    fn with(self, bytes: &'a [u8], base: usize, notation: Notation) -> Event<'a> {
        let raw = |place: Option<(usize, usize)>| {
            place.map(|(from, to)| Raw { bytes: &bytes[from..to], at: base + from, notation })
        };
        Event { key: raw(self.key), value: raw(self.value), result: raw(self.result), ..self.event }
    }
}

fn fields<'a>(tokens: &mut Tokens<'a>, base: usize, line: u32, at: usize) -> Result<Fields<'a>, Mistake> {
    let mut process = None;
    let mut f = None;
    let event = Event {
        process: Process::Nemesis,
        kind: None,
        f: Cow::Borrowed(""),
        key: None,
        value: None,
        result: None,
        time: None,
        span: (None, None),
        index: None,
        version: None,
        error: false,
        line,
        at,
    };
    let mut found = Fields { event, key: None, value: None, result: None };
    loop {
        let name: Cow<'a, [u8]> = match tokens.name() {
            Some(name) => Cow::Borrowed(name),
            None => match tokens.pull()? {
                Token::Keyword(name) => Cow::Borrowed(name.as_bytes()),
                Token::Text(name) => Cow::Owned(name.into_owned().into_bytes()),
                Token::Close(b'}') => break,
                Token::Close(byte) => return Err(tokens.misclosed(at - base, byte)),
                Token::End => return Err(tokens.unclosed(at - base)),
                Token::Open(_) => {
                    return Err(Mistake::new(tokens.at(), "a field's name is a keyword or a string", ""));
                }
                // A key that is no name says nothing to us.
                _ => Cow::Borrowed(b"?"),
            },
        };
        let event = &mut found.event;
        // Where it begins is asked of a mistake alone: in JSON it stands in quotes, else behind a colon.
        let (end, around) = (tokens.at(), if tokens.is_json() { 2 } else { 1 });
        let twice = || {
            let what = format!("the operation says its {} twice", String::from_utf8_lossy(&name));
            Mistake::new(end.saturating_sub(name.len() + around), what, "which one is it?")
        };
        match &*name {
            b"process" => set(&mut process, process_of(tokens)?, twice)?,
            b"type" | b"outcome" => {
                if event.kind.is_some() {
                    return Err(twice());
                }
                let begin = tokens.at();
                event.kind = match tokens.name() {
                    Some(word) => Kind::of(word),
                    None => match tokens.pull()? {
                        Token::Keyword(word) => Kind::of(word.as_bytes()),
                        Token::Text(word) => Kind::of(word.as_bytes()),
                        _ => None,
                    },
                };
                if event.kind.is_none() {
                    let name = String::from_utf8_lossy(&name);
                    let what = format!("an operation's {name} is invoke, ok, fail or info");
                    return Err(Mistake::new(begin, what, ""));
                }
            }
            b"f" => set(&mut f, function(tokens)?, twice)?,
            b"value" | b"argument" => set(&mut found.value, skipped(tokens)?, twice)?,
            b"key" => set(&mut found.key, skipped(tokens)?, twice)?,
            b"result" => set(&mut found.result, skipped(tokens)?, twice)?,
            b"error" => {
                tokens.skip()?;
                event.error = true;
            }
            b"time" => set(&mut event.time, int(tokens, "time")?, twice)?,
            b"index" => set(&mut event.index, int(tokens, "index")?, twice)?,
            b"version" => set(&mut event.version, int(tokens, "version")?, twice)?,
            b"start" => set(&mut event.span.0, int(tokens, "start")?, twice)?,
            b"end" => set(&mut event.span.1, int(tokens, "end")?, twice)?,
            _ => tokens.skip()?,
        }
    }
    let whole = found.event.span.0.is_some();
    let missing = |what| {
        Mistake::new(at - base, format!("the operation has no {what}"), "each has process, type, f and value")
    };
    found.event.process = process.ok_or_else(|| missing("process"))?;
    found.event.f = match f {
        Some(f) => f,
        None if found.event.process == Process::Nemesis => Cow::Borrowed(""),
        None if found.event.may_disturb() => Cow::Borrowed(""),
        None => return Err(missing("f")),
    };
    if !whole && found.event.kind.is_none() {
        return Err(missing("type"));
    }
    Ok(found)
}

/// A field that was said already is not said again: nobody knows which one is meant.
fn set<T>(
    slot: &mut Option<T>,
    value: impl Into<Option<T>>,
    twice: impl Fn() -> Mistake,
) -> Result<(), Mistake> {
    if slot.is_some() {
        return Err(twice());
    }
    *slot = value.into();
    Ok(())
}

fn function<'a>(tokens: &mut Tokens<'a>) -> Result<Cow<'a, str>, Mistake> {
    tokens.blank();
    let begin = tokens.at();
    if let Some(Ok(word)) = tokens.name().map(std::str::from_utf8) {
        return Ok(Cow::Borrowed(word));
    }
    tokens.go(begin);
    match tokens.pull()? {
        Token::Keyword(word) => Ok(Cow::Borrowed(word)),
        Token::Text(word) => Ok(word),
        _ => Err(Mistake::new(tokens.at(), "f is a keyword or a string", "")),
    }
}

fn skipped(tokens: &mut Tokens<'_>) -> Result<(usize, usize), Mistake> {
    tokens.blank();
    let from = tokens.at();
    tokens.skip()?;
    Ok((from, tokens.at()))
}

/// A whole number, or nothing where the field is empty. A fraction of a unit is refused: cut off, it would make operations
/// concurrent of which one was over before the other began.
fn int(tokens: &mut Tokens<'_>, name: &str) -> Result<Option<i64>, Mistake> {
    tokens.blank();
    let begin = tokens.at();
    if let Some(number) = tokens.plain_int() {
        return Ok(Some(number));
    }
    match tokens.pull()? {
        Token::Int(number) => Ok(Some(number)),
        Token::Nil => Ok(None),
        Token::Number(written) => {
            if let Datum::Int(number) = crate::value::number(written, true) {
                return Ok(Some(number));
            }
            let what = format!("{name} is a whole number of at most 64 bits, not {written}");
            Err(Mistake::new(begin, what, "give times in a smaller unit: nanoseconds as whole numbers"))
        }
        _ => Err(Mistake::new(begin, format!("{name} is a whole number"), "")),
    }
}

fn process_of<'a>(tokens: &mut Tokens<'a>) -> Result<Process<'a>, Mistake> {
    let begin = tokens.at();
    if let Some(number) = tokens.plain_int() {
        return Ok(Process::Number(number));
    }
    Ok(match tokens.pull()? {
        Token::Int(number) => Process::Number(number),
        Token::Keyword("nemesis") => Process::Nemesis,
        Token::Keyword(name) => Process::Keyword(name),
        Token::Text(name) if name == "nemesis" => Process::Nemesis,
        Token::Text(name) => Process::Name(name),
        _ => return Err(Mistake::new(begin, "a process is a number or a name", "")),
    })
}

/// The event of a line, if it holds one.
fn log_event(line: &[u8], base: usize) -> Result<Option<Event<'_>>, Mistake> {
    let mut before: &[u8] = &[];
    let mut at = 0;
    while let Some((word, end)) = word(line, at) {
        let kind = word.strip_prefix(b":").and_then(Kind::of);
        if let (Some(kind), Some(process)) = (kind, log_process(before)) {
            return log_fields(line, base, end, kind, process).map(Some);
        }
        (before, at) = (word, end);
    }
    Ok(None)
}

fn word(line: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let begin = from + line[from..].iter().position(|byte| !byte.is_ascii_whitespace())?;
    let end = line[begin..].iter().position(u8::is_ascii_whitespace).map_or(line.len(), |len| begin + len);
    Some((&line[begin..end], end))
}

fn log_process(word: &[u8]) -> Option<Process<'_>> {
    let word = std::str::from_utf8(word).ok()?;
    match word.strip_prefix(':') {
        Some("nemesis") => Some(Process::Nemesis),
        Some(name) => Some(Process::Keyword(name)),
        None => word.parse().ok().map(Process::Number),
    }
}

fn log_fields<'a>(
    line: &'a [u8],
    base: usize,
    from: usize,
    kind: Kind,
    process: Process<'a>,
) -> Result<Event<'a>, Mistake> {
    let shift = |mut mistake: Mistake| {
        mistake.at += base;
        // The line is whole: more of the text mends nothing.
        mistake.cut = false;
        mistake
    };
    let Some((f, end)) = word(line, from) else {
        return Err(Mistake::new(base + from, "the line says no function", "write \"0 :invoke :read nil\""));
    };
    let f = std::str::from_utf8(f).map_err(|_| Mistake::new(base + from, "this is not UTF-8", ""))?;
    let mut tokens = Tokens::new(line, Notation::Edn, true);
    tokens.go(end);
    tokens.blank();
    let begin = tokens.at();
    let mut error = false;
    let value = if begin < line.len() && process != Process::Nemesis {
        tokens.skip().map_err(shift)?;
        let value = Raw { bytes: &line[begin..tokens.at()], at: base + begin, notation: Notation::Edn };
        tokens.blank();
        error = tokens.at() < line.len();
        Some(value)
    } else {
        None
    };
    Ok(Event {
        process,
        kind: Some(kind),
        f: Cow::Borrowed(f.strip_prefix(':').unwrap_or(f)),
        key: None,
        value,
        result: None,
        time: None,
        span: (None, None),
        index: None,
        version: None,
        error,
        line: 0,
        at: base,
    })
}
