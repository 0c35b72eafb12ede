//! Values of a history, interned: a value is looked at once, and from then on is a number that compares in one step.

use crate::table::Table;

/// A value of a history. Equal values of one [`Values`] have equal handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);

impl Value {
    /// No value; the first of every [`Values`].
    pub const NIL: Self = Self(0);

    /// The place in the table: dense, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Datum {
    /// Nothing.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number that is no `Int`, as it was written.
    Number(Box<str>),
    /// A string.
    Text(Box<str>),
    /// A keyword or symbol, without its colon.
    Keyword(Box<str>),
    /// A vector or list.
    List(Box<[Value]>),
    /// A set, sorted by handle, each once.
    Set(Box<[Value]>),
    /// A map, sorted by the keys' handles, each key once.
    Map(Box<[(Value, Value)]>),
}

/// The values of one history.
#[derive(Debug)]
pub struct Values {
    data: Vec<Datum>,
    known: Table<Datum, Value>,
    /// Whole numbers are most of most histories: they cost no copy.
    ints: Table<u64, Value>,
}

impl Default for Values {
    fn default() -> Self {
        Self { data: vec![Datum::Nil], known: Table::default(), ints: Table::default() }
    }
}

impl Values {
    /// The handle of a value, given out now if it is new.
    pub fn intern(&mut self, datum: Datum) -> Value {
        match datum {
            Datum::Nil => Value::NIL,
            Datum::Int(number) => self.int(number),
            datum => {
                if let Some(&value) = self.known.get(&datum) {
                    return value;
                }
                let value = self.push(datum.clone());
                self.known.insert(datum, value);
                value
            }
        }
    }

    /// The handle of a whole number.
    pub fn int(&mut self, number: i64) -> Value {
        if let Some(&value) = self.ints.get(&(number as u64)) {
            return value;
        }
        let value = self.push(Datum::Int(number));
        self.ints.insert(number as u64, value);
        value
    }

    /// What a handle of this table stands for.
    pub fn datum(&self, value: Value) -> &Datum {
        &self.data[value.index()]
    }

    /// How many values there are, nil among them.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Never: nil is always there.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    fn push(&mut self, datum: Datum) -> Value {
        let value = Value(u32::try_from(self.data.len()).expect("a reader refuses histories of 2^32 values"));
        self.data.push(datum);
        value
    }
}
