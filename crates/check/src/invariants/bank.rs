//! A bank: transfers move money between accounts, reads see all accounts at once.
//!
//! A read is a map of what each account held, or a list, of which accounts are the places, from 0; a list without any is of a bank
//! that nobody has opened yet. At every level from snapshot isolation on, each read has the same total. An account below zero is a violation too, since
//! the workload's transfers refuse to overdraw. What transfers say is not looked at: only reads can show anything.

use super::{Looked, Stop, bad, function, unknown};
use crate::budget::Budget;
use crate::history::{History, Outcome};
use crate::value::{Datum, Value};

pub(super) fn look(
    history: &History,
    initial: Value,
    looked: &mut Looked,
    budget: &mut Budget<'_>,
) -> Result<(), Stop> {
    let (mut total, mut accounts) = promised(history, initial)?;
    let mut last: Option<Accounts<'_>> = None;
    let (mut reads, mut unopened) = (0, 0);
    for (place, operation) in history.operations.iter().enumerate() {
        budget.step()?;
        match function(history, operation) {
            "read" | "r" | "read-bank" if operation.outcome == Outcome::Ok => {}
            // Who opens a bank makes its accounts; what they hold only reads can show.
            "transfer" | "open" | "read" | "r" | "read-bank" => continue,
            _ => return Err(unknown(history, place, "transfer, read")),
        }
        let these = match history.values.datum(operation.result) {
            Datum::Map(balances) => Accounts::Named(balances),
            Datum::List(balances) if balances.is_empty() => {
                unopened += 1;
                continue;
            }
            Datum::List(balances) => Accounts::Numbered(balances),
            _ => {
                let shown = history.values.show(operation.result);
                let what = format!("a read of the accounts gives a map or a list, not {shown}");
                return Err(bad(history, place, what, "write what each account held, as {0 10, 1 20}"));
            }
        };
        reads += 1;
        let at = [place as u32];
        let mut sum = 0_i128;
        let mut whole = true;
        for at_it in 0..these.len() {
            let (balance, account) = (these.balance(at_it), || these.name(at_it, history));
            if let Datum::Number(amount) = history.values.datum(balance) {
                let what =
                    format!("account {} holds {amount}, which is no whole number of 64 bits", account());
                return Err(bad(history, place, what, "write amounts in the smallest unit, as cents"));
            }
            let Datum::Int(amount) = history.values.datum(balance) else {
                whole = false;
                looked.violation(NO_BALANCE, &at, || format!("Account {} holds no number.", account()));
                continue;
            };
            sum += i128::from(*amount);
            if *amount < 0 {
                looked.violation(NEGATIVE, &at, || format!("Account {} holds {amount}.", account()));
            }
        }
        if accounts.is_none() {
            let many = these.len();
            looked
                .notes
                .push(format!("no accounts were named, so they are those of the first read, {many} of them"));
        }
        let known = accounts.get_or_insert_with(|| these.names(history));
        if !these.are(last.as_ref()) && *known != these.names(history) {
            looked.violation(ACCOUNTS, &at, || "It saw other accounts than there are.".to_owned());
            continue;
        }
        last = Some(these);
        if !whole {
            continue;
        }
        if total.is_none() {
            looked.notes.push(format!("no total was named, so it is that of the first read, {sum}"));
        }
        let should = *total.get_or_insert(sum);
        if sum != should {
            looked.violation(TOTAL, &at, || format!("It saw {sum} in all, not {should}."));
        }
    }
    looked.notes.push(format!("{reads} reads of all accounts"));
    if unopened > 0 {
        looked.notes.push(format!("{unopened} reads of a bank that was not open yet"));
    }
    if reads == 0 {
        looked.blind = Some("no read of the accounts succeeded".to_owned());
    }
    Ok(())
}

const TOTAL: (&str, &str) = ("wrong-total", "a read saw more or less money than there is");
const NEGATIVE: (&str, &str) = ("negative-value", "an account is below zero");
const NO_BALANCE: (&str, &str) = ("nil-balance", "an account holds no number");
const ACCOUNTS: (&str, &str) = ("unexpected-accounts", "a read misses accounts, or has others");

/// The names of accounts, sorted. JSON has no keys but strings: there "0" is account 0.
fn names(history: &History, accounts: &[Value]) -> Vec<String> {
    let name = |&account: &Value| match history.values.datum(account) {
        Datum::Text(text) if text.parse::<i64>().is_ok_and(|number| number.to_string() == **text) => {
            text.to_string()
        }
        _ => history.values.show(account),
    };
    let mut names: Vec<String> = accounts.iter().map(name).collect();
    names.sort_unstable();
    names
}

/// What a read saw: balances, each of an account that is named or of the account of its place.
#[derive(Clone, Copy)]
enum Accounts<'a> {
    Named(&'a [(Value, Value)]),
    Numbered(&'a [Value]),
}

impl Accounts<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Named(all) => all.len(),
            Self::Numbered(all) => all.len(),
        }
    }

    fn balance(&self, at: usize) -> Value {
        match self {
            Self::Named(all) => all[at].1,
            Self::Numbered(all) => all[at],
        }
    }

    fn name(&self, at: usize, history: &History) -> String {
        match self {
            Self::Named(all) => history.values.show(all[at].0),
            Self::Numbered(_) => at.to_string(),
        }
    }

    fn names(&self, history: &History) -> Vec<String> {
        match self {
            Self::Named(all) => {
                names(history, &all.iter().map(|&(account, _)| account).collect::<Vec<Value>>())
            }
            Self::Numbered(all) => {
                let mut names: Vec<String> = (0..all.len()).map(|at| at.to_string()).collect();
                names.sort_unstable();
                names
            }
        }
    }

    /// True where the accounts are those of another read, by a look that costs little.
    fn are(&self, other: Option<&Self>) -> bool {
        match (self, other) {
            (Self::Named(these), Some(Self::Named(others))) => {
                these.len() == others.len() && these.iter().zip(*others).all(|(one, other)| one.0 == other.0)
            }
            (Self::Numbered(these), Some(Self::Numbered(others))) => these.len() == others.len(),
            _ => false,
        }
    }
}

/// The total and the accounts that the user named.
fn promised(history: &History, initial: Value) -> Result<(Option<i128>, Option<Vec<String>>), Stop> {
    let wrong = || {
        let what = format!("--initial {} is no bank", history.values.show(initial));
        Stop::Bad(crate::read::BadInput::new(
            what,
            "write the total, as 100, or the accounts, as {0 50, 1 50}",
        ))
    };
    match history.values.datum(initial) {
        Datum::Nil => Ok((None, None)),
        Datum::Int(total) => Ok((Some(i128::from(*total)), None)),
        Datum::Map(accounts) => {
            let amount = |&(_, balance): &(Value, Value)| match history.values.datum(balance) {
                Datum::Int(amount) => Some(i128::from(*amount)),
                _ => None,
            };
            let total = accounts.iter().map(amount).sum::<Option<i128>>().ok_or_else(wrong)?;
            Ok((Some(total), Some(Accounts::Named(accounts).names(history))))
        }
        _ => Err(wrong()),
    }
}
