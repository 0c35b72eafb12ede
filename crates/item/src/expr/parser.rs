//! From tokens to the tree, in one pass over the tokens.
//!
//! Conditions are read without recursion: open parentheses stand on a stack of their own. Whether a parenthesis holds a
//! condition or an operand is known from what follows its closing one, so nothing is read twice. Operands nest in each
//! other by calls and parentheses; how deep is bounded, as is the number of operators, so that the tree's depth is.
//!
//! The grammar is DynamoDB's. An operand is a path, a value, a call, or one of these in parentheses; a `SET` has one
//! operand or two with a plus or minus between. Two parentheses straight around the same are refused, as soon as the
//! outer is closed.

use super::lexer::{Keyword, Kind, Token, tokens};
use super::tree::{Action, Call, Part, RawCondition, RawOperand, RawPath, RawSource, Section, Verb};
use crate::condition::Comparator;

/// Operators and functions of one expression.
const OPERATORS: usize = 300;
/// Operands may be nested this deep. Deeper, there are too many functions, or parentheses without need.
const NESTING: usize = OPERATORS;

/// What DynamoDB says of a text that is no expression.
type Parsed<T> = Result<T, String>;

/// A condition from its text.
pub(super) fn condition(text: &str) -> Parsed<RawCondition<'_>> {
    Parser::new(text).condition()
}

/// The sections of an update from its text.
pub(super) fn update(text: &str) -> Parsed<Vec<Section<'_>>> {
    let mut parser = Parser::new(text);
    let mut sections = vec![parser.section()?];
    while parser.kind() != Kind::End {
        sections.push(parser.section()?);
    }
    Ok(sections)
}

/// The paths of a projection from its text.
pub(super) fn projection(text: &str) -> Parsed<Vec<RawPath<'_>>> {
    let mut parser = Parser::new(text);
    let paths = parser.listed(Parser::path)?;
    parser.needs(Kind::End)?;
    Ok(paths)
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    /// For each open parenthesis, where its closing one is.
    closing: Vec<usize>,
    at: usize,
    operators: usize,
}

/// What was read since a parenthesis opened.
#[derive(Default)]
struct Group<'t> {
    or: Vec<RawCondition<'t>>,
    and: Vec<RawCondition<'t>>,
    /// `NOT`s that wait for their condition.
    nots: usize,
    /// Whether all of it is one condition in parentheses.
    only_parentheses: bool,
}

impl<'t> Group<'t> {
    fn add(&mut self, mut condition: RawCondition<'t>, in_parentheses: bool) {
        self.only_parentheses = in_parentheses && self.nots == 0 && self.or.is_empty() && self.and.is_empty();
        for _ in 0..std::mem::take(&mut self.nots) {
            condition = RawCondition::Not(Box::new(condition));
        }
        self.and.push(condition);
    }

    fn or(&mut self) {
        let and = std::mem::take(&mut self.and);
        self.or.push(one_or(and, RawCondition::And));
    }

    fn finish(mut self) -> RawCondition<'t> {
        self.or();
        one_or(self.or, RawCondition::Or)
    }
}

fn one_or<'t>(
    mut list: Vec<RawCondition<'t>>,
    many: fn(Vec<RawCondition<'t>>) -> RawCondition<'t>,
) -> RawCondition<'t> {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        Some(last) => {
            list.push(last);
            many(list)
        }
        None => many(list),
    }
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        let tokens = tokens(text);
        let mut closing = vec![tokens.len(); tokens.len()];
        let mut open = Vec::new();
        for (i, token) in tokens.iter().enumerate() {
            match token.kind {
                Kind::Open => open.push(i),
                Kind::Close => {
                    if let Some(opened) = open.pop() {
                        closing[opened] = i;
                    }
                }
                _ => {}
            }
        }
        Self { text, tokens, closing, at: 0, operators: 0 }
    }

    fn kind(&self) -> Kind {
        self.kind_at(self.at)
    }

    fn kind_at(&self, at: usize) -> Kind {
        self.tokens.get(at).map_or(Kind::End, |token| token.kind)
    }

    /// Takes the token; the end stays.
    fn next(&mut self) -> &'t str {
        let text = self.tokens.get(self.at).map_or("", |token| token.text);
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        text
    }

    fn takes(&mut self, kind: Kind) -> bool {
        let there = self.kind() == kind;
        if there {
            self.next();
        }
        there
    }

    fn needs(&mut self, kind: Kind) -> Parsed<&'t str> {
        if self.kind() == kind { Ok(self.next()) } else { self.fail() }
    }

    /// What stands here does not belong here: it is shown with its neighbours.
    fn fail<T>(&self) -> Parsed<T> {
        let token = self.tokens[self.at].text;
        let from = self.at.checked_sub(1).map_or(0, |before| self.tokens[before].start);
        let to = self.tokens.get(self.at + 1).map_or(self.text.len(), |after| after.end);
        Err(format!("Syntax error; token: \"{token}\", near: \"{}\"", &self.text[from..to]))
    }

    fn redundant<T>() -> Parsed<T> {
        Err("The expression has redundant parentheses;".into())
    }

    /// One operator or function more.
    fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators <= OPERATORS {
            return Ok(());
        }
        Err(format!("The expression contains too many operators; operator count: {}", self.operators))
    }

    fn listed<T>(&mut self, mut each: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut list = vec![each(self)?];
        while self.takes(Kind::Comma) {
            list.push(each(self)?);
        }
        Ok(list)
    }

    fn condition(&mut self) -> Parsed<RawCondition<'t>> {
        let mut outer = Vec::new();
        let mut group = Group::default();
        loop {
            while self.takes(Kind::Keyword(Keyword::Not)) {
                self.operator()?;
                group.nots += 1;
            }
            if self.opens_condition() {
                self.next();
                outer.push(std::mem::take(&mut group));
                continue;
            }
            let comparison = self.comparison()?;
            group.add(comparison, false);
            while self.kind() == Kind::Close {
                let Some(around) = outer.pop() else { return self.fail() };
                self.next();
                if group.only_parentheses {
                    return Self::redundant();
                }
                let inner = std::mem::replace(&mut group, around).finish();
                group.add(inner, true);
            }
            match self.kind() {
                Kind::Keyword(Keyword::And) => {}
                Kind::Keyword(Keyword::Or) => group.or(),
                Kind::End if outer.is_empty() => return Ok(group.finish()),
                _ => return self.fail(),
            }
            self.next();
            self.operator()?;
        }
    }

    /// Whether a parenthesis opens here that holds a condition: it holds an operand if an operator follows it.
    fn opens_condition(&self) -> bool {
        let after = || self.kind_at(self.closing[self.at] + 1);
        self.kind() == Kind::Open
            && !matches!(after(), Kind::Comparator(_) | Kind::Keyword(Keyword::Between | Keyword::In))
    }

    fn comparison(&mut self) -> Parsed<RawCondition<'t>> {
        let a = self.operand(0)?;
        match self.kind() {
            Kind::Comparator(comparator) => {
                self.next();
                self.operator()?;
                Ok(RawCondition::Compare(comparator, a, self.operand(0)?))
            }
            Kind::Keyword(Keyword::Between) => {
                self.next();
                self.operator()?;
                let low = self.operand(0)?;
                self.needs(Kind::Keyword(Keyword::And))?;
                Ok(RawCondition::Between(a, low, self.operand(0)?))
            }
            Kind::Keyword(Keyword::In) => {
                self.next();
                self.operator()?;
                self.needs(Kind::Open)?;
                let list = self.listed(|parser| parser.operand(0))?;
                self.needs(Kind::Close)?;
                Ok(RawCondition::In(a, list))
            }
            _ => match a {
                RawOperand::Call(call) => Ok(RawCondition::Call(call)),
                _ => self.fail(),
            },
        }
    }

    fn operand(&mut self, depth: usize) -> Parsed<RawOperand<'t>> {
        if depth > NESTING {
            return Self::redundant();
        }
        match self.kind() {
            Kind::Value => Ok(RawOperand::Value(self.next())),
            Kind::Open => {
                let opened = self.next_place();
                let inner = self.operand(depth + 1)?;
                self.needs(Kind::Close)?;
                if self.kind_at(opened + 1) == Kind::Open && self.closing[opened + 1] + 2 == self.at {
                    return Self::redundant();
                }
                Ok(inner)
            }
            Kind::Name if self.kind_at(self.at + 1) == Kind::Open => {
                self.operator()?;
                let name = self.next();
                self.next();
                let operands = self.listed(|parser| parser.operand(depth + 1))?;
                self.needs(Kind::Close)?;
                Ok(RawOperand::Call(Call { name, operands }))
            }
            _ => Ok(RawOperand::Path(self.path()?)),
        }
    }

    /// Takes the token and says where it stood.
    fn next_place(&mut self) -> usize {
        let place = self.at;
        self.next();
        place
    }

    fn path(&mut self) -> Parsed<RawPath<'t>> {
        let mut parts = vec![self.name()?];
        loop {
            if self.takes(Kind::Dot) {
                parts.push(self.name()?);
            } else if self.takes(Kind::OpenIndex) {
                parts.push(Part::Index(self.needs(Kind::Index)?));
                self.needs(Kind::CloseIndex)?;
            } else {
                return Ok(RawPath { parts });
            }
        }
    }

    fn name(&mut self) -> Parsed<Part<'t>> {
        match self.kind() {
            Kind::Name => Ok(Part::Name(self.next())),
            Kind::Placeholder => Ok(Part::Placeholder(self.next())),
            _ => self.fail(),
        }
    }

    fn section(&mut self) -> Parsed<Section<'t>> {
        let verb = match self.kind() {
            Kind::Keyword(Keyword::Set) => Verb::Set,
            Kind::Keyword(Keyword::Remove) => Verb::Remove,
            Kind::Keyword(Keyword::Add) => Verb::Add,
            Kind::Keyword(Keyword::Delete) => Verb::Delete,
            _ => return self.fail(),
        };
        self.next();
        let actions = self.listed(|parser| {
            let path = parser.path()?;
            let value = match verb {
                Verb::Set => {
                    parser.needs(Kind::Comparator(Comparator::Eq))?;
                    Some(parser.source(0)?)
                }
                Verb::Remove => None,
                Verb::Add | Verb::Delete => {
                    Some(RawSource::Operand(RawOperand::Value(parser.needs(Kind::Value)?)))
                }
            };
            Ok(Action { verb, path, value })
        })?;
        Ok(Section { verb, actions })
    }

    fn source(&mut self, depth: usize) -> Parsed<RawSource<'t>> {
        if depth > 1 {
            return Self::redundant();
        }
        let a = if self.opens_sum() {
            let opened = self.next_place();
            let inner = self.source(depth + 1)?;
            self.needs(Kind::Close)?;
            if self.kind_at(opened + 1) == Kind::Open && self.closing[opened + 1] + 2 == self.at {
                return Self::redundant();
            }
            return Ok(inner);
        } else {
            self.operand(0)?
        };
        let sum = match self.kind() {
            Kind::Plus => RawSource::Plus,
            Kind::Minus => RawSource::Minus,
            _ => return Ok(RawSource::Operand(a)),
        };
        self.next();
        self.operator()?;
        Ok(sum(a, self.operand(0)?))
    }

    /// Whether a parenthesis opens here that holds a sum: none stands after it.
    fn opens_sum(&self) -> bool {
        self.kind() == Kind::Open
            && !matches!(self.kind_at(self.closing[self.at] + 1), Kind::Plus | Kind::Minus)
    }
}
