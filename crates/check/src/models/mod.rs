//! The models that stand ready, by name.

pub(crate) mod bag;
pub(crate) mod counter;
mod kv;
mod mutex;
mod queue;
pub(crate) mod register;

pub use bag::{Multiset, Set};
pub use counter::Counter;
pub use kv::KeyValue;
pub use mutex::{FencedMutex, Mutex};
pub use queue::{Order, Queue};
pub use register::{Action as RegisterAction, Register};

use crate::history::History;
use crate::judge::Judge;
use crate::model::Model;
use crate::read::BadInput;
use crate::txn::Model as Txn;
use crate::value::{Datum, Value, Values};
use crate::{invariants, promises};

/// A model's names: the one it goes by here, those it goes by elsewhere, and what it is.
pub struct Name {
    /// The name.
    pub name: &'static str,
    /// Knossos', elle-cli's and other names for it.
    pub aliases: &'static [&'static str],
    /// The functions it knows, and what it promises.
    pub about: &'static str,
}

/// All models.
pub const NAMES: [Name; 11] = [
    Name { name: "register", aliases: &["rw", "knossos-register"], about: "read, write" },
    Name {
        name: "cas-register",
        aliases: &["cas", "casregister", "knossos-cas-register"],
        about: "read, write, cas [old new]; a cas that fails saw another value",
    },
    Name {
        name: "kv",
        aliases: &["key-value", "map"],
        about: "get, put, append, delete, cas, each with a key",
    },
    Name { name: "counter", aliases: &["pn-counter"], about: "add n, increment, decrement, read" },
    Name { name: "set", aliases: &["gset"], about: "add, remove, contains, read of all members" },
    Name {
        name: "multiset",
        aliases: &["bag", "unordered-queue"],
        about: "add (enqueue), take (dequeue) any; take of nil saw it empty",
    },
    Name {
        name: "queue",
        aliases: &["fifo", "fifo-queue"],
        about: "enqueue, dequeue of the oldest; nil saw it empty",
    },
    Name {
        name: "priority-queue",
        aliases: &["pqueue", "heap"],
        about: "insert (enqueue) a number, delete-min (dequeue) the smallest; nil saw it empty",
    },
    Name { name: "stack", aliases: &["lifo"], about: "push, pop of the newest; nil saw it empty" },
    Name { name: "mutex", aliases: &["lock"], about: "acquire, release" },
    Name {
        name: "fenced-mutex",
        aliases: &["fencing", "fenced-lock"],
        about: "acquire returns a token greater than all before, release",
    },
];

/// The model of that name.
pub fn named(name: &str) -> Option<&'static Name> {
    NAMES.iter().find(|model| model.name == name || model.aliases.contains(&name))
}

/// What is done with a model, whichever it is.
pub trait With {
    /// What comes of it.
    type Out;

    /// Does it.
    fn with<M>(self, model: M) -> Result<Self::Out, BadInput>
    where
        M: Model + Send + 'static,
        M::Action: Send;
}

struct ToJudge<'a>(&'a History);

impl With for ToJudge<'_> {
    type Out = Box<dyn Judge>;

    fn with<M>(self, model: M) -> Result<Box<dyn Judge>, BadInput>
    where
        M: Model + Send + 'static,
        M::Action: Send,
    {
        crate::judge::judge(model, self.0)
    }
}

/// A history as the model of that name sees it, with that first value; nil where the model has its own.
pub fn judge(name: &str, initial: Value, history: &History) -> Result<Box<dyn Judge>, BadInput> {
    with(name, initial, &history.values, ToJudge(history))
}

/// Does something with the model of that name, with that first value; nil where the model has its own.
pub fn with<W: With>(name: &str, initial: Value, values: &Values, what: W) -> Result<W::Out, BadInput> {
    let known = named(name).ok_or_else(|| {
        let objects = NAMES.iter().map(|model| model.name);
        let transactions = [Txn::ListAppend, Txn::RwRegister, Txn::Predicate].map(Txn::name);
        let invariants = invariants::NAMES.iter().map(|row| row.1);
        let promises = promises::MODELS.iter().map(|model| model.name);
        let all: Vec<&str> = objects.chain(transactions).chain(invariants).chain(promises).collect();
        BadInput::new(format!("there is no model {name}"), format!("there are {}", all.join(", ")))
    })?;
    let takes_none = !matches!(known.name, "register" | "cas-register" | "kv" | "counter");
    if takes_none && initial != Value::NIL {
        return Err(BadInput::new(
            format!("the model {} takes no initial value", known.name),
            "leave out --initial",
        ));
    }
    match known.name {
        "register" => what.with(Register { initial, cas: false }),
        "cas-register" => what.with(Register { initial, cas: true }),
        "kv" => what.with(KeyValue { initial: kv::Held::of(initial, values) }),
        "counter" if initial == Value::NIL => what.with(Counter { initial: 0 }),
        "counter" => {
            let initial = whole(initial, values, "a counter").map_err(|what| BadInput::new(what, ""))?;
            what.with(Counter { initial })
        }
        "set" => what.with(Set),
        "multiset" => what.with(Multiset),
        "queue" => what.with(Queue { order: Order::Fifo }),
        "priority-queue" => what.with(Queue { order: Order::Smallest }),
        "stack" => what.with(Queue { order: Order::Lifo }),
        "mutex" => what.with(Mutex),
        _ => what.with(FencedMutex),
    }
}

/// The name of a function.
pub(crate) fn function(f: Value, values: &Values) -> &str {
    match values.datum(f) {
        Datum::Keyword(name) | Datum::Text(name) => name,
        _ => "",
    }
}

fn unknown<T>(f: Value, values: &Values, knows: &str) -> Result<T, String> {
    Err(format!("the model has no function {}; it knows {knows}", values.show(f)))
}

/// The two values of a compare-and-set.
fn pair(value: Value, values: &Values) -> Result<(Value, Value), String> {
    match values.datum(value) {
        Datum::List(members) if members.len() == 2 => Ok((members[0], members[1])),
        _ => Err(format!("a compare-and-set takes [old new], not {}", values.show(value))),
    }
}

fn whole(value: Value, values: &Values, what: &str) -> Result<i64, String> {
    match values.datum(value) {
        Datum::Int(number) => Ok(*number),
        _ => Err(format!("{what} is a whole number, not {}", values.show(value))),
    }
}

fn is_false(value: Value, values: &Values) -> bool {
    matches!(values.datum(value), Datum::Bool(false))
}
