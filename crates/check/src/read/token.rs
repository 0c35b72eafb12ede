//! A pull reader of EDN and JSON: one token a call, nothing copied but strings with escapes.
//!
//! Both notations are read by the same few lines, since a history is maps, lists, strings and numbers in either. Of EDN it
//! takes all that Jepsen writes: tags are skipped (the value behind a tag is taken as it is), `#_` drops the next form,
//! symbols are keywords, a character is a string. It leaves out namespaced maps' prefixes and metadata.

use std::borrow::Cow;

/// What brackets hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{…}`: keys and values in turn.
    Map,
    /// `[…]` or `(…)`.
    List,
    /// `#{…}`.
    Set,
}

impl Shape {
    /// The bracket that ends it; a list may be in round ones too.
    pub fn closes(self, byte: u8) -> bool {
        match self {
            Self::Map | Self::Set => byte == b'}',
            Self::List => byte == b']' || byte == b')',
        }
    }
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Token<'a> {
    /// An opening bracket.
    Open(Shape),
    /// A closing bracket: `]`, `)` or `}`.
    Close(u8),
    /// `nil` or `null`.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number, as it was written.
    Number(&'a str),
    /// A string or character.
    Text(Cow<'a, str>),
    /// A keyword or symbol.
    Keyword(&'a str),
    /// The text is over.
    End,
}

/// Why a text cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The place in the bytes.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
    /// The text only stops too early: more of it may mend it.
    pub cut: bool,
}

impl Mistake {
    pub(crate) fn new(at: usize, what: impl Into<String>, hint: &'static str) -> Self {
        Self { at, what: what.into(), hint, cut: false }
    }
}

/// Which of the two notations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Clojure's.
    Edn,
    /// JavaScript's.
    Json,
}

/// A number of so many digits fits.
const PLAIN: usize = 18;

/// Deeper values are no history's.
const DEEPEST: u32 = 100;

/// The reader over a text.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
    notation: Notation,
    whole: bool,
    /// So many `#_` wait for the form that they drop.
    dropping: u32,
}

impl<'a> Tokens<'a> {
    /// Reads `bytes`; unless they are the `whole` rest of the text, a token that touches their end is cut.
    pub fn new(bytes: &'a [u8], notation: Notation, whole: bool) -> Self {
        Self { bytes, at: 0, notation, whole, dropping: 0 }
    }

    /// The place of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes to a place that [`Tokens::at`] gave.
    pub fn go(&mut self, at: usize) {
        self.at = at;
    }

    /// The text is JSON, which knows one kind of number and no keys but strings.
    pub fn is_json(&self) -> bool {
        self.notation == Notation::Json
    }

    /// A mistake at a place.
    pub fn mistake(&self, at: usize, what: impl Into<String>, hint: &'static str) -> Mistake {
        Mistake::new(at, what, hint)
    }

    fn cut(&self, what: &str) -> Mistake {
        let hint = "the file ends in the middle: was it still being written?";
        Mistake { cut: !self.whole, ..Mistake::new(self.at, what, hint) }
    }

    /// True where nothing is left.
    pub fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next token where it is a keyword or a string and its bytes are its name as they stand; else nothing is taken.
    /// Fields of maps are told by such names, most of a history's bytes are read here, so UTF-8 is the caller's affair.
    #[inline]
    pub fn name(&mut self) -> Option<&'a [u8]> {
        self.blank();
        let rest = &self.bytes[self.at..];
        let (len, width) = match rest.first()? {
            b':' => (rest[1..].iter().position(|&byte| ends_word(byte))?, 1),
            b'"' => (rest[1..].iter().position(|&byte| matches!(byte, b'"' | b'\\'))?, 2),
            _ => return None,
        };
        if width == 2 && rest[1 + len] != b'"' {
            return None;
        }
        self.at += len + width;
        Some(&rest[1..=len])
    }

    /// The next token where it is a whole number of digits alone that surely fits; else nothing is taken.
    #[inline]
    pub fn plain_int(&mut self) -> Option<i64> {
        self.blank();
        let rest = &self.bytes[self.at..];
        let mut number = 0;
        for (len, &byte) in rest.iter().take(PLAIN + 1).enumerate() {
            if !byte.is_ascii_digit() {
                let ends = len > 0 && ends_word(byte);
                self.at += if ends { len } else { 0 };
                return ends.then_some(number);
            }
            if len < PLAIN {
                number = number * 10 + i64::from(byte - b'0');
            }
        }
        None
    }

    /// Drops the next token where it is a word or a number of ASCII: says whether it was.
    #[inline]
    fn skip_word(&mut self) -> bool {
        self.blank();
        let rest = &self.bytes[self.at..];
        let is_word = match rest.first() {
            Some(b'0'..=b'9') => true,
            Some(byte) => self.notation == Notation::Edn && (byte.is_ascii_alphabetic() || *byte == b':'),
            None => false,
        };
        let end = if is_word { rest.iter().position(|&byte| ends_word(byte) || byte >= 0x80) } else { None };
        let end = end.filter(|&end| rest[end] < 0x80).unwrap_or(0);
        self.at += end;
        end > 0
    }

    /// Skips what stands between tokens.
    #[inline]
    pub fn blank(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b',' | b'\t' | b'\n' | b'\r' | 0x0c => self.at += 1,
                b':' if self.notation == Notation::Json => self.at += 1,
                b';' if self.notation == Notation::Edn => {
                    let rest = &self.bytes[self.at..];
                    match rest.iter().position(|&b| b == b'\n') {
                        Some(len) => self.at += len,
                        None if self.whole => self.at += rest.len(),
                        // The rest of the comment is still to come.
                        None => return,
                    }
                }
                _ => return,
            }
        }
    }

    /// The next token.
    pub fn pull(&mut self) -> Result<Token<'a>, Mistake> {
        loop {
            self.blank();
            let Some(&byte) = self.bytes.get(self.at) else {
                return if self.whole { Ok(Token::End) } else { Err(self.cut("the text ends here")) };
            };
            let simple = match byte {
                b'{' => Token::Open(Shape::Map),
                b'[' | b'(' => Token::Open(Shape::List),
                b'}' | b']' | b')' => Token::Close(byte),
                b'"' => return self.text(),
                b'0'..=b'9' => return self.number(),
                b'-' | b'+' if self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) => {
                    return self.number();
                }
                b';' if !self.whole => return Err(self.cut("the text ends inside a comment")),
                b':' => {
                    self.at += 1;
                    return Ok(Token::Keyword(self.word()?));
                }
                b'#' if self.notation == Notation::Edn => match self.tagged()? {
                    Some(token) => return Ok(token),
                    None => continue,
                },
                b'\\' if self.notation == Notation::Edn => return self.character(),
                _ => return self.symbol(),
            };
            self.at += 1;
            return Ok(simple);
        }
    }

    /// Drops the next value whole, without a look at what is in it: only brackets, strings and comments count.
    pub fn skip(&mut self) -> Result<(), Mistake> {
        if self.skip_word() {
            return Ok(());
        }
        match self.pull()? {
            Token::Open(_) => {}
            Token::Close(_) => {
                return Err(self.mistake(self.at - 1, "a bracket closes where a value should stand", ""));
            }
            Token::End => return Err(self.cut("the text ends where a value should stand")),
            _ => return Ok(()),
        }
        // Where the outer brackets opened; what is nested deeper is only counted.
        let mut opened = [self.at - 1; 16];
        let mut depth = 1;
        while depth > 0 {
            match self.bytes.get(self.at) {
                None => return Err(self.unclosed(opened[depth.min(opened.len()) - 1])),
                Some(b'{' | b'[' | b'(') => {
                    if let Some(place) = opened.get_mut(depth) {
                        *place = self.at;
                    }
                    depth += 1;
                }
                Some(&byte @ (b'}' | b']' | b')')) => {
                    depth -= 1;
                    if let Some(&place) = opened.get(depth)
                        && (self.bytes[place] == b'{') != (byte == b'}')
                    {
                        return Err(self.misclosed(place, byte));
                    }
                }
                Some(b'"') => {
                    self.text()?;
                    continue;
                }
                Some(b';' | b'\\') if self.notation == Notation::Edn => {
                    // A character may be a bracket, and a comment may hold some.
                    if self.bytes[self.at] == b';' {
                        self.blank();
                        if self.bytes.get(self.at) == Some(&b';') {
                            return Err(self.cut("the text ends inside a comment"));
                        }
                    } else {
                        self.character()?;
                    }
                    continue;
                }
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A value and its depth are limited: what a stranger sends must not end the stack.
    pub fn deeper(&self, depth: u32) -> Result<u32, Mistake> {
        if depth >= DEEPEST {
            return Err(self.mistake(
                self.at,
                format!("a value nested deeper than {DEEPEST}"),
                "is it a history?",
            ));
        }
        Ok(depth + 1)
    }

    /// The text ended, and the bracket that opened there is still open.
    pub fn unclosed(&self, place: usize) -> Mistake {
        Mistake { at: place, ..self.cut("the bracket that opens here is not closed") }
    }

    /// The bracket that opened there is closed by one of another kind.
    pub fn misclosed(&self, place: usize, byte: u8) -> Mistake {
        let what = format!("the bracket that opens here is closed by {}", char::from(byte));
        Mistake::new(place, what, "close what is innermost first, { by } and [ by ]")
    }

    /// What begins with `#`: a set, a comment form, or a tag, which is skipped.
    fn tagged(&mut self) -> Result<Option<Token<'a>>, Mistake> {
        self.at += 1;
        match self.bytes.get(self.at) {
            None => Err(self.cut("the text ends behind #")),
            Some(b'{') => {
                self.at += 1;
                Ok(Some(Token::Open(Shape::Set)))
            }
            Some(b'_') => {
                self.at += 1;
                // One that drops another one is read within it.
                self.dropping = self.deeper(self.dropping)?;
                self.skip()?;
                self.dropping -= 1;
                Ok(None)
            }
            Some(b'#') => {
                self.at += 1;
                Ok(Some(Token::Number(self.word()?)))
            }
            Some(_) => {
                self.word()?;
                Ok(None)
            }
        }
    }

    fn character(&mut self) -> Result<Token<'a>, Mistake> {
        let from = self.at + 1;
        self.at += 1;
        // The character itself may be one that ends words.
        let width = match self.bytes.get(from) {
            None => return Err(self.cut("the text ends behind \\")),
            Some(&byte) if byte < 0x80 => 1,
            Some(&byte) => byte.leading_ones() as usize,
        };
        self.at = (from + width).min(self.bytes.len());
        self.word()?;
        let text = self.str(from, self.at)?;
        Ok(Token::Text(match text {
            "newline" => "\n".into(),
            "space" => " ".into(),
            "tab" => "\t".into(),
            "return" => "\r".into(),
            "backspace" => "\u{8}".into(),
            "formfeed" => "\u{c}".into(),
            other => coded(other).map_or(Cow::Borrowed(other), |one| String::from(one).into()),
        }))
    }

    fn symbol(&mut self) -> Result<Token<'a>, Mistake> {
        let from = self.at;
        let word = self.word()?;
        match word {
            "nil" | "null" => Ok(Token::Nil),
            "true" => Ok(Token::Bool(true)),
            "false" => Ok(Token::Bool(false)),
            "" => {
                let shown = self.bytes[from];
                let what = if shown.is_ascii_graphic() {
                    format!("{:?} cannot stand here", char::from(shown))
                } else {
                    format!("the byte 0x{shown:02x} cannot stand here")
                };
                Err(self.mistake(from, what, "is it a history in EDN or JSON?"))
            }
            _ if self.notation == Notation::Json => {
                Err(self.mistake(from, format!("{word} is no JSON value"), "strings stand in double quotes"))
            }
            _ => Ok(Token::Keyword(word)),
        }
    }

    /// Bytes up to the next that ends a word.
    fn word(&mut self) -> Result<&'a str, Mistake> {
        let from = self.at;
        while self.bytes.get(self.at).is_some_and(|&byte| !ends_word(byte)) {
            self.at += 1;
        }
        if self.at == self.bytes.len() && !self.whole {
            return Err(self.cut("the text ends inside a word"));
        }
        self.str(from, self.at)
    }

    fn str(&self, from: usize, to: usize) -> Result<&'a str, Mistake> {
        std::str::from_utf8(&self.bytes[from..to]).map_err(|error| {
            self.mistake(from + error.valid_up_to(), "this is not UTF-8", "convert the file to UTF-8")
        })
    }

    fn number(&mut self) -> Result<Token<'a>, Mistake> {
        let from = self.at;
        let negative = self.bytes[from] == b'-';
        if !self.bytes[from].is_ascii_digit() {
            self.at += 1;
        }
        let mut number = Some(0i64);
        while let Some(&byte) = self.bytes.get(self.at) {
            if !byte.is_ascii_digit() {
                break;
            }
            let digit = i64::from(byte - b'0');
            number = number.and_then(|n| n.checked_mul(10)?.checked_sub(digit));
            self.at += 1;
        }
        let digits = self.at;
        let ended = match self.bytes.get(self.at) {
            Some(b'N') => {
                self.at += 1;
                self.bytes.get(self.at)
            }
            other => other,
        };
        match ended {
            None if !self.whole => return Err(self.cut("the text ends inside a number")),
            Some(&byte) if !ends_word(byte) => {
                self.word()?;
                return self.str(from, self.at).map(Token::Number);
            }
            _ => {}
        }
        // Gathered below zero, where there is room for one more.
        match number.and_then(|n| if negative { Some(n) } else { n.checked_neg() }) {
            Some(number) => Ok(Token::Int(number)),
            None => self.str(from, digits).map(Token::Number),
        }
    }

    fn text(&mut self) -> Result<Token<'a>, Mistake> {
        self.at += 1;
        let from = self.at;
        let mut owned: Option<String> = None;
        let mut kept = from;
        loop {
            match self.bytes.get(self.at) {
                None => {
                    self.at = from;
                    return Err(self.cut("the string that begins here has no end"));
                }
                Some(b'"') => {
                    let rest = self.str(kept, self.at)?;
                    self.at += 1;
                    return Ok(Token::Text(match owned {
                        None => Cow::Borrowed(rest),
                        Some(text) => Cow::Owned(text + rest),
                    }));
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(self.str(kept, self.at)?);
                    let text = owned.get_or_insert_default();
                    text.push(self.escape()?);
                    kept = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Mistake> {
        let from = self.at;
        self.at += 2;
        Ok(match self.bytes.get(from + 1) {
            None => return Err(self.cut("the text ends inside a string")),
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => {
                let high = self.hex(from)?;
                if (0xd800..0xdc00).contains(&high) && self.bytes[self.at..].starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex(back)?;
                    let pair = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
                    char::from_u32(pair).unwrap_or('\u{fffd}')
                } else {
                    char::from_u32(high).unwrap_or('\u{fffd}')
                }
            }
            Some(&byte) if matches!(byte, b'"' | b'\\' | b'/' | b'\'') => char::from(byte),
            Some(_) => {
                return Err(self.mistake(
                    from,
                    "an escape that neither EDN nor JSON knows",
                    "write \\\\ for a backslash",
                ));
            }
        })
    }

    fn hex(&mut self, from: usize) -> Result<u32, Mistake> {
        let Some(digits) = self.bytes.get(self.at..self.at + 4) else {
            return Err(self.cut("the text ends inside a string"));
        };
        self.at += 4;
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.mistake(from, "\\u wants four hexadecimal digits", ""))
    }
}

/// The character that `u` with four hexadecimal digits, or `o` with some octal ones, names.
fn coded(text: &str) -> Option<char> {
    let (digits, radix) = match text.split_at_checked(1)? {
        ("u", digits) if digits.len() == 4 => (digits, 16),
        ("o", digits) if (1..=3).contains(&digits.len()) => (digits, 8),
        _ => return None,
    };
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

#[inline]
fn ends_word(byte: u8) -> bool {
    ENDS_WORD[usize::from(byte)]
}

/// By byte: it ends words.
static ENDS_WORD: [bool; 256] = {
    let mut ends = [false; 256];
    let all = b" ,\t\n\r\x0c{}[]()\";";
    let mut place = 0;
    while place < all.len() {
        ends[all[place] as usize] = true;
        place += 1;
    }
    ends
};

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, notation: Notation) -> Result<Vec<Token<'_>>, Mistake> {
        let mut tokens = Tokens::new(text.as_bytes(), notation, true);
        let mut found = Vec::new();
        loop {
            match tokens.pull()? {
                Token::End => return Ok(found),
                token => found.push(token),
            }
        }
    }

    /// Claim: what Jepsen writes is read, tags, sets and big numbers among it.
    #[test]
    fn edn_is_read() {
        use Token::*;
        let text = "#jepsen.history.Op{:f :read, ; a comment\n :value #{1N -2 \"a\\nb\"} #_(gone) \\c 1.5M 7/2 nil true}";
        let wanted = vec![
            Open(Shape::Map),
            Keyword("f"),
            Keyword("read"),
            Keyword("value"),
            Open(Shape::Set),
            Int(1),
            Int(-2),
            Text("a\nb".into()),
            Close(b'}'),
            Text("c".into()),
            Number("1.5M"),
            Number("7/2"),
            Nil,
            Bool(true),
            Close(b'}'),
        ];
        assert_eq!(all(text, Notation::Edn), Ok(wanted));
        assert_eq!(all("-9223372036854775808", Notation::Edn), Ok(vec![Int(i64::MIN)]));
        assert_eq!(all("9223372036854775808", Notation::Edn), Ok(vec![Number("9223372036854775808")]));
    }

    #[test]
    fn json_is_read() {
        use Token::*;
        let wanted = vec![
            Open(Shape::Map),
            Text("a\u{1f600}".into()),
            Nil,
            Text("b".into()),
            Bool(false),
            Close(b'}'),
        ];
        assert_eq!(all("{\"a\\ud83d\\ude00\":null,\"b\":false}", Notation::Json), Ok(wanted));
        assert_eq!(all("[1e5]", Notation::Json), Ok(vec![Open(Shape::List), Number("1e5"), Close(b']')]));
        assert!(all("[abc]", Notation::Json).is_err());
    }

    /// Claim: no cut of a text makes a panic or a wrong token: it is said to be cut, or a beginning of the tokens.
    #[test]
    fn cuts_are_told() {
        let text = "{:f :read :value [12 \"ä\\u00e9\" nil] :tag #x/y 3N}";
        let whole = all(text, Notation::Edn).unwrap();
        for to in 0..text.len() {
            let mut tokens = Tokens::new(&text.as_bytes()[..to], Notation::Edn, false);
            let mut found = Vec::new();
            loop {
                match tokens.pull() {
                    Ok(Token::End) => break,
                    Ok(token) => found.push(token),
                    Err(mistake) => {
                        assert!(mistake.cut, "{mistake:?} at {to}");
                        break;
                    }
                }
            }
            assert!(whole.starts_with(&found), "{found:?} at {to}");
        }
    }
}
