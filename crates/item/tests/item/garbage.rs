//! Whatever comes in, nothing panics, and what is read from bytes is written as the same bytes.

use crate::{expressions, random};
use quorate_base::Rng;
use quorate_item::{AttributeValue, Codec, Condition, Item, KeySchema, Projection, Update, Use};
use serde_json::{Value, json};

/// Runs what nests deep on a small stack: half of what a thread has.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

fn comes_back<T: Codec + PartialEq + std::fmt::Debug>(value: &T, text: &str) {
    assert_eq!(T::decode(&value.encode()).as_ref(), Ok(value), "{text}");
}

fn read_all(text: &str) -> [bool; 3] {
    let condition = expressions().condition(Use::Condition, text);
    let update = expressions().update(text);
    let projection = expressions().projection(text);
    for result in [condition.as_ref().err(), update.as_ref().err(), projection.as_ref().err()] {
        assert!(result.is_none_or(|wrong| wrong.message().starts_with("Invalid ")), "{text}: {result:?}");
    }
    let taken = [condition.is_ok(), update.is_ok(), projection.is_ok()];
    let _ = condition.map(|condition| comes_back(&condition, text));
    let _ = update.map(|update| comes_back(&update, text));
    let _ = projection.map(|projection| comes_back(&projection, text));
    taken
}

/// Claim: soups of right pieces, and right expressions with harm done to them, are taken or refused.
#[test]
fn expressions_of_all_kinds() {
    let mut rng = Rng::stream(6, "expressions");
    let mut taken = [0; 3];
    let mut count = |text: &str| {
        for (count, this) in taken.iter_mut().zip(read_all(text)) {
            *count += u32::from(this);
        }
    };
    for _ in 0..4_000 {
        count(&random::soup(&mut rng));
        let condition = random::condition(&mut rng, 4);
        count(&condition);
        count(&random::harmed(&mut rng, &condition));
        let update = random::update(&mut rng);
        count(&update);
        count(&random::harmed(&mut rng, &update));
    }
    assert!(taken.iter().all(|taken| *taken > 100), "{taken:?} were taken");
}

/// Claim: a condition holds or not the same after it went through the log.
#[test]
fn conditions_mean_the_same_in_the_log() {
    let mut rng = Rng::stream(7, "conditions");
    let mut held = [0; 2];
    for _ in 0..4_000 {
        let text = random::condition(&mut rng, 4);
        let Ok(condition) = expressions().condition(Use::Filter, &text) else { continue };
        let item = random::item(&mut rng);
        let holds = condition.holds(Some(&item));
        assert_eq!(Condition::decode(&condition.encode()).unwrap().holds(Some(&item)), holds, "{text}");
        held[usize::from(holds)] += 1;
    }
    assert!(held.iter().all(|held| *held > 50), "{held:?}");
}

/// Claim: an expression that nests as deep as a text can is taken or refused, on a small stack, and its bytes are read.
#[test]
fn deep_expressions() {
    on_a_small_stack(|| {
        let nested = |open: &str, inner: &str, close: &str, times: usize| {
            format!("{}{inner}{}", open.repeat(times), close.repeat(times))
        };
        for times in [10, 298, 299, 300, 301, 1_000, 4_000] {
            for text in [
                nested("(", "a = :s", ")", times),
                nested("NOT ", "a = :s", "", times),
                nested("NOT (", "a = :s", ")", times),
                nested("(a = :s AND ", "b = :s", ")", times),
                nested("(a = :s OR ", "b = :s", ")", times),
                nested("a = :s AND (b = :s OR (", "c = :s", "))", times),
                nested("size(", "a", ") = :n", times),
                nested("a = (", ":s", ")", times),
                nested("f(", "a", ")", times),
                format!("SET a = {}", nested("if_not_exists(b, ", ":n", ")", times)),
                format!("SET a = {}", nested("(", ":n", ")", times)),
                format!("SET a = {}", nested("list_append(", ":l", ", :l)", times)),
                nested("a.", "a", "", times),
                nested("a[0], ", "a", "", times),
                "(".repeat(times),
                "NOT (a = ".repeat(times),
                "SET a = if_not_exists(b, ".repeat(times),
            ] {
                read_all(&text);
            }
        }
        let deepest = nested("NOT (", "a = :s", ")", 299);
        assert_eq!(read_all(&deepest), [true, false, false]);
        let deepest = format!("SET a = {}", nested("if_not_exists(b,", ":n", ")", 239));
        assert_eq!(read_all(&deepest), [false, true, false]);
        let update = expressions().update(&deepest).unwrap();
        assert!(update.apply(None, &Item::default()).is_ok());
    });
}

fn harmed(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=rng.below(2) {
        if bytes.is_empty() {
            break;
        }
        let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = *rng.pick(&[0, 1, 0x7F, 0x80, 0xFF]),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, *rng.pick(&[0, 1, 0x80, 0xFF])),
        }
    }
    bytes
}

/// Bytes of a form are refused, or are exactly the bytes of what they are read as.
fn read_and_written<T: Codec>(bytes: &[u8]) {
    if let Ok(read) = T::decode(bytes) {
        assert_eq!(read.encode(), bytes);
    }
}

/// Claim: harmed bytes are refused or have one form; 20,000 from a seed.
#[test]
fn harmed_bytes() {
    let mut rng = Rng::stream(8, "bytes");
    for _ in 0..4_000 {
        let item = random::item(&mut rng).encode();
        read_and_written::<Item>(&harmed(&mut rng, item));
        let value = random::value(&mut rng, 3).encode();
        read_and_written::<AttributeValue>(&harmed(&mut rng, value));
        if let Ok(condition) = expressions().condition(Use::Condition, &random::condition(&mut rng, 3)) {
            read_and_written::<Condition>(&harmed(&mut rng, condition.encode()));
        }
        if let Ok(update) = expressions().update(&random::update(&mut rng)) {
            read_and_written::<Update>(&harmed(&mut rng, update.encode()));
        }
        let projection = Projection { paths: vec![random::path(&mut rng), random::path(&mut rng)] }.encode();
        read_and_written::<Projection>(&harmed(&mut rng, projection));
        let noise: Vec<u8> = (0..rng.below(40)).map(|_| u8::try_from(rng.below(256)).unwrap()).collect();
        let noise = [vec![1], noise].concat();
        read_and_written::<Item>(&noise);
        read_and_written::<Condition>(&noise);
        read_and_written::<Update>(&noise);
        read_and_written::<KeySchema>(&noise);
    }
}

/// Claim: bytes that claim to be endless or bottomless are refused, on a small stack.
#[test]
fn boastful_bytes() {
    on_a_small_stack(|| {
        let huge = [0xFF; 9];
        for kind in 0..12 {
            let bytes = [vec![1, kind], huge.to_vec(), vec![1]].concat();
            read_and_written::<AttributeValue>(&bytes);
            read_and_written::<Condition>(&bytes);
            read_and_written::<Update>(&bytes[1..]);
            for count in [100, 100_000] {
                // Lists of one list, conditions of one condition, sums of sums.
                read_and_written::<AttributeValue>(&[vec![1], [6, 1].repeat(count)].concat());
                read_and_written::<Condition>(&[vec![1], [kind, 1].repeat(count)].concat());
                read_and_written::<Condition>(&[vec![1], [2].repeat(count)].concat());
                read_and_written::<Update>(&[vec![1, 1, 1, b'a', 0], [kind].repeat(count)].concat());
            }
        }
    });
}

/// Claim: values of any JSON are taken or refused.
#[test]
fn json_of_all_kinds() {
    fn any(rng: &mut Rng, depth: u64) -> Value {
        match rng.below(if depth == 0 { 5 } else { 8 }) {
            0 => json!(null),
            1 => json!(rng.chance(1, 2)),
            2 => json!(rng.below(9)),
            3 => json!(1.5),
            4 => json!(*rng.pick(&["", "x", "1", "AQ==", "1E200"])),
            5 => Value::Array((0..rng.below(3)).map(|_| any(rng, depth - 1)).collect()),
            _ => {
                let names = ["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS", "x", ""];
                let members =
                    (0..rng.below(3)).map(|_| ((*rng.pick(&names)).to_string(), any(rng, depth - 1)));
                Value::Object(members.collect())
            }
        }
    }
    let mut rng = Rng::stream(9, "json");
    let mut taken = 0;
    for _ in 0..40_000 {
        let json = any(&mut rng, 5);
        if let Ok(value) = AttributeValue::from_json(json.clone()) {
            comes_back(&value, &json.to_string());
            taken += 1;
        }
        let _ = Item::from_json(json.clone());
        let _ = quorate_item::Expressions::from_json(Some(json.clone()), Some(json.clone()));
        let _ = quorate_item::legacy::expected(json.clone(), None);
        let _ = quorate_item::legacy::updates(json);
    }
    assert!(taken > 200, "only {taken} were taken");
}
