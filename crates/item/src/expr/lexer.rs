//! The tokens of an expression. One pass, no failure: what is no token is a bad one, and the parser says where it
//! stands.

use crate::condition::Comparator;

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A name as it is: a letter, then letters, digits and underscores.
    Name,
    /// `#name`
    Placeholder,
    /// `:value`
    Value,
    /// An index of a list.
    Index,
    Keyword(Keyword),
    Comparator(Comparator),
    Open,
    Close,
    OpenIndex,
    CloseIndex,
    Comma,
    Dot,
    Plus,
    Minus,
    /// A character that no expression has.
    Bad,
    /// The end.
    End,
}

/// The words that are no names. All are, in each kind of expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keyword {
    And,
    Or,
    Not,
    Between,
    In,
    Set,
    Remove,
    Add,
    Delete,
}

const KEYWORDS: [(&str, Keyword); 9] = [
    ("AND", Keyword::And),
    ("OR", Keyword::Or),
    ("NOT", Keyword::Not),
    ("BETWEEN", Keyword::Between),
    ("IN", Keyword::In),
    ("SET", Keyword::Set),
    ("REMOVE", Keyword::Remove),
    ("ADD", Keyword::Add),
    ("DELETE", Keyword::Delete),
];

/// The tokens of a text; the last is the end.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let (kind, len) = token(text, at);
        out.push(Token { kind, text: &text[at..at + len], start: at, end: at + len });
        at += len;
    }
    out.push(Token { kind: Kind::End, text: "<EOF>", start: text.len(), end: text.len() });
    out
}

/// What begins at a place that is not blank, and how many bytes it has.
fn token(text: &str, at: usize) -> (Kind, usize) {
    let bytes = &text.as_bytes()[at..];
    let word = |from: usize| bytes[from..].iter().take_while(|b| is_word(**b)).count();
    match bytes[0] {
        b'a'..=b'z' | b'A'..=b'Z' => {
            let len = word(0);
            let name = &text[at..at + len];
            let keyword = KEYWORDS.iter().find(|(keyword, _)| name.eq_ignore_ascii_case(keyword));
            (keyword.map_or(Kind::Name, |(_, keyword)| Kind::Keyword(*keyword)), len)
        }
        b'#' | b':' if word(1) == 0 => (Kind::Bad, 1),
        b'#' => (Kind::Placeholder, 1 + word(1)),
        b':' => (Kind::Value, 1 + word(1)),
        // An index has no leading zero: what follows one is a token of its own.
        b'0' => (Kind::Index, 1),
        b'1'..=b'9' => (Kind::Index, bytes.iter().take_while(|b| b.is_ascii_digit()).count()),
        b'<' if bytes.get(1) == Some(&b'>') => (Kind::Comparator(Comparator::Ne), 2),
        b'<' if bytes.get(1) == Some(&b'=') => (Kind::Comparator(Comparator::Le), 2),
        b'>' if bytes.get(1) == Some(&b'=') => (Kind::Comparator(Comparator::Ge), 2),
        b'<' => (Kind::Comparator(Comparator::Lt), 1),
        b'>' => (Kind::Comparator(Comparator::Gt), 1),
        b'=' => (Kind::Comparator(Comparator::Eq), 1),
        b'(' => (Kind::Open, 1),
        b')' => (Kind::Close, 1),
        b'[' => (Kind::OpenIndex, 1),
        b']' => (Kind::CloseIndex, 1),
        b',' => (Kind::Comma, 1),
        b'.' => (Kind::Dot, 1),
        b'+' => (Kind::Plus, 1),
        b'-' => (Kind::Minus, 1),
        _ => (Kind::Bad, text[at..].chars().next().map_or(1, char::len_utf8)),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
