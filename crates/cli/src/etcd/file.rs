//! The file of `--config-file`: the part of YAML that such files are written in, or JSON (`json.rs`), which begins with a brace.
//!
//! That is `KEY: VALUE` a line, the value plain or in quotes, lists (`[a, b]`, or a line each behind `-`), which become one value with
//! commas as on the command line, and one level of sections, whose keys are named `SECTION.KEY` here. What YAML has beyond that (anchors,
//! texts over several lines, several documents) is refused with its line, and so is a key that comes twice.

mod json;

use std::borrow::Cow;

/// One setting, and the line that it stands in, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    /// Empty where none is given.
    pub(super) value: String,
    pub(super) line: usize,
}

/// What a file sets, in its order; or the line that is not understood, and why.
pub(super) fn parse(text: &str) -> Result<Vec<Setting>, (usize, String)> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') {
        return json::parse(text);
    }
    let mut reader = Reader::default();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut whole = Cow::from(line);
        while leaves_list_open(&whole) {
            let Some((_, more)) = lines.next() else { break };
            whole = format!("{} {}", uncommented(&whole), uncommented(more).trim()).into();
        }
        reader.line(at + 1, &whole).map_err(|why| (at + 1, why))?;
    }
    Ok(reader.settings)
}

/// A line of a list without its comment. Behind quotes none is looked for: what stands there may be text.
fn uncommented(line: &str) -> &str {
    let comment = if line.trim_start().starts_with('#') { Some(0) } else { line.find(" #") };
    comment.filter(|&at| !line[..at].contains(['"', '\''])).map_or(line, |at| &line[..at])
}

/// Whether a list in brackets begins in a line, and does not end there.
fn leaves_list_open(line: &str) -> bool {
    let list =
        line.split_once(':').map(|(_, value)| value.trim_start()).filter(|value| value.starts_with('['));
    list.is_some_and(|list| !list.contains(']') && !line.trim_start().starts_with('#'))
}

#[derive(Default)]
struct Reader {
    settings: Vec<Setting>,
    /// The last key without a value, at the beginning of its line: what follows may be its list or its section.
    open: Option<Open>,
}

struct Open {
    key: String,
    /// How far its section is indented, once there is one.
    indent: Option<usize>,
    /// Its own setting, which becomes a list.
    at: usize,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let body = line.trim_start_matches(' ');
        let indent = line.len() - body.len();
        let body = body.trim_end();
        if body.is_empty() || body.starts_with('#') || (body == "---" && self.settings.is_empty()) {
            return Ok(());
        }
        if body.starts_with('\t') {
            return Err("a tab stands where YAML wants spaces".into());
        }
        if body == "-" || body.starts_with("- ") {
            return self.item(&body[1..]);
        }
        let (key, rest) = key(body)?;
        if indent == 0 {
            self.open = None;
            let value = value(rest)?;
            if value.is_empty() {
                self.open = Some(Open { key: key.clone(), indent: None, at: self.settings.len() });
            }
            return self.set(key, value, number);
        }
        let Some(open) = &mut self.open else {
            return Err("it is indented, and stands in no section".into());
        };
        if *open.indent.get_or_insert(indent) != indent {
            return Err("it is not indented as the line before".into());
        }
        let key = format!("{}.{key}", open.key);
        self.set(key, value(rest)?, number)
    }

    /// One more of a list.
    fn item(&mut self, rest: &str) -> Result<(), String> {
        let Some(Open { indent: None, at, .. }) = self.open else {
            return Err("it is part of a list, and no key stands before it".into());
        };
        let item = value(rest)?;
        if let Some(setting) = self.settings.get_mut(at) {
            if !setting.value.is_empty() {
                setting.value.push(',');
            }
            setting.value.push_str(&item);
        }
        Ok(())
    }

    fn set(&mut self, key: String, value: String, line: usize) -> Result<(), String> {
        if let Some(first) = self.settings.iter().find(|setting| setting.key == key) {
            return Err(format!("{key} stands in line {} already", first.line));
        }
        self.settings.push(Setting { key, value, line });
        Ok(())
    }
}

/// The key of a line, and what stands behind its colon.
fn key(body: &str) -> Result<(String, &str), String> {
    let (key, rest) = if body.starts_with(['"', '\'']) {
        let (key, rest) = quoted(body)?;
        (key, rest.trim_start().strip_prefix(':'))
    } else {
        match body.split_once(':') {
            Some((key, rest)) => (key.trim_end().to_string(), Some(rest)),
            None => (String::new(), None),
        }
    };
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
    match rest {
        Some(rest) if !key.is_empty() && !key.starts_with(['?', '&', '*', '!', '{', '[']) => Ok((key, rest)),
        _ => Err("it is not of the form KEY: VALUE".into()),
    }
}

/// A value: plain, in quotes, or a list in brackets.
fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(String::new());
    }
    let (value, rest) = match text.as_bytes()[0] {
        b'"' | b'\'' => quoted(text)?,
        b'[' => list(text)?,
        b'{' if text[1..].trim_start().starts_with('}') => {
            (String::new(), text.split_once('}').map_or("", |(_, rest)| rest))
        }
        b'&' | b'*' | b'!' | b'|' | b'>' | b'{' | b'}' | b']' | b'%' | b'@' | b'`' | b'?' => {
            return Err(format!("what begins with {} is not read here", &text[..1]));
        }
        _ => plain(text, &[]),
    };
    if !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
        return Err(format!("{:?} stands behind the value", rest.trim()));
    }
    Ok(value)
}

/// A value without quotes: up to a comment, or to one of `ends`.
fn plain<'a>(text: &'a str, ends: &[char]) -> (String, &'a str) {
    let end = text.find(" #").into_iter().chain(text.find(ends)).min().unwrap_or(text.len());
    let value = text[..end].trim_end();
    let value = if ["~", "null", "Null", "NULL"].contains(&value) { "" } else { value };
    (value.to_string(), &text[end..])
}

/// What stands in quotes, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut chars = text.char_indices().peekable();
    let quote = chars.next().map_or('"', |(_, quote)| quote);
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if quote == '\'' && chars.peek().is_some_and(|&(_, next)| next == '\'') => {
                chars.next();
                value.push('\'');
            }
            c if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            '\\' if quote == '"' => match chars.next() {
                Some((_, c @ ('"' | '\\' | '/'))) => value.push(c),
                other => {
                    let c = other.map_or(String::new(), |(_, c)| c.to_string());
                    return Err(format!("\\{c} is not read here: use single quotes"));
                }
            },
            c => value.push(c),
        }
    }
    Err(format!("a {quote} is not closed"))
}

/// A list in brackets as one value with commas, and what follows.
fn list(text: &str) -> Result<(String, &str), String> {
    let (mut items, mut rest) = (Vec::new(), text[1..].trim_start());
    while !rest.starts_with(']') {
        let (item, after) =
            if rest.starts_with(['"', '\'']) { quoted(rest)? } else { plain(rest, &[',', ']', '[', '{']) };
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.starts_with(']') => after,
            None => return Err("a list ends with ]".into()),
        };
        items.push(item);
    }
    Ok((items.join(","), &rest[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|setting| (setting.key, setting.value)).collect()
    }

    /// Claim: what such files are made of is read as YAML reads it.
    #[test]
    fn keys_values_lists_and_sections_are_read() {
        let text = "\u{feff}---\n# a comment\nname: 'it''s' # one\ndata-dir: /var/lib/etcd#1\n\n\
            listen-client-urls: http://127.0.0.1:2379,http://[::1]:2379\nwal-dir:\ndiscovery: ~\n\
            \"quota-backend-bytes\" : 0\nlog-outputs: [stderr, \"a b\" , 'c']\ncipher-suites: [ # two\n  a, # the first\n  # none\n  b,\n]\n";
        let read = pairs(text);
        let expected = [
            ("name", "it's"),
            ("data-dir", "/var/lib/etcd#1"),
            ("listen-client-urls", "http://127.0.0.1:2379,http://[::1]:2379"),
            ("wal-dir", ""),
            ("discovery", ""),
            ("quota-backend-bytes", "0"),
            ("log-outputs", "stderr,a b,c"),
            ("cipher-suites", "a,b"),
        ];
        assert_eq!(read, expected.map(|(key, value)| (key.to_string(), value.to_string())));
        let nested = "a:\n  - x\n  - 'y'\nb:\n- z\nc:\n    d: 1\n    # no\n    e: \"\\\"\"\nf: {}\n";
        let expected = [("a", "x,y"), ("b", "z"), ("c", ""), ("c.d", "1"), ("c.e", "\""), ("f", "")];
        assert_eq!(pairs(nested), expected.map(|(key, value)| (key.to_string(), value.to_string())));
    }

    /// Claim: what is not understood is named with its line, and nothing is guessed.
    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, line, says) in [
            ("a: 1\nb", 2, "KEY: VALUE"),
            ("a:1", 1, "KEY: VALUE"),
            (": 1", 1, "KEY: VALUE"),
            ("a: 1\n  b: 2", 2, "no section"),
            ("a:\n  b: 2\n   c: 3", 3, "not indented"),
            ("a:\n\tb: 2", 2, "a tab"),
            ("a: 1\na: 2", 2, "in line 1 already"),
            ("- a", 1, "no key"),
            ("a:\n  b: 1\n  - c", 3, "no key"),
            ("a: &x 1", 1, "begins with &"),
            ("a: |\n  text", 1, "begins with |"),
            ("a: {b: 1}", 1, "begins with {"),
            ("a: 'x", 1, "not closed"),
            ("a: 'x' y", 1, "behind the value"),
            ("a: \"\\u0041\"", 1, "single quotes"),
            ("a: [x, y", 1, "with ]"),
            ("a: [[x]]", 1, "with ]"),
            ("a: 1\n---\nb: 2", 2, "KEY: VALUE"),
        ] {
            let (at, why) = parse(text).unwrap_err();
            assert!(at == line && why.contains(says), "{text:?}: line {at}: {why}");
        }
    }
}
