//! The second checks of a tree, and what it becomes: placeholders are looked up, and operands must be of the types and
//! kinds that their operators take. What is known of types is known from values; a path can be of any.

use super::placement::{count_operands, index};
use super::tree::{Action, Call, Part, RawCondition, RawOperand, RawPath, RawSource, Verb};
use super::{Expressions, overlap};
use crate::condition::{Comparator, Condition, Operand, size};
use crate::path::{Path, Step};
use crate::update::{Source, Update};
use crate::value::{AttributeValue, DEPTH, Type};
use std::cmp::Ordering;

/// Operands of `IN`.
const IN_OPERANDS: usize = 100;
/// Names of types, in the order in which DynamoDB lists them.
const TYPE_NAMES: &str = "{N,BS,L,B,NULL,M,S,SS,NS,BOOL}";
/// What a path can be, in the order in which DynamoDB lists it.
const ANY_TYPE: &str = "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}";

type Resolved<T> = Result<T, String>;

impl Expressions {
    /// (What has no conditions in it is resolved apart, so that what nests needs little of the stack.)
    pub(super) fn resolve_condition(&mut self, raw: &RawCondition<'_>) -> Resolved<Condition> {
        match raw {
            RawCondition::Or(list) => self.all(list).map(Condition::Any),
            RawCondition::And(list) => self.all(list).map(Condition::All),
            RawCondition::Not(inner) => self.negated(inner),
            leaf => self.leaf(leaf),
        }
    }

    fn all(&mut self, list: &[RawCondition<'_>]) -> Resolved<Vec<Condition>> {
        list.iter().map(|raw| self.resolve_condition(raw)).collect()
    }

    fn negated(&mut self, inner: &RawCondition<'_>) -> Resolved<Condition> {
        let inner = self.resolve_condition(inner)?;
        Ok(Condition::Not(Box::new(inner)))
    }

    fn leaf(&mut self, raw: &RawCondition<'_>) -> Resolved<Condition> {
        match raw {
            RawCondition::Compare(comparator, a, b) => self.comparison(*comparator, a, b),
            RawCondition::Between(a, low, high) => self.between(a, low, high),
            RawCondition::In(a, list) => self.one_of(a, list),
            RawCondition::Call(call) => self.call(call),
            other => self.resolve_condition(other),
        }
    }

    fn comparison(
        &mut self,
        comparator: Comparator,
        a: &RawOperand<'_>,
        b: &RawOperand<'_>,
    ) -> Resolved<Condition> {
        let (a, b) = (self.operand(a)?, self.operand(b)?);
        let operator = comparator.symbol();
        distinct(operator, &a, [&b])?;
        if !matches!(comparator, Comparator::Eq | Comparator::Ne) {
            of_type(operator, [&a, &b], Type::is_ordered)?;
        }
        Ok(Condition::Compare(comparator, a, b))
    }

    fn between(
        &mut self,
        a: &RawOperand<'_>,
        low: &RawOperand<'_>,
        high: &RawOperand<'_>,
    ) -> Resolved<Condition> {
        let (a, low, high) = (self.operand(a)?, self.operand(low)?, self.operand(high)?);
        distinct("BETWEEN", &a, [&low, &high])?;
        of_type("BETWEEN", [&a, &low, &high], Type::is_ordered)?;
        if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
            let bounds =
                || format!("lower bound operand: {}, upper bound operand: {}", shown(low), shown(high));
            match low.order(high) {
                None => {
                    let what = "The BETWEEN operator requires same data type for lower and upper bounds";
                    return Err(format!("{what}; {}", bounds()));
                }
                Some(Ordering::Greater) => {
                    let what = "The BETWEEN operator requires upper bound to be greater than or equal to lower bound";
                    return Err(format!("{what}; {}", bounds()));
                }
                Some(_) => {}
            }
        }
        Ok(Condition::Between(a, low, high))
    }

    fn one_of(&mut self, a: &RawOperand<'_>, list: &[RawOperand<'_>]) -> Resolved<Condition> {
        let a = self.operand(a)?;
        let list = list.iter().map(|operand| self.operand(operand)).collect::<Resolved<Vec<_>>>()?;
        if list.len() > IN_OPERANDS {
            let count = list.len();
            return Err(format!(
                "The IN operator is provided with too many operands; number of operands: {count}"
            ));
        }
        distinct("IN", &a, &list)?;
        Ok(Condition::In(a, list))
    }

    /// A function that is a condition: its name and its number of operands were checked.
    fn call(&mut self, call: &Call<'_>) -> Resolved<Condition> {
        let name = call.name;
        let mut operands = call
            .operands
            .iter()
            .map(|operand| self.operand(operand))
            .collect::<Resolved<Vec<_>>>()?
            .into_iter();
        let (Some(a), b) = (operands.next(), operands.next()) else { return Err(no_function(name)) };
        match (name, b) {
            ("attribute_exists", None) => Ok(Condition::Exists(needs_path(name, a)?)),
            ("attribute_not_exists", None) => Ok(Condition::NotExists(needs_path(name, a)?)),
            ("attribute_type", Some(b)) => {
                let path = needs_path(name, a)?;
                distinct(name, &Operand::Path(path.clone()), [&b])?;
                Ok(Condition::IsType(path, type_name(name, &b)?))
            }
            ("begins_with", Some(b)) => {
                distinct(name, &a, [&b])?;
                of_type(name, [&a, &b], |kind| matches!(kind, Type::S | Type::B))?;
                Ok(Condition::BeginsWith(a, b))
            }
            ("contains", Some(b)) => {
                distinct(name, &a, [&b])?;
                Ok(Condition::Contains(a, b))
            }
            _ => Err(no_function(name)),
        }
    }

    fn operand(&mut self, raw: &RawOperand<'_>) -> Resolved<Operand> {
        Ok(match raw {
            RawOperand::Path(path) => Operand::Path(self.path(path)?),
            RawOperand::Value(name) => Operand::Value(self.value(name)?),
            RawOperand::Call(call) => match call.operands.first().map(|operand| self.operand(operand)) {
                None => return Err(no_function(call.name)),
                Some(operand) => match operand? {
                    Operand::Path(path) => Operand::Size(path),
                    Operand::Value(value) => {
                        Operand::Value(size(&value).ok_or_else(|| wrong_type("size", value.kind().name()))?)
                    }
                    Operand::Size(_) | Operand::SizeInBytes(_) => return Err(wrong_type("size", "N")),
                },
            },
        })
    }

    /// The paths of a projection.
    pub(super) fn resolve_paths(&mut self, raw: &[RawPath<'_>]) -> Resolved<Vec<Path>> {
        let paths = raw.iter().map(|path| self.path(path)).collect::<Resolved<Vec<_>>>()?;
        overlap::check(&paths.iter().collect::<Vec<_>>())?;
        Ok(paths)
    }

    /// An update. DynamoDB looks at the paths that are written to first, then goes through the actions from the last to
    /// the first: all names, then all values.
    pub(super) fn resolve_update(&mut self, actions: &[Action<'_>]) -> Resolved<Update> {
        let targets = actions.iter().map(|action| self.named(&action.path)).collect::<Resolved<Vec<_>>>()?;
        overlap::check(&targets.iter().collect::<Vec<_>>())?;
        for action in actions.iter().rev() {
            for operand in action.value.iter().flat_map(RawSource::operands) {
                self.names_are_defined(operand)?;
            }
        }
        let mut update = Update::default();
        for action in actions.iter().rev() {
            let path = self.path(&action.path)?;
            match (action.verb, &action.value) {
                (Verb::Set, Some(source)) => update.set.push((path, self.source(source)?)),
                (Verb::Add, Some(RawSource::Operand(RawOperand::Value(name)))) => {
                    let may = |kind: Type| kind == Type::N || kind.is_set();
                    update.add.push((path, self.written("ADD", name, may)?));
                }
                (Verb::Delete, Some(RawSource::Operand(RawOperand::Value(name)))) => {
                    update.delete.push((path, self.written("DELETE", name, Type::is_set)?));
                }
                _ => update.remove.push(path),
            }
        }
        update.set.reverse();
        update.remove.reverse();
        update.add.reverse();
        update.delete.reverse();
        Ok(update)
    }

    fn names_are_defined(&mut self, operand: &RawOperand<'_>) -> Resolved<()> {
        match operand {
            RawOperand::Path(path) => self.named(path).map(drop),
            RawOperand::Value(_) => Ok(()),
            RawOperand::Call(call) => {
                call.operands.iter().try_for_each(|inner| self.names_are_defined(inner))
            }
        }
    }

    /// What is added or deleted.
    fn written(&mut self, verb: &str, name: &str, may: fn(Type) -> bool) -> Resolved<AttributeValue> {
        let value = self.value(name)?;
        if may(value.kind()) {
            return Ok(value);
        }
        let kind = value.kind().long_name();
        Err(format!(
            "Incorrect operand type for operator or function; operator: {verb}, operand type: {kind}, typeSet: \
             ALLOWED_FOR_{verb}_OPERAND"
        ))
    }

    fn source(&mut self, raw: &RawSource<'_>) -> Resolved<Source> {
        let (operator, a, b) = match raw {
            RawSource::Operand(operand) => return self.source_operand(operand),
            RawSource::Plus(a, b) => ("+", a, b),
            RawSource::Minus(a, b) => ("-", a, b),
        };
        let (a, b) = (self.source_operand(a)?, self.source_operand(b)?);
        source_of_type(operator, [&a, &b], Type::N)?;
        let (a, b) = (Box::new(a), Box::new(b));
        Ok(if operator == "+" { Source::Plus(a, b) } else { Source::Minus(a, b) })
    }

    fn source_operand(&mut self, raw: &RawOperand<'_>) -> Resolved<Source> {
        let call = match raw {
            RawOperand::Path(path) => return Ok(Source::Path(self.path(path)?)),
            RawOperand::Value(name) => return Ok(Source::Value(self.value(name)?)),
            RawOperand::Call(call) => call,
        };
        let name = call.name;
        count_operands(call, 2)?;
        let [a, b] = call.operands.as_slice() else { return Err(no_function(name)) };
        let (a, b) = (self.source_operand(a)?, self.source_operand(b)?);
        if name == "list_append" {
            source_of_type(name, [&a, &b], Type::L)?;
            return Ok(Source::ListAppend(Box::new(a), Box::new(b)));
        }
        let Source::Path(path) = a else { return Err(no_path(name)) };
        if matches!(&b, Source::Path(other) if *other == path) {
            return Err(not_distinct(name, &path));
        }
        Ok(Source::IfNotExists(path, Box::new(b)))
    }

    /// A path with its names, which count as used.
    fn path(&mut self, raw: &RawPath<'_>) -> Resolved<Path> {
        let path = self.named(raw)?;
        let levels = raw.parts.len();
        if levels > DEPTH {
            return Err(format!("The document path has too many nesting levels; nesting levels: {levels}"));
        }
        for part in &raw.parts {
            if let Part::Placeholder(name) = part {
                self.use_name(name);
            }
        }
        Ok(path)
    }

    /// A path with its names.
    fn named(&mut self, raw: &RawPath<'_>) -> Resolved<Path> {
        let mut steps = raw.parts.iter().map(|part| {
            Ok(match part {
                Part::Name(name) => Step::Field((*name).to_string()),
                Part::Placeholder(name) => Step::Field(self.name(name)?),
                Part::Index(digits) => {
                    let place = || format!("List index is not within the allowable range; index: [{digits}]");
                    Step::Index(index(digits).ok_or_else(place)?)
                }
            })
        });
        match steps.next().transpose()? {
            Some(Step::Field(root)) => Ok(Path { root, steps: steps.collect::<Resolved<_>>()? }),
            _ => Err("The document path does not start with a map element".into()),
        }
    }

    fn name(&mut self, name: &str) -> Resolved<String> {
        self.defined_name(name).ok_or_else(|| {
            format!(
                "An expression attribute name used in the document path is not defined; attribute name: {name}"
            )
        })
    }

    fn value(&mut self, name: &str) -> Resolved<AttributeValue> {
        self.use_value(name).ok_or_else(|| {
            format!(
                "An expression attribute value used in expression is not defined; attribute value: {name}"
            )
        })
    }
}

fn no_function(name: &str) -> String {
    format!("Invalid function name; function: {name}")
}

fn no_path(name: &str) -> String {
    format!("Operator or function requires a document path; operator or function: {name}")
}

fn needs_path(name: &str, operand: Operand) -> Resolved<Path> {
    match operand {
        Operand::Path(path) => Ok(path),
        _ => Err(no_path(name)),
    }
}

fn not_distinct(operator: &str, path: &Path) -> String {
    format!(
        "The first operand must be distinct from the remaining operands for this operator or function; operator: \
         {operator}, first operand: {path}"
    )
}

/// A path is not compared with itself.
fn distinct<'a>(operator: &str, a: &Operand, others: impl IntoIterator<Item = &'a Operand>) -> Resolved<()> {
    match a {
        Operand::Path(path) if others.into_iter().any(|other| a == other) => {
            Err(not_distinct(operator, path))
        }
        _ => Ok(()),
    }
}

/// The type of an operand, as far as it does not depend on the item.
fn known_type(operand: &Operand) -> Option<Type> {
    match operand {
        Operand::Path(_) => None,
        Operand::Value(value) => Some(value.kind()),
        Operand::Size(_) | Operand::SizeInBytes(_) => Some(Type::N),
    }
}

fn wrong_type(operator: &str, kind: &str) -> String {
    format!(
        "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {kind}"
    )
}

fn of_type<'a>(
    operator: &str,
    operands: impl IntoIterator<Item = &'a Operand>,
    may: fn(Type) -> bool,
) -> Resolved<()> {
    match operands.into_iter().filter_map(known_type).find(|kind| !may(*kind)) {
        None => Ok(()),
        Some(kind) => Err(wrong_type(operator, kind.name())),
    }
}

fn source_of_type(operator: &str, sources: [&Source; 2], needed: Type) -> Resolved<()> {
    let wrong = sources.into_iter().find_map(|source| match source {
        Source::Value(value) if value.kind() != needed => Some(value.kind()),
        _ => None,
    });
    wrong.map_or(Ok(()), |kind| Err(wrong_type(operator, kind.name())))
}

/// The type that the second operand of `attribute_type` names.
fn type_name(function: &str, operand: &Operand) -> Resolved<Type> {
    let value = match operand {
        Operand::Path(_) => return Err(wrong_type(function, ANY_TYPE)),
        Operand::Size(_) | Operand::SizeInBytes(_) => return Err(wrong_type(function, "N")),
        Operand::Value(value) => value,
    };
    let AttributeValue::S(name) = value else { return Err(wrong_type(function, value.kind().name())) };
    Type::named(name)
        .ok_or_else(|| format!("Invalid attribute type name found; type: {name}, valid types: {TYPE_NAMES}"))
}

/// A bound of `BETWEEN` as DynamoDB shows it.
fn shown(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => format!("AttributeValue: {{S:{text}}}"),
        AttributeValue::N(number) => format!("AttributeValue: {{N:{number}}}"),
        AttributeValue::B(bytes) => {
            let len = bytes.len();
            format!("AttributeValue: {{B:java.nio.HeapByteBuffer[pos=0 lim={len} cap={len}]}}")
        }
        other => format!("AttributeValue: {{{}:}}", other.kind().name()),
    }
}
