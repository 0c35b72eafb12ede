//! A bank: transfers move money between accounts, reads see all accounts at once.
//!
//! At every level from snapshot isolation on, each read has the same total. An account below zero is a violation too, since
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
    let mut reads = 0;
    for (place, operation) in history.operations.iter().enumerate() {
        budget.step()?;
        match function(history, operation) {
            "read" | "r" | "read-bank" if operation.outcome == Outcome::Ok => {}
            // Who opens a bank makes its accounts; what they hold only reads can show.
            "transfer" | "open" | "read" | "r" | "read-bank" => continue,
            _ => return Err(unknown(history, place, "transfer, read")),
        }
        let Datum::Map(balances) = history.values.datum(operation.result) else {
            let what =
                format!("a read of the accounts gives a map, not {}", history.values.show(operation.result));
            return Err(bad(history, place, what, "write what each account held, as {0 10, 1 20}"));
        };
        reads += 1;
        let at = [place as u32];
        let mut sum = 0_i128;
        let mut whole = true;
        for &(account, balance) in balances {
            let account = || history.values.show(account);
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
        let these: Vec<Value> = balances.iter().map(|&(account, _)| account).collect();
        if accounts.is_none() {
            looked.notes.push(format!(
                "--initial names no accounts, so they are those of the first read, {} of them",
                these.len()
            ));
        }
        let known = accounts.get_or_insert_with(|| these.clone());
        if *known != these && names(history, known) != names(history, &these) {
            looked.violation(ACCOUNTS, &at, || "It saw other accounts than there are.".to_owned());
            continue;
        }
        if !whole {
            continue;
        }
        if total.is_none() {
            looked.notes.push(format!("without --initial the total is that of the first read, {sum}"));
        }
        let should = *total.get_or_insert(sum);
        if sum != should {
            looked.violation(TOTAL, &at, || format!("It saw {sum} in all, not {should}."));
        }
    }
    looked.notes.push(format!("{reads} reads of all accounts"));
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

/// The total and the accounts that the user named.
fn promised(history: &History, initial: Value) -> Result<(Option<i128>, Option<Vec<Value>>), Stop> {
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
            Ok((Some(total), Some(accounts.iter().map(|&(account, _)| account).collect())))
        }
        _ => Err(wrong()),
    }
}
