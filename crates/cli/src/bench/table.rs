//! `quorate bench table`: load on any DynamoDB endpoint, measured: single operations, transactions, and the workloads A to F of
//! YCSB (Cooper et al., 2010).
//!
//! One table, made if it is not there, whose items have a key `k` and a value `v`. What YCSB calls a scan is a `Scan` from behind
//! an item on, in the order of the table's hash, as YCSB's own client for DynamoDB has it. A signature is sent that nobody can
//! verify, so that endpoints that verify them refuse.

mod words;

use super::draw::Zipf;
use super::meter::{self, Figures, Meter, Tally, Turns};
use crate::probe::url_of_clients;
use crate::report::{Exit, Problem, say};
use quorate_base::Rng;
use quorate_client::dynamo::{Operation, Trouble, call};
use quorate_client::http::Link;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use words::Body;

const EXAMPLES: &str = "\
Examples:
  quorate bench table --op put --clients 64 --seconds 10
  quorate bench table --op a --keys 100000 --endpoints http://127.0.0.1:8000,http://127.0.0.1:18000
  quorate bench table --op txn --keys 2 --clients 16 --json
  quorate bench table --op txn --items 1
  quorate bench table --op update --rate 5000
  quorate bench table --op put --table spread --shards 100

Letters are the workloads of YCSB, with popular items; the others draw all items alike:
  a  half reads, half updates              d  95 of 100 reads of the newest, 5 new items
  b  95 of 100 reads, 5 updates            e  95 of 100 scans of up to 100 items, 5 new items
  c  reads                                 f  half reads, half reads with an update behind them

The table stays when it is over. Whatever an endpoint's keys are, none is used: an endpoint that verifies signatures refuses.";

/// How long to wait for a connection, ...
const PATIENCE: Duration = Duration::from_secs(5);
/// ... and for a new table, whose shards may be many.
const TABLE_PATIENCE: Duration = Duration::from_secs(120);
/// How long an answer may take: a node that is frozen or cut off must not hold a client for ever.
const ANSWER: Duration = Duration::from_secs(10);
/// Whether a new table can be used is asked so often.
const LOOK: Duration = Duration::from_millis(100);
/// So many clients fill the table.
const FILLERS: u64 = 32;
/// So many items go into one request then at most: the API takes no more, ...
const FILLED_AT_ONCE: u64 = 25;
/// ... and about so many bytes.
const FILLED_BYTES: u64 = 1 << 20;
/// So many items a transaction is of, unless it is said.
const ITEMS: u64 = 2;
/// The longest scan, in items.
const SCAN_MAX: u64 = 100;

/// A connection, shared by those who take turns on it.
type Shared = Rc<Mutex<Link>>;

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the cluster is
    #[arg(long, alias = "endpoint", value_name = "URL[,URL...]", value_delimiter = ',', value_parser = url_of_clients, default_value = "http://127.0.0.1:8000")]
    endpoints: Vec<String>,
    /// What the clients do
    #[arg(long, value_enum, default_value_t = Op::Put)]
    op: Op,
    /// The table
    #[arg(long, value_name = "NAME", default_value = "quorate-bench", value_parser = table_name)]
    table: String,
    /// Over how many shards of its own a new table is spread: 1 is none, as at other endpoints; one that is there must have as many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
    shards: Option<u32>,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Bytes of a value
    #[arg(long, value_name = "B", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=400_000))]
    value_size: u32,
    /// Different items
    #[arg(long, value_name = "K", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Connections, spread over the endpoints; each carries one request at a time [default: one a client]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: Option<u32>,
    /// Requests a second, whatever the answers (open loop) [default: each client's next when its last is answered]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Reads need not see the newest state
    #[arg(long)]
    eventual: bool,
    /// Of how many different items a transaction is [default: 2]; one of a single item is a put by another name
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    items: Option<u64>,
    /// Transactions carry a token, as those of the SDKs do
    #[arg(long)]
    token: bool,
    /// Speak JSON: one line at the end
    #[arg(long)]
    json: bool,
}

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    /// Write an item
    Put,
    /// Read an item
    Get,
    /// Set an item's value by an expression
    Update,
    /// Write items in one transaction
    Txn,
    /// Read items in one transaction
    Txnget,
    /// Half reads, half updates
    A,
    /// Reads with some updates
    B,
    /// Reads
    C,
    /// Reads of the newest, with some new items
    D,
    /// Scans, with some new items
    E,
    /// Half reads, half reads with an update behind them
    F,
}

impl Op {
    /// Whether items must be there before it is measured.
    fn reads(self) -> bool {
        !matches!(self, Self::Put | Self::Txn)
    }

    fn is_transaction(self) -> bool {
        matches!(self, Self::Txn | Self::Txnget)
    }

    fn is_of_ycsb(self) -> bool {
        matches!(self, Self::A | Self::B | Self::C | Self::D | Self::E | Self::F)
    }
}

/// As the API has names of tables.
fn table_name(name: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (3..=255).contains(&name.len()) && name.bytes().all(good) {
        return Ok(name.into());
    }
    Err("a table's name has 3 to 255 of the characters a-z, A-Z, 0-9, '_', '-' and '.'".into())
}

/// What was measured.
#[derive(Serialize)]
struct Report {
    op: Op,
    table: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<u32>,
    clients: u32,
    connections: usize,
    value_size: u32,
    keys: u64,
    /// Of how many items each transaction is.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<u64>,
    /// Transactions that met another one and were tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflicts: Option<u64>,
    #[serde(flatten)]
    figures: Figures,
}

/// Runs the benchmark.
pub(super) fn run(args: &Args) -> Result<(), Problem> {
    let items = args.items.unwrap_or(ITEMS);
    if args.items.is_some() && !args.op.is_transaction() {
        let hint = "leave --items out, or measure --op txn or txnget";
        return Err(Problem::new(Exit::Usage, "only transactions are of several items", hint));
    }
    if args.op.is_transaction() && args.keys < items {
        let hint = format!("name at least {items} with --keys");
        return Err(Problem::new(Exit::Usage, format!("a transaction is of {items} different items"), hint));
    }
    let report = meter::run(measure(args))?;
    if args.json {
        say(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        report.figures.show(report.connections, report.clients);
        if let Some(conflicts) = report.conflicts {
            say(&format!("{conflicts:>12}  conflicts, each tried again"));
        }
    }
    report.figures.check(hint)
}

/// What to do about an endpoint's answer.
fn hint(why: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["UnrecognizedClient", "InvalidSignature", "MissingAuthenticationToken", "IncompleteSignature"])
    {
        "the endpoint verifies signatures, and this command has no key: measure one that takes any access key"
    } else if says(&["ValidationException"]) {
        "is it a table of something else? The items of this command have the key k, of type S: choose another --table"
    } else if says(&[
        "InternalServerError",
        "ServiceUnavailable",
        "ThrottlingException",
        "nothing was answered",
    ]) {
        "`quorate status` shows how the cluster is"
    } else if says(&["status "]) {
        "is it a DynamoDB endpoint?"
    } else {
        ""
    }
}

async fn measure(args: &Args) -> Result<Report, Problem> {
    let connections = args.connections.unwrap_or(args.clients) as usize;
    let unreachable = |why| Problem::new(Exit::Failed, why, "is the cluster up? `quorate up` starts one");
    let links = connect(&args.endpoints, connections).await.map_err(unreachable)?;
    prepare(&links, args).await.map_err(|why| {
        let hint = hint(&why);
        Problem::new(Exit::Failed, format!("the table {}: {why}", args.table), hint)
    })?;
    let shared = Rc::new(Common {
        op: args.op,
        calls: Calls::of(args.op),
        body: Body::new(&args.table, args.value_size as usize, !args.eventual),
        zipf: args.op.is_of_ycsb().then(|| Zipf::new(args.keys)),
        keys: args.keys,
        items: args.items.unwrap_or(ITEMS),
        there: Cell::new(args.keys),
        conflicts: Cell::new(0),
        tokens: args.token.then(|| format!("{:08x}{:08x}", std::process::id(), clock())),
    });
    let meter = Meter::start(args.clients, args.seconds, args.rate, args.json)?;
    let mut tasks = Vec::new();
    for n in 0..args.clients {
        let worker = Worker {
            shared: shared.clone(),
            link: links[n as usize % links.len()].clone(),
            rng: Rng::new(u64::from(n) + 1),
            tally: meter.tally.clone(),
            text: Vec::new(),
            number: n,
            transactions: 0,
        };
        tasks.push(tokio::task::spawn_local(worker.run(meter.turns(n))));
    }
    let figures = meter.finish(tasks).await;
    Ok(Report {
        op: args.op,
        table: args.table.clone(),
        shards: args.shards,
        clients: args.clients,
        connections: links.len(),
        value_size: args.value_size,
        keys: args.keys,
        items: args.op.is_transaction().then_some(shared.items),
        conflicts: args.op.is_transaction().then(|| shared.conflicts.get()),
        figures,
    })
}

/// Opens connections (at least one to each endpoint), spread over the endpoints in turn. Endpoints that cannot be reached are
/// passed over, unless none can: then the error is the last reason.
async fn connect(endpoints: &[String], connections: usize) -> Result<Vec<Shared>, String> {
    let (mut links, mut reason) = (Vec::new(), "no endpoint was given".to_string());
    for url in endpoints.iter().cycle().take(connections.max(endpoints.len())) {
        let mut link = Link::new(url, PATIENCE, ANSWER);
        match link.open().await {
            Ok(()) => links.push(Rc::new(Mutex::new(link))),
            Err(why) => reason = format!("{url}: {why}"),
        }
    }
    if links.is_empty() { Err(format!("no endpoint could be reached: {reason}")) } else { Ok(links) }
}

/// Seconds since 1970, so that the tokens of two runs differ.
fn clock() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as u32
}

/// Makes the table, and fills it where it is read.
async fn prepare(links: &[Shared], args: &Args) -> Result<(), String> {
    let body = Rc::new(Body::new(&args.table, args.value_size as usize, true));
    let end = Instant::now() + TABLE_PATIENCE;
    let mut link = links[0].lock().await;
    match call(&mut link, &Operation::named("CreateTable"), &body.create(args.shards.unwrap_or(1))).await {
        Ok(_) => {}
        Err(Trouble::Refused { name, .. }) if name == "ResourceInUseException" => {
            check_shards(&mut link, &body, args.shards).await?;
        }
        Err(error) => return Err(error.to_string()),
    }
    loop {
        let told = call(&mut link, &Operation::named("DescribeTable"), &body.describe()).await;
        if words::is_active(told.map_err(|error| error.to_string())?) {
            break;
        }
        if Instant::now() > end {
            return Err("it is still being made".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    drop(link);
    if args.op.reads() { fill(links, body, args).await } else { Ok(()) }
}

/// A table that is there already has the shards that were asked for, if any were.
async fn check_shards(link: &mut Link, body: &Body, shards: Option<u32>) -> Result<(), String> {
    let Some(shards) = shards else { return Ok(()) };
    let told = call(link, &Operation::named("DescribeTable"), &body.describe()).await;
    let tags = Body::tags(told.map_err(|error| error.to_string())?);
    let told = call(link, &Operation::named("ListTagsOfResource"), &tags).await;
    let has = words::shards(told.map_err(|error| error.to_string())?);
    if has == shards { Ok(()) } else { Err(format!("it is there with {has} shards; choose another --table")) }
}

/// What reads will look for is there before they are measured.
async fn fill(links: &[Shared], body: Rc<Body>, args: &Args) -> Result<(), String> {
    let at_once = (FILLED_BYTES / (u64::from(args.value_size) + 64)).clamp(1, FILLED_AT_ONCE);
    let mut tasks = tokio::task::JoinSet::new();
    for filler in 0..FILLERS {
        let (link, body, keys) = (links[filler as usize % links.len()].clone(), body.clone(), args.keys);
        tasks.spawn_local(async move {
            let (mut from, mut text) = (filler * at_once, Vec::new());
            let batch = Operation::named("BatchWriteItem");
            while from < keys {
                body.fill(&mut text, from..keys.min(from + at_once));
                let mut link = link.lock().await;
                let told = call(&mut link, &batch, &text).await.map_err(|error| error.to_string())?;
                if words::is_whole(told) {
                    from += FILLERS * at_once;
                } else {
                    tokio::time::sleep(LOOK).await;
                }
            }
            Ok::<(), String>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok(Err(why)) = done {
            return Err(format!("filling: {why}"));
        }
    }
    Ok(())
}

/// What all clients know.
struct Common {
    op: Op,
    body: Body,
    calls: Calls,
    /// How popular items are, in YCSB's workloads.
    zipf: Option<Zipf>,
    keys: u64,
    /// Of how many items a transaction is.
    items: u64,
    /// How many items there are, those included that are being made.
    there: Cell<u64>,
    conflicts: Cell<u64>,
    /// What tokens begin with.
    tokens: Option<String>,
}

/// The operations that are measured.
struct Calls {
    get: Operation,
    put: Operation,
    scan: Operation,
    update: Operation,
    transact: Operation,
}

impl Calls {
    fn of(op: Op) -> Self {
        let transact = if op == Op::Txnget { "TransactGetItems" } else { "TransactWriteItems" };
        Self {
            get: Operation::named("GetItem"),
            put: Operation::named("PutItem"),
            scan: Operation::named("Scan"),
            update: Operation::named("UpdateItem"),
            transact: Operation::named(transact),
        }
    }
}

struct Worker {
    shared: Rc<Common>,
    link: Shared,
    rng: Rng,
    tally: Rc<RefCell<Tally>>,
    /// The body of the request.
    text: Vec<u8>,
    number: u32,
    transactions: u64,
}

impl Worker {
    async fn run(mut self, mut turns: Turns) {
        while let Some(from) = turns.next().await {
            let result = self.once().await;
            self.tally.borrow_mut().count(from, result.map_err(|error| error.to_string()));
        }
    }

    async fn once(&mut self) -> Result<(), Trouble> {
        let dice = self.rng.below(100);
        match self.shared.op {
            Op::Put => {
                let key = self.uniform();
                self.put(key).await
            }
            Op::Get => {
                let key = self.uniform();
                self.get(key).await
            }
            Op::Update => {
                let key = self.uniform();
                self.update(key).await
            }
            Op::Txn | Op::Txnget => self.transact().await,
            Op::A | Op::B | Op::C | Op::F => self.read_or_update(dice).await,
            Op::D | Op::E if dice < 5 => {
                let new = self.shared.there.get();
                self.shared.there.set(new + 1);
                self.put(new).await
            }
            Op::D => {
                let newest = self.shared.there.get() - 1;
                let back = self.shared.zipf.as_ref().map_or(0, |zipf| zipf.rank(&mut self.rng));
                self.get(newest.saturating_sub(back)).await
            }
            Op::E => {
                let (key, items) = (self.popular(), self.rng.between(1, SCAN_MAX));
                self.shared.body.scan(&mut self.text, key, items);
                self.send(|calls| &calls.scan).await
            }
        }
    }

    async fn read_or_update(&mut self, dice: u64) -> Result<(), Trouble> {
        let key = self.popular();
        let updates = match self.shared.op {
            Op::B => dice < 5,
            Op::C => false,
            _ => dice < 50,
        };
        if !updates || self.shared.op == Op::F {
            self.get(key).await?;
        }
        if updates { self.update(key).await } else { Ok(()) }
    }

    fn uniform(&mut self) -> u64 {
        self.rng.below(self.shared.keys)
    }

    fn popular(&mut self) -> u64 {
        let shared = self.shared.clone();
        shared.zipf.as_ref().map_or(0, |zipf| zipf.strewn(&mut self.rng))
    }

    async fn put(&mut self, key: u64) -> Result<(), Trouble> {
        self.shared.body.put(&mut self.text, key);
        self.send(|calls| &calls.put).await
    }

    async fn get(&mut self, key: u64) -> Result<(), Trouble> {
        self.shared.body.get(&mut self.text, key);
        self.send(|calls| &calls.get).await
    }

    async fn update(&mut self, key: u64) -> Result<(), Trouble> {
        self.shared.body.update(&mut self.text, key);
        self.send(|calls| &calls.update).await
    }

    /// Different items.
    fn different(&mut self) -> Vec<u64> {
        let mut keys = Vec::with_capacity(self.shared.items as usize);
        while (keys.len() as u64) < self.shared.items {
            let mut key = self.uniform();
            while keys.contains(&key) {
                key = (key + 1) % self.shared.keys;
            }
            keys.push(key);
        }
        keys
    }

    /// A transaction that met another one is tried again until it is through, as its time counts.
    async fn transact(&mut self) -> Result<(), Trouble> {
        let keys = self.different();
        self.transactions += 1;
        if self.shared.op == Op::Txnget {
            self.shared.body.transact_get(&mut self.text, &keys);
        } else {
            let token = self
                .shared
                .tokens
                .as_ref()
                .map(|run| format!("{run}{:08x}{:010x}", self.number, self.transactions));
            self.shared.body.transact_put(&mut self.text, &keys, token.as_deref());
        }
        loop {
            match self.send(|calls| &calls.transact).await {
                Err(trouble) if is_conflict(&trouble) => {
                    self.shared.conflicts.set(self.shared.conflicts.get() + 1);
                }
                done => return done,
            }
        }
    }

    async fn send(&mut self, which: fn(&Calls) -> &Operation) -> Result<(), Trouble> {
        let mut link = self.link.lock().await;
        call(&mut link, which(&self.shared.calls), &self.text).await.map(drop)
    }
}

/// It met another transaction, and may be tried again.
fn is_conflict(trouble: &Trouble) -> bool {
    let Trouble::Refused { name, text, .. } = trouble else { return false };
    let met = ["TransactionConflictException", "TransactionInProgressException"];
    met.contains(&name.as_str())
        || name == "TransactionCanceledException" && text.contains("TransactionConflict")
}

#[cfg(test)]
mod tests {
    use super::hint;

    /// Claim: only a refused signature is explained by keys of access.
    #[test]
    fn a_hint_goes_by_the_answer() {
        assert!(hint("UnrecognizedClientException: no such key").contains("access key"));
        assert!(hint("ValidationException: The provided key element does not match").contains("--table"));
        assert_eq!(hint("it is there with 3 shards; choose another --table"), "");
        assert!(hint("ServiceUnavailable: no leader").contains("quorate status"));
    }
}
